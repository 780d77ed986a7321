package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// Runner plays scenarios one after the other and keeps their traces.
type Runner struct {
	World   string // "virtual" or "local"
	KMS     string // URL of a real Kurento for the local world
	Seed    int64
	Dir     string        // where traces go; it exists
	Timeout time.Duration // wall time for one scenario
	Begin   func(name string)
	End     func(reports.Scenario)
}

// Run plays the list. An error means that nothing could be played or kept; what
// became of the scenarios is in the result.
func (r Runner) Run(ctx context.Context, list []*scenarios.Scenario) (reports.Run, error) {
	run := reports.Run{Tool: Tool(), World: r.World, Started: time.Now(), Parts: r.stage().Parts}
	for _, s := range list {
		r.Begin(s.Name)
		result, err := r.one(ctx, s)
		if err != nil {
			return run, err
		}
		run.Scenarios = append(run.Scenarios, result)
		r.End(result)
		if ctx.Err() != nil {
			return run, context.Cause(ctx)
		}
	}
	run.Wall = time.Since(run.Started)
	return run, nil
}

func (r Runner) stage() scenarios.Stage {
	if r.World == "local" {
		return LocalStage(r.KMS, r.Seed, Plant{})
	}
	return VirtualStage(r.Seed, Plant{})
}

func (r Runner) one(ctx context.Context, s *scenarios.Scenario) (reports.Scenario, error) {
	name := strings.NewReplacer("/", "_", "=", "-").Replace(s.Name) + ".trace.jsonl"
	file, err := os.Create(filepath.Join(r.Dir, name))
	if err != nil {
		return reports.Scenario{}, fmt.Errorf("keep the trace: %w", err)
	}
	defer file.Close()
	log := trace.New(file)
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("not done after %v of wall time", r.Timeout))
	defer cancel()
	begin := time.Now()
	var result reports.Scenario
	if r.World == "virtual" {
		result = Isolated(ctx, s, r.Seed, log)
	} else {
		result = scenarios.Play(ctx, r.stage(), s, r.Seed, log)
	}
	result.Wall, result.Trace = time.Since(begin), name
	if err := log.Err(); err != nil {
		return result, fmt.Errorf("keep the trace: %w", err)
	}
	return result, nil
}
