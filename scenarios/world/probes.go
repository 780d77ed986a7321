package world

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/scenarios"
)

// Probes are the addresses of the parts of a system that can be looked at beside
// its clients. What a part is missing for is skipped by name.
type Probes struct {
	Redis   string // HOST:PORT, or a redis:// URL
	MySQL   string // user:password@tcp(HOST:PORT)/database
	KMS     string // ws://HOST:PORT/kurento
	Metrics string // http://HOST:PORT/metrics
	TURN    *TURN  // its log tells of allocations
}

// blind says what cannot be seen for want of a probe.
func (p Probes) blind() map[string]string {
	blind := map[string]string{scenarios.SightEvents: "a remote system's own events are not told here"}
	for sight, is := range map[string][2]string{
		scenarios.SightHistory: {p.MySQL, "no MySQL probe (-mysql)"}, scenarios.SightRedis: {p.Redis, "no Redis probe (-redis)"},
		scenarios.SightKMS: {p.KMS, "no media server probe (-kms)"}, scenarios.SightMetrics: {p.Metrics, "no metrics probe (-metrics)"},
	} {
		if is[0] == "" {
			blind[sight] = is[1]
		}
	}
	if p.TURN == nil || p.TURN.Log == "" {
		blind[scenarios.SightTURN] = "no log of the TURN server (-turn-log)"
	}
	return blind
}

// parts are what is looked at, without secrets.
func (p Probes) parts() map[string]string {
	parts := map[string]string{}
	if p.Redis != "" {
		parts["redis"] = "at " + redisAddress(p.Redis)
	}
	if p.MySQL != "" {
		parts["mysql"] = "at " + mysqlAddress(p.MySQL)
	}
	if p.KMS != "" {
		parts["kurento"] = "at " + withoutSecrets(p.KMS)
	}
	if p.Metrics != "" {
		parts["metrics"] = "at " + withoutSecrets(p.Metrics)
	}
	if p.TURN != nil {
		parts["turn"] = "at " + p.TURN.URL
	}
	return parts
}

// prober looks at one part of a system.
type prober interface {
	// look tells what the part holds of the scenario now.
	look(ctx context.Context) ([]scenarios.Finding, error)
	close() error
}

// probe is a prober and the name of what it looks at.
type probe struct {
	part string
	prober
}

// probes look at a system, part by part.
type probes []probe

// openProbes notes what the parts hold now, which is not the scenario's.
func openProbes(ctx context.Context, p Probes, s *scenarios.Scenario) (all probes, err error) {
	ours := map[string]bool{}
	for _, c := range s.Clients {
		ours[c.User] = true
	}
	open := func(part string, named bool, with func() (prober, error)) {
		if !named || err != nil {
			return
		}
		one, failed := with()
		if failed != nil {
			err = fmt.Errorf("open the %s probe: %w", part, failed)
			return
		}
		all = append(all, probe{part, one})
	}
	open("kms", p.KMS != "", func() (prober, error) { return openPipelines(ctx, kurento.Config{URL: p.KMS}) })
	open("redis", p.Redis != "", func() (prober, error) { return openRedisProbe(ctx, p.Redis, ours) })
	open("turn", p.TURN != nil && p.TURN.Log != "", func() (prober, error) { return openTURNProbe(p.TURN.Log, ours) })
	open("mysql", p.MySQL != "", func() (prober, error) { return openHistoryProbe(ctx, p.MySQL, ours) })
	open("metrics", p.Metrics != "", func() (prober, error) { return openMetricsProbe(ctx, p.Metrics) })
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	return all, nil
}

// lookLimit is how long a look at one part may take.
const lookLimit = 2 * time.Second

// look looks at all parts. One that gives no answer may only be away for now, so
// that is a finding, and no part that is clean.
func (all probes) look(ctx context.Context) (found []scenarios.Finding, err error) {
	for _, p := range all {
		f, err := p.within(ctx, lookLimit)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			f = []scenarios.Finding{left(p.part+" probe", "it gives no answer: "+err.Error())}
		}
		found = append(found, f...)
	}
	return found, nil
}

func (p probe) within(ctx context.Context, limit time.Duration) ([]scenarios.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.prober.look(ctx)
}

func (all probes) close() error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.prober.close())
	}
	return errors.Join(errs...)
}

// pipelines looks at a media server, which tells of its pipelines.
type pipelines struct {
	control *kurento.Client
	before  map[string]bool // those that it held in the beginning
}

func openPipelines(ctx context.Context, cfg kurento.Config) (*pipelines, error) {
	control, err := kurento.Dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the media server: %w", err)
	}
	p := &pipelines{control: control, before: map[string]bool{}}
	ids, err := p.ids(ctx)
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	for _, id := range ids {
		p.before[id] = true
	}
	return p, nil
}

func (p *pipelines) ids(ctx context.Context) ([]string, error) {
	ids, err := p.control.ServerManager().Pipelines(ctx)
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out, err
}

func (p *pipelines) look(ctx context.Context) (found []scenarios.Finding, err error) {
	ids, err := p.ids(ctx)
	for _, id := range ids {
		if !p.before[id] {
			found = append(found, left("kms", id))
		}
	}
	return found, err
}

func (p *pipelines) close() error { return p.control.Close() }

// turnProbe reads allocations from Coturn's log.
type turnProbe struct {
	relays
	ours map[string]bool
}

func openTURNProbe(path string, ours map[string]bool) (*turnProbe, error) {
	log, err := openCoturnLog(path)
	return &turnProbe{relays: relays{log: log}, ours: ours}, err
}

func (p *turnProbe) look(context.Context) (ours []scenarios.Finding, err error) {
	found, err := p.relayed()
	for _, f := range found {
		if p.ours[attr(f, "user")] {
			ours = append(ours, f)
		}
	}
	return ours, err
}

func (p *turnProbe) close() error { return nil }

// attr is an attribute of a finding.
func attr(f scenarios.Finding, key string) string {
	for _, a := range f.Attrs {
		if a.Key == key {
			return a.Text()
		}
	}
	return ""
}
