package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
)

type runCmd struct {
	Scenarios []string      `arg:"" optional:"" name:"scenario" help:"Files, folders of them, or names from the suite; one case of either as reports name it (lossy/loss=10); the whole suite if none."`
	World     string        `default:"virtual" enum:"virtual,local,containers,remote" help:"Where to play: virtual (in memory, virtual time), local (real sockets on loopback, real time), containers (every part real, in a container of its own) or remote (a server that somebody else runs, at -url)."`
	Kms       string        `name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"A real Kurento for the local world, instead of the mock; for containers instead of one in a container; of the remote world the one that is looked at."`
	Turn      string        `name:"turn" placeholder:"turn:HOST:PORT" help:"A TURN server for the local world, such as Coturn, instead of the embedded one; for containers instead of one in a container; of the remote world the one that its server hands out."`
	Secret    string        `name:"turn-secret" env:"CALLBENCH_TURN_SECRET" placeholder:"SECRET" help:"Secret that the TURN server verifies its credentials with (TURN REST, Coturn's static-auth-secret); better in CALLBENCH_TURN_SECRET, which other users of the machine do not see."`
	TurnLog   string        `name:"turn-log" type:"existingfile" placeholder:"FILE" help:"Coturn's verbose log, from which the allocations are read that scenarios assert; without it those scenarios are skipped."`
	Seed      int64         `default:"1" help:"Seed of everything random."`
	Out       string        `short:"o" default:"callbench-report" type:"path" help:"Folder for the report and the traces."`
	Level     *int          `placeholder:"0|1" help:"The highest protocol level that the server speaks: 1 if not given, in the remote world what the server says. Scenarios that need more are skipped."`
	Jobs      int           `short:"j" placeholder:"N" help:"How many scenarios to play at a time; as many as there are processors if not given, one with -kms or -turn."`
	ParseOnly bool          `short:"n" help:"Parse and check the scenarios; play nothing."`
	Verbose   bool          `short:"v" help:"Print phases, spans and media of each scenario, not only of what failed. The report has them in any case."`
	Remote    remoteFlags   `embed:""`
	Timeout   time.Duration `placeholder:"2m" help:"Wall time that one scenario may take; if not given 2m in virtual time, 15m in real time."`

	containerFlags
}

// Run implements `callbench run`.
func (c *runCmd) Run(ctx context.Context, out *console) (err error) {
	list, err := scenarios.Find(c.Scenarios...)
	if err != nil {
		return err
	}
	if c.ParseOnly {
		for _, s := range list {
			fmt.Fprintf(out, "ok  %s: %d clients, %d steps\n", s.Name, len(s.Clients), len(s.Steps))
		}
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	outside, err := c.turn()
	if err != nil {
		return err
	}
	stage, done, err := c.stage(ctx, out, list, outside)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	if c.Level != nil && *c.Level == 0 {
		for i, s := range list {
			list[i] = s.AtLevel(0)
		}
	}
	progress := &progress{out: out, total: len(list)}
	runner := world.Runner{World: c.World, KMS: c.Kms, TURN: outside, Stage: stage, Seed: c.Seed, Dir: c.Out, Timeout: c.Timeout, Jobs: c.Jobs, Begin: progress.begin, End: progress.end}
	run, err := runner.Run(ctx, list)
	if err != nil && len(run.Scenarios) == 0 {
		return err
	}
	failed := finish(out, c.Out, run, c.Verbose)
	if err != nil { // what was played until then is reported, and is no pass
		fmt.Fprintln(out.err, "callbench: not all was played:", err)
		return errFailed
	}
	return failed
}

// check refuses flags that cannot be meant, or that would do nothing, and sets those
// that depend on the world.
func (c *runCmd) check() error {
	if c.Kms != "" && c.World == "virtual" {
		return fmt.Errorf("-kms is a real server and the virtual world has no real sockets; add -world local")
	}
	if c.Level != nil && *c.Level != 0 && *c.Level != 1 {
		return fmt.Errorf("-level is 0 or 1")
	}
	if c.Jobs < 0 {
		return fmt.Errorf("-j must be positive")
	}
	if c.Jobs > 1 && (c.Kms != "" || c.Turn != "") {
		return fmt.Errorf("-j %d: scenarios share the server of -kms or -turn, and expect clean looks at all of it; they are played one at a time", c.Jobs)
	}
	if c.Jobs > 1 && c.World == "remote" {
		return fmt.Errorf("-j %d: scenarios share the remote server's users; they are played one at a time", c.Jobs)
	}
	if name := c.containerFlags.first(); name != "" && c.World != "containers" {
		return fmt.Errorf("-%s is of the containers world; add -world containers", name)
	}
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("-timeout must be positive")
	case c.Timeout == 0 && c.World == "virtual":
		c.Timeout = 2 * time.Minute
	case c.Timeout == 0:
		c.Timeout = 15 * time.Minute
	}
	return nil
}

// stage is what is played on, nil if this process makes it for each scenario, and how
// that ends.
func (c *runCmd) stage(ctx context.Context, out *console, list []*scenarios.Scenario, outside *world.TURN) (stage *scenarios.Stage, done func() error, err error) {
	if c.World != "containers" {
		stage, err = c.remote(ctx, list, outside)
		return stage, func() error { return nil }, err
	}
	given, err := c.given()
	if err != nil {
		return nil, nil, err
	}
	fleet, err := c.fleet(ctx, out, given, c.Out)
	if err != nil {
		return nil, nil, err
	}
	of := fleet.Stage(c.Seed)
	return &of, fleet.Close, nil
}

// turn is the TURN server that -turn names; nil is the embedded one.
func (c *runCmd) turn() (*world.TURN, error) {
	switch {
	case c.Turn == "" && c.TurnLog != "":
		return nil, fmt.Errorf("-turn-log is the log of a TURN server; add -turn")
	case c.Turn == "":
		return nil, nil
	case c.World == "virtual":
		return nil, fmt.Errorf("-turn is a real server and the virtual world has no real sockets; add -world local")
	case !strings.HasPrefix(c.Turn, "turn:") && !strings.HasPrefix(c.Turn, "turns:"):
		return nil, fmt.Errorf("-turn %s is not a URL such as turn:127.0.0.1:3478?transport=udp", c.Turn)
	case c.Secret == "" && c.World != "remote": // a remote server hands credentials out itself
		return nil, fmt.Errorf("-turn takes the server's secret as well: -turn-secret, or CALLBENCH_TURN_SECRET")
	}
	return &world.TURN{URL: c.Turn, Secret: c.Secret, Log: c.TurnLog}, nil
}

// finish prints the summary and writes the report.
func finish(out *console, dir string, run reports.Run, verbose bool) error {
	if err := reports.Summary(out, run, verbose); err != nil {
		return err
	}
	if err := reports.Write(dir, run); err != nil {
		return err
	}
	fmt.Fprintf(out, "report: %s\n", filepath.Join(dir, "report.html"))
	if !run.Passed() {
		return errFailed
	}
	return nil
}
