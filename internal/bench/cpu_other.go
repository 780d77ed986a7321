//go:build !unix

package main

import "time"

// cpuTime is not known here: the bench tells of memory only.
func cpuTime() time.Duration { return 0 }

// openFiles is how many files a process may hold: other systems have no such limit.
func openFiles() int { return 1 << 30 }
