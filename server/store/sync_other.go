//go:build !linux

package store

import "os"

// syncData makes safe what was written to a file.
func syncData(f *os.File) error { return f.Sync() }
