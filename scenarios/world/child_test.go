package world

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/internal/bubble"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// TestMain lets the test binary be the child process, as cmd/callbench is.
func TestMain(m *testing.M) {
	if how := os.Getenv("CALLBENCH_TEST_BUBBLE"); how != "" {
		bubble.Run(func() { misbehave(how) })
	}
	if os.Getenv("CALLBENCH_TEST_SERVE") != "" {
		serveAlone()
	}
	if len(os.Args) == 2 && os.Args[1] == ChildCommand {
		Child(os.Stdin, os.Stdout)
	}
	os.Exit(m.Run())
}

// misbehave is what a scenario's process may do wrong.
func misbehave(how string) {
	begin := time.Now()
	time.Sleep(90 * time.Second)
	if time.Since(begin) != 90*time.Second {
		panic("time is not virtual")
	}
	switch how {
	case "leak":
		go func() { select {} }()
	case "deadlock":
		select {}
	case "panic":
		panic("boom")
	}
}

// TestBubble fails when a new Go no longer lets an ordinary binary into a bubble
// in the way that package bubble knows.
func TestBubble(t *testing.T) {
	for how, want := range map[string]string{
		"nothing":  "",
		"leak":     "goroutines leaked",
		"deadlock": "deadlock: everything waits",
		"panic":    "panic: boom",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CALLBENCH_TEST_BUBBLE="+how)
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") {
			t.Errorf("%s: %v\n%s", how, err, out)
			continue
		}
		if err != nil && !strings.Contains(bubble.Diagnosis(string(out), err), want) {
			t.Errorf("%s: diagnosis %q lacks %q", how, bubble.Diagnosis(string(out), err), want)
		}
		if time.Since(begin) > 60*time.Second {
			t.Errorf("%s: 90 s of virtual time were waited for", how)
		}
	}
}

func TestIsolatedPlaysInAProcessOfItsOwn(t *testing.T) {
	s, err := scenarios.Load("call")
	if err != nil {
		t.Fatal(err)
	}
	r := Isolated(t.Context(), s, 1, trace.New(nil))
	if r.Verdict != reports.Pass {
		t.Errorf("%s: %s\n%s", r.Verdict, r.Reason, r.Stderr)
	}
}

// A crash, a leak or a deadlock of the process is a failure with its stacks.
func TestIsolatedTellsHowAProcessDied(t *testing.T) {
	s, err := scenarios.Load("call")
	if err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{"leak": "goroutines leaked", "deadlock": "deadlock: everything waits", "panic": "panic: boom"} {
		t.Setenv("CALLBENCH_TEST_BUBBLE", how)
		r := Isolated(t.Context(), s, 1, trace.New(nil))
		if r.Verdict != reports.Fail || !strings.Contains(r.Reason, want) || !strings.Contains(r.Stderr, "misbehave") {
			t.Errorf("%s: %s: %s\n%.500s", how, r.Verdict, r.Reason, r.Stderr)
		}
	}
}

// A process that does not end in time is ended with its stacks, and the verdict
// says so.
func TestIsolatedEndsAProcessThatTakesTooLong(t *testing.T) {
	if testing.Short() {
		t.Skip("waits in real time; run without -short")
	}
	s, err := scenarios.Parse("long.call", "clients alice=electron\nat 20000h alice close\n")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r := Isolated(ctx, s, 1, trace.New(nil))
	if r.Verdict != reports.Fail || !strings.Contains(r.Stderr, "goroutine ") {
		t.Errorf("%s: %s\n%.300s", r.Verdict, r.Reason, r.Stderr)
	}
}

func TestTailKeepsBothEnds(t *testing.T) {
	tail := &tail{limit: 20}
	for range 10 {
		if _, err := tail.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tail.Write([]byte("abcdefghij")); err != nil {
		t.Fatal(err)
	}
	if s := tail.String(); !strings.HasPrefix(s, "0123456789") || !strings.HasSuffix(s, "abcdefghij") {
		t.Error(s)
	}
}
