package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/callbench/callbench/loadtest"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
)

type loadCmd struct {
	Scenario string `arg:"" name:"scenario" help:"File, or name from the suite; one case of either as reports name it."`
	Rate     string `default:"5/s" help:"Calls started per unit of time: 5/s, 30/m."`
	Calls    int    `short:"n" default:"50" help:"Number of calls."`
	Kms      string `name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"A real Kurento instead of the mock."`
	Seed     int64  `default:"1" help:"Seed of everything random."`
	Out      string `short:"o" default:"callbench-report" type:"path" help:"Folder for the report and the trace."`
}

// Run implements `callbench load`: open loop, on real sockets of this machine.
func (c *loadCmd) Run(ctx context.Context, out *console) error {
	list, err := scenarios.Find(c.Scenario)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("%s has %d cases; a load plays one scenario, such as %s", c.Scenario, len(list), list[0].Name)
	}
	rate, err := loadtest.ParseRate(c.Rate)
	if err != nil {
		return err
	}
	if c.Calls < 1 {
		return fmt.Errorf("-n must be at least 1")
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	file, err := os.Create(filepath.Join(c.Out, "load.jsonl"))
	if err != nil {
		return fmt.Errorf("keep the trace: %w", err)
	}
	defer file.Close()
	log := trace.New(file)
	result, err := loadtest.Run(ctx, loadtest.Config{Scenario: list[0], Stage: world.LocalStage(c.Kms, c.Seed, world.Plant{}),
		Rate: rate, Calls: c.Calls, Seed: c.Seed, Log: log, Progress: func(p loadtest.Progress) {
			out.status(fmt.Sprintf("%d of %d calls begun, %d under way, %d failed", p.Begun, c.Calls, p.Begun-p.Done, p.Failed))
		}})
	if err != nil {
		return err
	}
	if err := log.Err(); err != nil {
		return fmt.Errorf("keep the trace: %w", err)
	}
	out.clear()
	if err := reports.LoadTable(out, result); err != nil {
		return err
	}
	if err := reports.WriteLoad(c.Out, result); err != nil {
		return err
	}
	fmt.Fprintf(out, "report: %s\n", filepath.Join(c.Out, "load.json"))
	if !result.OK() {
		return errFailed
	}
	return nil
}
