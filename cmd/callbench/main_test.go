package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary the callbench command, and its own child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		child(os.Args[1])
	}
	testscript.Main(m, map[string]func(){"callbench": func() {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}})
}

func TestScripts(t *testing.T) {
	recordings, err := filepath.Abs(filepath.Join("..", "..", "kmsmock", "testdata", "transcripts"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error { env.Setenv("TRANSCRIPTS", recordings); return nil }})
}

// A panic that was swallowed would leave with exit code 0, as a pass does.
func TestPanicsAreNotPasses(t *testing.T) {
	defer func() {
		if v := recover(); v != "no more room" {
			t.Errorf("the panic became %v", v)
		}
	}()
	code := Main(context.Background(), []string{"help", "scenario"}, fullWriter{}, io.Discard)
	t.Errorf("it became exit code %d", code)
}

// Whoever interrupts a run wants to know how far it came.
func TestInterruptedRunIsReported(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if code := Main(ctx, []string{"run", "-world", "local", "-o", dir, "call", "reconnect"}, io.Discard, io.Discard); code != exitFail {
		t.Errorf("exit code %d, want %d", code, exitFail)
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil || !strings.Contains(string(report), `"verdict": "broken"`) {
		t.Errorf("report: %v\n%s", err, report)
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { panic("no more room") }

func TestDoubleDashes(t *testing.T) {
	got := doubleDashes([]string{"run", "-world", "local", "--kms", "ws://x", "-n", "-rate=5/s", "a-b.call", "-"})
	want := []string{"run", "--world", "local", "--kms", "ws://x", "-n", "--rate=5/s", "a-b.call", "-"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q became %q, want %q", got, got[i], want[i])
		}
	}
}
