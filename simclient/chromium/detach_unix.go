//go:build unix

package chromium

import (
	"os/exec"
	"syscall"
)

// detach keeps the signals of a terminal from the browser: what this process does
// about them decides.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
