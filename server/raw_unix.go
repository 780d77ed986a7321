//go:build unix

package server

import (
	"errors"
	"syscall"
)

// writeNow writes what a socket takes at once, and returns how much that was.
func writeNow(fd uintptr, b []byte) int {
	for {
		n, err := syscall.Write(int(fd), b)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0)
		}
	}
}
