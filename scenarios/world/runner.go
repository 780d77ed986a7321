package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	TURN    *TURN  // a TURN server outside for the local world; nil: the embedded one
	Seed    int64
	Dir     string        // where traces go; it exists
	Timeout time.Duration // wall time for one scenario
	Begin   func(name string)
	End     func(reports.Scenario)
}

// Run plays the list. When ctx ends, what is left of it is reported as not
// played. An error means that the rest could not be played or kept.
func (r Runner) Run(ctx context.Context, list []*scenarios.Scenario) (reports.Run, error) {
	run := reports.Run{Tool: Tool(), World: r.World, Started: time.Now(), Parts: r.stage().Parts}
	names := map[string]int{}
	for _, s := range list {
		if ctx.Err() != nil {
			run.Scenarios = append(run.Scenarios, reports.Scenario{Name: s.Name, File: s.File, World: r.World, Seed: r.Seed,
				Verdict: reports.Broken, Reason: "not played: " + context.Cause(ctx).Error()})
			continue
		}
		r.Begin(s.Name)
		names[s.Name]++
		result, err := r.one(ctx, s, traceName(s.Name, names[s.Name]))
		r.End(result)
		run.Scenarios, run.Wall = append(run.Scenarios, result), time.Since(run.Started)
		if err != nil {
			return run, err
		}
	}
	return run, nil
}

func (r Runner) stage() scenarios.Stage {
	if r.World == "local" {
		return LocalStageWithTURN(r.KMS, r.TURN, r.Seed, Plant{})
	}
	return VirtualStage(r.Seed, Plant{})
}

// traceName is the file of the n-th scenario of a name: two files in different
// folders may have the same.
func traceName(scenario string, n int) string {
	name := strings.NewReplacer("/", "_", "=", "-").Replace(scenario)
	if n > 1 {
		name += "." + strconv.Itoa(n)
	}
	return name + ".trace.jsonl"
}

func (r Runner) one(ctx context.Context, s *scenarios.Scenario, name string) (reports.Scenario, error) {
	file, err := os.Create(filepath.Join(r.Dir, name))
	if err != nil {
		return reports.Scenario{}, fmt.Errorf("keep the trace: %w", err)
	}
	defer file.Close()
	log := trace.New(file)
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("not done after %v of wall time (-timeout)", r.Timeout))
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
