package loadtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// Config says what is played, where and how often.
type Config struct {
	Scenario *scenarios.Scenario
	Stage    scenarios.Stage // real time
	Rate     Rate
	Calls    int
	Seed     int64
	Log      *trace.Log     // gets a load.call event and load.span events for each call
	Progress func(Progress) // nil: nobody watches
}

// Progress is how far a load has come.
type Progress struct{ Begun, Done, Failed int }

// Run plays the load and returns when its last call has ended. The world is
// shared by all calls; each has clients of its own.
func Run(ctx context.Context, cfg Config) (reports.Load, error) {
	s := cfg.Scenario
	cfg.Log.Add("load", trace.KindLoadBegin, trace.Int("version", trace.Version), trace.String("scenario", s.Name),
		trace.String("world", cfg.Stage.Name), trace.Int("calls", cfg.Calls), trace.Int("seed", cfg.Seed), trace.String("text", s.Text))
	w, err := cfg.Stage.Open(ctx, s, trace.New(nil))
	if err != nil {
		return reports.Load{}, fmt.Errorf("put up the world: %w", err)
	}
	r := &runner{cfg: cfg, world: w, result: reports.NewLoad(s.Name, cfg.Stage.Name)}
	r.start(ctx)
	left, probeErr := r.settle(ctx)
	r.result.Left = left
	r.result.Summarize()
	cfg.Log.Add("load", trace.KindLoadEnd)
	if err := w.Close(); err != nil {
		return r.result, fmt.Errorf("take down the world: %w", err)
	}
	return r.result, probeErr
}

type runner struct {
	cfg   Config
	world scenarios.World

	mu       sync.Mutex
	result   reports.Load
	progress Progress
}

// start begins each call when it is due and waits for all.
func (r *runner) start(ctx context.Context) {
	begin := time.Now()
	var calls sync.WaitGroup
	defer func() {
		calls.Wait()
		r.result.Wall = time.Since(begin)
	}()
	for i := range r.cfg.Calls {
		select {
		case <-time.After(r.cfg.Rate.Due(i) - time.Since(begin)):
		case <-ctx.Done():
			r.count(func(*Progress) { r.result.Dropped = r.cfg.Calls - i })
			return
		}
		calls.Go(func() { r.call(ctx, i, time.Since(begin)-r.cfg.Rate.Due(i)) })
	}
}

// call plays one call and adds what it took to the histograms.
func (r *runner) call(ctx context.Context, i int, late time.Duration) {
	r.count(func(p *Progress) { p.Begun++ })
	stage := r.cfg.Stage
	stage.Open = func(context.Context, *scenarios.Scenario, *trace.Log) (scenarios.World, error) {
		return share{r.world}, nil
	}
	one := scenarios.Play(ctx, stage, r.cfg.Scenario.PerCall(i), r.cfg.Seed+int64(i), trace.New(nil))
	r.count(func(p *Progress) {
		p.Done++
		if ctx.Err() != nil {
			r.result.Interrupted++
			return
		}
		r.result.Add(one, late)
		r.record(i, one, late)
		p.Failed = r.result.Failed
	})
}

// count changes the progress, and the result with it, and tells who watches.
func (r *runner) count(change func(*Progress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.progress)
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.progress)
	}
}

// record keeps a call's spans; packets are in it only as sums.
func (r *runner) record(i int, one reports.Scenario, late time.Duration) {
	r.cfg.Log.Add("load", "load.call", trace.Int("n", i), trace.String("verdict", string(one.Verdict)), trace.String("reason", one.Reason),
		trace.Duration("late_ms", late), trace.Duration("took_ms", one.Took))
	for _, sp := range one.Spans {
		r.cfg.Log.Add("load", "load.span", trace.Int("n", i), trace.String("name", sp.Name), trace.Duration("took_ms", sp.Took))
	}
	for _, m := range one.Media {
		r.cfg.Log.Add("load", "load.media", trace.Int("n", i), trace.String("client", m.Client), trace.String("media", m.Kind), trace.Int("units", m.Units), trace.Int("lost", m.Lost), trace.Int("wrong", m.Wrong))
	}
}

// settle waits until nothing of the calls is left, as long as the world allows.
func (r *runner) settle(ctx context.Context) ([]string, error) {
	deadline := time.Now().Add(r.world.Settle())
	for {
		found, err := r.world.Probe(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at the servers: %w", err)
		}
		var left []string
		for _, f := range found {
			if f.What == "left" {
				left = append(left, trace.Event{Attrs: f.Attrs}.Get("where")+" "+trace.Event{Attrs: f.Attrs}.Get("id"))
			}
		}
		if len(left) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return left, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// share is one call's part of the world, which outlives it.
type share struct{ scenarios.World }

func (share) Close() error { return nil }
