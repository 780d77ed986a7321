package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/callbench/callbench/scenarios/world"
)

// TestMain makes the test binary the callbench command, and its own child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == world.ChildCommand {
		world.Child(os.Stdin, os.Stdout)
	}
	testscript.Main(m, map[string]func(){"callbench": func() {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}

func TestDoubleDashes(t *testing.T) {
	got := doubleDashes([]string{"run", "-world", "local", "--kms", "ws://x", "-n", "-rate=5/s", "a-b.call", "-"})
	want := []string{"run", "--world", "local", "--kms", "ws://x", "-n", "--rate=5/s", "a-b.call", "-"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q became %q, want %q", got, got[i], want[i])
		}
	}
}
