package store

import (
	"errors"
	"os"
	"syscall"
)

// syncData makes safe what was written to a file, and as much of what is known of the
// file as it takes to read that.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
