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

type judgeCmd struct {
	Traces  []string `arg:"" name:"trace" type:"existingfile" help:"Kept traces (*.trace.jsonl)."`
	Verbose bool     `short:"v" help:"Print phases, spans and media of each scenario, not only of what failed."`
	Out     string   `short:"o" default:"callbench-report" type:"path" help:"Folder for the report."`
}

// Run implements `callbench judge`: the trace holds all that a verdict needs.
func (c *judgeCmd) Run(_ context.Context, out *console) error {
	run := reports.Run{Tool: world.Tool(), Started: time.Now()}
	for _, path := range c.Traces {
		s, err := judgeFile(path)
		s.Trace = beside(c.Out, path)
		if err != nil { // the others can be judged all the same
			s = reports.Scenario{Name: filepath.Base(path), File: path, Trace: s.Trace, Verdict: reports.Broken, Reason: err.Error()}
		}
		run.World = s.World
		run.Scenarios = append(run.Scenarios, s)
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	if err := reports.Rows(out, run); err != nil {
		return err
	}
	return finish(out, c.Out, run, c.Verbose)
}

func judgeFile(path string) (reports.Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return reports.Scenario{}, err
	}
	defer f.Close()
	return scenarios.RejudgeFile(f)
}

// beside is the path of a trace as seen from the report's folder.
func beside(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}
