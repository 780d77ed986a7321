package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/callbench/callbench/internal/bubble"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// ChildCommand is the hidden command under which the binary starts itself to
// play one scenario in virtual time.
const ChildCommand = "virtual-child"

// job is what the parent writes to the child's standard input.
type job struct {
	File, Text, Scenario string
	Seed                 int64
	Level                int // of the protocol
}

// Child is the whole life of a child process: it reads a job from in, plays it
// in a bubble and streams the trace to out. It ends the process.
func Child(in io.Reader, out io.Writer) {
	var jb job
	if err := json.NewDecoder(in).Decode(&jb); err != nil {
		fmt.Fprintln(os.Stderr, "read the job:", err)
		os.Exit(2)
	}
	s, err := jb.scenario()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	bubble.Run(func() {
		// Every event is written at once: what a crash leaves is the evidence.
		scenarios.Play(context.Background(), VirtualStage(jb.Seed, Plant{}), s, jb.Seed, trace.New(out))
	})
}

func (jb job) scenario() (*scenarios.Scenario, error) {
	s, err := scenarios.Parse(jb.File, jb.Text)
	if err != nil {
		return nil, err
	}
	c, err := s.Case(jb.Scenario)
	if err != nil {
		return nil, err
	}
	return c.AtLevel(jb.Level), nil
}

// Isolated plays a scenario in virtual time in a process of its own, because a
// leak, deadlock or panic in a bubble ends the process. The trace goes to log,
// and what became of the process into the verdict.
func Isolated(ctx context.Context, s *scenarios.Scenario, seed int64, log *trace.Log) reports.Scenario {
	j := scenarios.NewJudge(s)
	log.Watch(j.Observe)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stderr, err := spawn(ctx, job{File: s.File, Text: s.Text, Scenario: s.Name, Seed: seed, Level: s.Level()}, log)
	r := j.Result()
	if err != nil {
		r.Verdict, r.Stderr = reports.Fail, stderr
		r.Reason = bubble.Diagnosis(stderr, err)
		r.Failures = append(r.Failures, reports.Failure{Check: "process", File: s.File, Message: r.Reason})
	}
	return r
}

// spawn starts the child, passes its trace on and waits for its end.
func spawn(ctx context.Context, jb job, log *trace.Log) (stderr string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the binary: %w", err)
	}
	input, err := json.Marshal(jb)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, ChildCommand)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it dies with its stacks on stderr
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = bytes.NewReader(input)
	said := &tail{limit: 64 << 10}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start the scenario's process: %w", err)
	}
	readErr := trace.Read(out, log.Replay)
	err = errors.Join(cmd.Wait(), readErr)
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return said.String(), err
}

// tail keeps the beginning and the end of what is written to it: a panic's
// message comes first, and the stacks that matter last.
type tail struct {
	limit int
	head  []byte
	rest  []byte
	lost  int
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if room := t.limit/2 - len(t.head); room > 0 {
		k := min(room, len(p))
		t.head = append(t.head, p[:k]...)
		p = p[k:]
	}
	t.rest = append(t.rest, p...)
	if over := len(t.rest) - t.limit/2; over > 0 {
		t.lost += over
		t.rest = append(t.rest[:0], t.rest[over:]...)
	}
	return n, nil
}

func (t *tail) String() string {
	if t.lost == 0 {
		return string(t.head) + string(t.rest)
	}
	return fmt.Sprintf("%s\n… %d bytes left out …\n%s", t.head, t.lost, t.rest)
}
