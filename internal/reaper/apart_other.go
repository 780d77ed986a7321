//go:build !unix

package reaper

import "syscall"

// apart leaves the child as it is.
func apart() *syscall.SysProcAttr { return nil }
