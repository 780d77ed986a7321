//go:build unix

package reaper

import "syscall"

// apart gives the child a session of its own, out of reach of the terminal's
// signals.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
