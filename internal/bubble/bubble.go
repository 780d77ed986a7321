// Package bubble lets an ordinary binary run code in virtual time, in a process
// of its own.
package bubble

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
)

// Run runs f in a synctest bubble, where time is virtual, and ends the
// process: with exit code 0 when f returned and left nothing behind, with 1 or
// 2 and the stacks on standard error when it panicked, deadlocked or leaked a
// goroutine. There is no other way: the runtime ends the process in those cases.
//
// synctest.Test wants a *testing.T, which outside `go test` only testing.Main
// makes; it reads its flags from os.Args and prints to os.Stdout. All of this
// project that depends on that is in this file, and TestBubble fails when a new
// Go changes it.
func Run(f func()) {
	os.Args = []string{os.Args[0], "-test.timeout=0", "-test.v=false", "-test.paniconexit0=false"}
	os.Stdout = os.Stderr
	debug.SetTraceback("all")
	testing.Main(
		func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "bubble", F: func(t *testing.T) {
			synctest.Test(t, func(*testing.T) { f() })
		}}}, nil, nil)
}

// Diagnosis says in a line how a process died in which Run was called.
func Diagnosis(stderr string, err error) string {
	for _, l := range strings.Split(stderr, "\n") {
		switch {
		case strings.Contains(l, "main bubble goroutine has exited but blocked goroutines remain"):
			return "goroutines leaked: something was not closed (stacks below)"
		case strings.Contains(l, "deadlock: all goroutines in bubble are blocked"):
			return "deadlock: everything waits and no timer is set (stacks below)"
		case strings.HasPrefix(l, "panic: "), strings.HasPrefix(l, "fatal error: "):
			return l
		}
	}
	return "the process failed: " + err.Error()
}
