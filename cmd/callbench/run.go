package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
)

type runCmd struct {
	Scenarios []string      `arg:"" optional:"" name:"scenario" help:"Files, or names from the suite; the whole suite if none."`
	World     string        `default:"virtual" enum:"virtual,local" help:"Where to play: virtual (in memory, virtual time) or local (real sockets on loopback, real time)."`
	Kms       string        `name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"A real Kurento for the local world, instead of the mock."`
	Seed      int64         `default:"1" help:"Seed of everything random."`
	Out       string        `short:"o" default:"callbench-report" type:"path" help:"Folder for the report and the traces."`
	Level     int           `default:"1" enum:"0,1" help:"The highest protocol level that the server speaks. Scenarios that need more are skipped."`
	Jobs      int           `short:"j" placeholder:"N" help:"How many scenarios to play at a time; as many as there are processors if not given."`
	ParseOnly bool          `short:"n" help:"Parse and check the scenarios; play nothing."`
	Timeout   time.Duration `placeholder:"2m" help:"Wall time that one scenario may take; if not given 2m in virtual time, 15m in real time."`
}

// Run implements `callbench run`.
func (c *runCmd) Run(ctx context.Context, out *console) error {
	list, err := load(c.Scenarios)
	if err != nil {
		return err
	}
	if c.ParseOnly {
		for _, s := range list {
			fmt.Fprintf(out, "ok  %s: %d clients, %d steps\n", s.Name, len(s.Clients), len(s.Steps))
		}
		return nil
	}
	if c.Kms != "" && c.World == "virtual" {
		return fmt.Errorf("-kms is a real server and the virtual world has no real sockets; add -world local")
	}
	if c.Jobs < 0 {
		return fmt.Errorf("-j must be positive")
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	if c.Level == 0 {
		for i, s := range list {
			list[i] = s.AtLevel(0)
		}
	}
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("-timeout must be positive")
	case c.Timeout == 0 && c.World == "virtual":
		c.Timeout = 2 * time.Minute
	case c.Timeout == 0:
		c.Timeout = 15 * time.Minute
	}
	progress := &progress{out: out, total: len(list)}
	runner := world.Runner{World: c.World, KMS: c.Kms, Seed: c.Seed, Dir: c.Out, Timeout: c.Timeout, Jobs: c.Jobs, Begin: progress.begin, End: progress.end}
	run, err := runner.Run(ctx, list)
	if err != nil && len(run.Scenarios) == 0 {
		return err
	}
	failed := finish(out, c.Out, run)
	if err != nil { // what was played until then is reported, and is no pass
		fmt.Fprintln(out.err, "callbench: not all was played:", err)
		return errFailed
	}
	return failed
}

// load finds the scenarios, checks them and takes their cases apart.
func load(names []string) ([]*scenarios.Scenario, error) {
	var found []*scenarios.Scenario
	if len(names) == 0 {
		all, err := scenarios.Suite()
		if err != nil {
			return nil, err
		}
		found = all
	}
	for _, n := range names {
		s, err := scenarios.Load(n)
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	var list []*scenarios.Scenario
	for _, s := range found {
		if err := s.Check(); err != nil {
			return nil, err
		}
		cases, err := s.Expand()
		if err != nil {
			return nil, err
		}
		list = append(list, cases...)
	}
	return list, nil
}

// finish prints the table and writes the report.
func finish(out *console, dir string, run reports.Run) error {
	fmt.Fprintln(out)
	if err := reports.Table(out, run); err != nil {
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
