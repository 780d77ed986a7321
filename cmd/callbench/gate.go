package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
	"github.com/callbench/callbench/scenarios/world/stack"
)

type gateCmd struct {
	Scenarios []string      `arg:"" optional:"" name:"scenario" help:"Files or names that have to pass; if none, the list of docs/containers.md."`
	Digest    string        `env:"CALLBENCH_KURENTO_DIGEST" name:"kurento-digest" placeholder:"sha256:…" help:"What Kurento's image must be: its digest in a registry, or its id in the engine. If not given, its name and tag say which it is."`
	Seed      int64         `default:"1" help:"Seed of everything random."`
	Out       string        `short:"o" default:"callbench-gate" type:"path" help:"Folder for the report, the traces and the containers' logs."`
	Verbose   bool          `short:"v" help:"Print phases, spans and media of each scenario, not only of what failed."`
	Timeout   time.Duration `default:"5m" help:"Time that one scenario may take."`

	containerFlags
}

// Run implements `callbench gate`.
func (c *gateCmd) Run(ctx context.Context, out *console) (err error) {
	list, err := c.list()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	watch := &stopwatch{last: time.Now()}
	defer func() { fmt.Fprintf(out, "time: %s\n", watch) }()
	fleet, err := c.fleet(ctx, out, stack.Given{}, c.Out)
	if err != nil {
		return err
	}
	watch.lap("start containers")
	defer func() {
		err = errors.Join(err, fleet.Close())
		watch.lap("remove containers")
	}()
	proof, closed := fleet.Stack().Real(ctx, c.Digest)
	watch.lap("prove Kurento")
	if closed != nil {
		fmt.Fprintf(out, "gate: closed: %v\n", closed)
		return errFailed
	}
	fmt.Fprintf(out, "gate: %s\n", proof)
	return c.play(ctx, out, fleet, list, proof, watch)
}

// list is what has to pass.
func (c *gateCmd) list() ([]*scenarios.Scenario, error) {
	if c.Timeout <= 0 {
		return nil, errors.New("-timeout must be positive")
	}
	if len(c.Scenarios) == 0 {
		return scenarios.Find(scenarios.Gate()...)
	}
	return scenarios.Find(c.Scenarios...)
}

// play plays the list, all of which must pass: what is skipped has not.
func (c *gateCmd) play(ctx context.Context, out *console, fleet *world.Fleet, list []*scenarios.Scenario, proof string, watch *stopwatch) error {
	stage := fleet.Stage(c.Seed)
	stage.Parts["gate"] = proof
	progress := &progress{out: out, total: len(list)}
	runner := world.Runner{World: stage.Name, Stage: &stage, Seed: c.Seed, Dir: c.Out, Timeout: c.Timeout, Begin: progress.begin, End: progress.end}
	run, err := runner.Run(ctx, list)
	if err != nil && len(run.Scenarios) == 0 {
		return err
	}
	watch.lap("play")
	failed := finish(out, c.Out, run, c.Verbose)
	skipped := unjudged(run)
	switch {
	case err != nil:
		fmt.Fprintln(out, "gate: closed: not all was played:", err)
	case failed != nil:
		fmt.Fprintln(out, "gate: closed")
	case skipped > 0:
		fmt.Fprintf(out, "gate: closed: %d scenarios were skipped, or not judged in all that they expect\n", skipped)
	default:
		fmt.Fprintln(out, "gate: open")
		return nil
	}
	return errFailed
}

// unjudged counts the scenarios that were skipped, or of which some expectation was.
func unjudged(run reports.Run) (n int) {
	for _, s := range run.Scenarios {
		if s.Verdict == reports.Skip || slices.ContainsFunc(s.Steps, func(st reports.Step) bool { return st.Verdict == reports.Skip }) {
			n++
		}
	}
	return n
}

// stopwatch tells where time went.
type stopwatch struct {
	last time.Time
	laps []string
}

// lap ends what took place until now.
func (w *stopwatch) lap(what string) {
	now := time.Now()
	w.laps = append(w.laps, fmt.Sprintf("%s %v", what, now.Sub(w.last).Round(100*time.Millisecond)))
	w.last = now
}

// String names all laps.
func (w *stopwatch) String() string { return strings.Join(w.laps, ", ") }
