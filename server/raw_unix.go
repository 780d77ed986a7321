//go:build unix

package server

import (
	"errors"
	"syscall"
)

// writeNow writes what the socket takes at once, and returns how much that was.
func writeNow(raw syscall.RawConn, b []byte) (n int) {
	_ = raw.Control(func(fd uintptr) { // of a socket that is closed nothing is written
		for {
			var err error
			if n, err = syscall.Write(int(fd), b); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	})
	return max(n, 0)
}
