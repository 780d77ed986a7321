package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// Runner plays scenarios, some at a time, and keeps their traces.
type Runner struct {
	World string // "virtual" or "local"
	KMS   string // URL of a real Kurento for the local world
	TURN  *TURN  // a TURN server outside for the local world; nil: the embedded one
	// Stage, if set, is played on instead, one scenario at a time: others share what it
	// has.
	Stage   *scenarios.Stage
	Seed    int64
	Dir     string        // where traces go; it exists
	Timeout time.Duration // wall time for one scenario
	Jobs    int           // how many are played at a time; 0 is as many as there are processors. With KMS or TURN it is one
	// Begin and End are called for one scenario after the other, in their order:
	// when its outcome is the next to be known, and when it is.
	Begin func(name string)
	End   func(reports.Scenario)
}

// Run plays the list. When ctx ends, what is left of it is reported as not
// played. An error means that the rest could not be played or kept.
func (r Runner) Run(ctx context.Context, list []*scenarios.Scenario) (reports.Run, error) {
	run := reports.Run{Tool: Tool(), World: r.World, Started: time.Now(), Parts: r.stage().Parts}
	stop, cancel := context.WithCancel(ctx) // of what has not begun, when something could not be kept
	played := r.start(stop, list)
	var failed error
	for i, s := range list {
		r.Begin(s.Name)
		p := <-played[i]
		if p.err != nil && failed == nil {
			failed = p.err
			cancel()
		}
		r.End(p.result)
		run.Scenarios, run.Wall = append(run.Scenarios, p.result), time.Since(run.Started)
	}
	cancel()
	return run, failed
}

// outcome is what became of one scenario.
type outcome struct {
	result reports.Scenario
	err    error // the trace could not be kept
}

// start plays the list beside the caller, and gives a channel for the outcome
// of each.
func (r Runner) start(ctx context.Context, list []*scenarios.Scenario) []chan outcome {
	played := make([]chan outcome, len(list))
	next := make(chan int, len(list))
	traces := make([]string, len(list))
	names := map[string]int{}
	for i, s := range list {
		names[s.Name]++
		traces[i] = traceName(s.Name, names[s.Name])
		played[i] = make(chan outcome, 1)
		next <- i
	}
	close(next)
	for range r.jobs() {
		go func() {
			for i := range next {
				played[i] <- r.play(ctx, list[i], traces[i])
			}
		}()
	}
	return played
}

// jobs is how many scenarios are played at a time. A media or TURN server from
// outside is shared, and a look at it finds what every scenario has there: then
// it is one.
func (r Runner) jobs() int {
	switch {
	case r.KMS != "" || r.TURN != nil || r.Stage != nil:
		return 1
	case r.Jobs > 0:
		return r.Jobs
	default:
		return runtime.GOMAXPROCS(0)
	}
}

// play plays one scenario, unless it is too late for that.
func (r Runner) play(ctx context.Context, s *scenarios.Scenario, trace string) outcome {
	if ctx.Err() != nil {
		return outcome{result: reports.Scenario{Name: s.Name, File: s.File, World: r.World, Seed: r.Seed,
			Verdict: reports.Broken, Reason: "not played: " + context.Cause(ctx).Error()}}
	}
	result, err := r.one(ctx, s, trace)
	return outcome{result, err}
}

func (r Runner) stage() scenarios.Stage {
	switch {
	case r.Stage != nil:
		return *r.Stage
	case r.World == "local":
		return LocalStageWithTURN(r.KMS, r.TURN, r.Seed, Plant{})
	}
	return VirtualStage(r.Seed, Plant{})
}

// traceEnding ends the name of the file that a trace is kept in.
const traceEnding = ".trace.jsonl"

// traceName is the file of the n-th scenario of a name: two files in different
// folders may have the same. Colons are left out, since some file systems and
// stores of CI artifacts refuse them.
func traceName(scenario string, n int) string {
	name := strings.NewReplacer("/", "_", "=", "-", ":", "-").Replace(scenario)
	if n > 1 {
		name += "." + strconv.Itoa(n)
	}
	return name + traceEnding
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
		stage := r.stage()
		stage.Keep = func(file string, content []byte) error {
			return os.WriteFile(filepath.Join(r.Dir, strings.TrimSuffix(name, traceEnding)+"."+file), content, 0o644)
		}
		result = scenarios.Play(ctx, stage, s, r.Seed, log)
	}
	result.Wall, result.Trace = time.Since(begin), name
	if err := log.Err(); err != nil {
		return result, fmt.Errorf("keep the trace: %w", err)
	}
	return result, nil
}
