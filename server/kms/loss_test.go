package kms_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
)

// told are the losses that were told, in order.
func (e *events) told() (lost []string) {
	for _, l := range e.list() {
		if strings.HasSuffix(l, " lost") {
			lost = append(lost, l)
		}
	}
	return lost
}

// recorded is for events of a recorder.
func (e *events) recorded(who string) func(server.RecorderEvent) {
	add := e.add(who)
	return func(ev server.RecorderEvent) {
		if ev.Kind == server.RecorderLost {
			add(server.MediaEvent{Kind: server.MediaLost, Detail: ev.Detail})
		}
	}
}

// full makes two endpoints and a recorder, and a third endpoint that is released.
func (r *rig) full() server.Pipeline {
	r.t.Helper()
	p, _, _ := r.legs()
	_, err := p.NewRecorder(r.t.Context(), "file:///r.webm", r.log.recorded("r"))
	must(r.t, err)
	c, err := p.NewEndpoint(r.t.Context(), nil, r.log.add("c"))
	must(r.t, err)
	must(r.t, c.Release(r.t.Context()))
	return p
}

var allLost = []string{"a lost", "b lost", "r lost"}

// TestMediaServerAway has nobody told before LostAfter, and everybody once then.
func TestMediaServerAway(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.full()
		r.mock.Kill()
		time.Sleep(kms.DefaultLostAfter - time.Millisecond)
		synctest.Wait()
		if told := r.log.told(); len(told) != 0 {
			t.Errorf("too soon: %q", told)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("told %q", told)
		}
		start := time.Now()
		if _, err := r.media.NewPipeline(t.Context()); !errors.Is(err, server.ErrMediaGone) || time.Since(start) != 0 {
			t.Errorf("a pipeline of a media server that is gone: %v after %v", err, time.Since(start))
		}
		r.mock.Restart(0)
		time.Sleep(time.Second)
		must(t, second(r.media.NewPipeline(t.Context())))
		time.Sleep(time.Minute)
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("in the end %q were told", told)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestMediaServerRestarts is told as soon as it is seen.
func TestMediaServerRestarts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.full()
		r.mock.Restart(kmsmock.RestartTime)
		time.Sleep(time.Second)
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("after a second %q were told", told)
		}
		if _, err := p.NewEndpoint(t.Context(), nil, r.log.add("d")); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("an endpoint in a pipeline of the server before: %v", err)
		}
		time.Sleep(time.Minute)
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("in the end %q were told", told)
		}
	})
}

// TestMediaServerComesBack loses the connection, and the media server keeps all.
func TestMediaServerComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.full()
		host, err := r.net.Host("server")
		must(t, err)
		host.Link.Reset()
		r.mock.Refuse(kms.DefaultLostAfter - time.Second)
		time.Sleep(time.Minute)
		if told := r.log.told(); len(told) != 0 {
			t.Errorf("%q were told", told)
		}
		must(t, second(p.NewEndpoint(t.Context(), nil, r.log.add("d"))))
	})
}

// TestMediaServerSilent has the connection stay open and nothing come: LostAfter
// counts from the last sign of life, of which there is one a second.
func TestMediaServerSilent(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.full()
		host, err := r.net.Host("server")
		must(t, err)
		time.Sleep(10*time.Second + 300*time.Millisecond)
		host.Link.Cut()
		time.Sleep(kms.DefaultLostAfter - 400*time.Millisecond)
		synctest.Wait()
		if told := r.log.told(); len(told) != 0 {
			t.Errorf("too soon: %q", told)
		}
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("told %q", told)
		}
		host.Link.Restore()
		time.Sleep(time.Minute)
		if told := r.log.told(); !slices.Equal(told, allLost) {
			t.Errorf("in the end %q were told", told)
		}
		must(t, second(r.media.NewPipeline(t.Context())))
	})
}

// TestNewPipelineWhileAway waits a second for a media server that is just away,
// whatever time the caller has.
func TestNewPipelineWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.mock.Restart(500 * time.Millisecond)
		synctest.Wait()
		must(t, second(r.media.NewPipeline(t.Context())))
		r.mock.Kill()
		synctest.Wait()
		for what, make := range map[string]func() error{
			"new":       func() error { return second(r.media.NewPipeline(t.Context())) },
			"take over": func() error { return second(r.media.Pipeline(t.Context(), "p")) },
		} {
			start := time.Now()
			if err := make(); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("%s: %v", what, err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s took %v", what, took)
			}
		}
	})
}

// TestReleasedBySomebodyElse is noticed by whatever is done next.
func TestReleasedBySomebodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, a, b := r.legs()
		mixer, err := p.NewMixer(ctx)
		must(t, err)
		port, err := mixer.NewPort(ctx)
		must(t, err)
		recorder, err := p.NewRecorder(ctx, "file:///r.webm", r.log.recorded("r"))
		must(t, err)
		must(t, r.other().MediaPipeline(kurento.ObjectID(p.ID())).Release(ctx))
		for what, op := range map[string]func() error{
			"endpoint":    func() error { return second(p.NewEndpoint(ctx, nil, r.log.add("c"))) },
			"with a peer": func() error { return second(p.NewEndpoint(ctx, a, r.log.add("c"))) },
			"mixer":       func() error { return second(p.NewMixer(ctx)) },
			"port":        func() error { return second(mixer.NewPort(ctx)) },
			"recorder":    func() error { return second(p.NewRecorder(ctx, "file:///s.webm", r.log.recorded("s"))) },
			"take over":   func() error { return second(r.media.Pipeline(ctx, p.ID())) },
			"take over e": func() error { return second(p.Endpoint(ctx, a.ID(), r.log.add("a"))) },
			"connect":     func() error { return a.Connect(ctx, b) },
			"disconnect":  func() error { return port.Disconnect(ctx, a) },
			"offer":       func() error { return second(a.Negotiate(ctx, "v=0\r\n")) },
			"candidates":  func() error { return a.AddCandidates(ctx, []server.Candidate{{Text: "candidate:1", SDPMid: "0"}}) },
			"record":      func() error { return recorder.Record(ctx) },
			"stop":        func() error { return recorder.Stop(ctx) },
		} {
			if err := op(); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must(t, a.Release(ctx))
		must(t, mixer.Release(ctx))
		must(t, p.Release(ctx))
	})
}

// other is a client of the media server's beside the server's.
func (r *rig) other() *kurento.Client {
	r.t.Helper()
	host, err := r.net.Host("other")
	must(r.t, err)
	c, err := kurento.Dial(r.t.Context(), kurento.Config{URL: "ws://kms:8888/kurento", Dial: host.Dial})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, c.Close()) })
	return c
}

// TestTakeOver has another process go on with what one has left behind: events
// come to it, and what it holds outlives the session that made it.
func TestTakeOver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, a, b := r.legs()
		host, err := r.net.Host("heir")
		must(t, err)
		heir, err := kms.Dial(ctx, kms.Config{URL: "ws://kms:8888/kurento", Dial: host.Dial})
		must(t, err)
		defer func() { must(t, heir.Close()) }()

		taken, err := heir.Pipeline(ctx, p.ID())
		must(t, err)
		heirs := &events{}
		leg, err := taken.Endpoint(ctx, a.ID(), heirs.add("a"))
		must(t, err)
		must(t, r.media.Close())
		time.Sleep(20 * time.Minute) // the media server collects what nobody holds

		if _, err := taken.Endpoint(ctx, b.ID(), heirs.add("b")); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("an endpoint that nobody held: %v", err)
		}
		must(t, second(leg.Negotiate(ctx, sessionFingerprintDown(r.offer()))))
		time.Sleep(time.Second)
		if lines := heirs.list(); !slices.Contains(lines, "a gathered") {
			t.Errorf("the heir was told %q", lines)
		}
		must(t, taken.Release(ctx))
		r.empty()
	})
}

// TestTakeOverRefused is of ids that name nothing, or something else.
func TestTakeOverRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, a, _ := r.legs()
		q, _, _ := r.legs()
		mixer, err := p.NewMixer(ctx)
		must(t, err)
		for _, id := range []string{"", "nonsense", a.ID()} {
			if _, err := r.media.Pipeline(ctx, id); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("pipeline %q: %v", id, err)
			}
		}
		for _, id := range []string{"", "nonsense", p.ID(), mixer.ID(), p.ID() + "/nonsense"} {
			if _, err := p.Endpoint(ctx, id, r.log.add("x")); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("endpoint %q: %v", id, err)
			}
		}
		if _, err := q.Endpoint(ctx, a.ID(), r.log.add("x")); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("an endpoint of another pipeline: %v", err)
		}
		must(t, p.Release(ctx))
		must(t, q.Release(ctx))
		r.empty()
	})
}

// TestOverloaded is what Kurento says when it is short of threads.
func TestOverloaded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, a, b := r.legs()
		mixer, err := p.NewMixer(ctx)
		must(t, err)
		r.mock.SetFaults(kmsmock.Faults{ThreadLimit: 1})
		for what, op := range map[string]func() error{
			"pipeline": func() error { return second(r.media.NewPipeline(ctx)) },
			"call":     func() error { _, _, err := r.media.NewCall(ctx, r.log.add("c")); return err },
			"endpoint": func() error { return second(p.NewEndpoint(ctx, nil, r.log.add("c"))) },
			"mixer":    func() error { return second(p.NewMixer(ctx)) },
			"port":     func() error { return second(mixer.NewPort(ctx)) },
			"recorder": func() error { return second(p.NewRecorder(ctx, "file:///r.webm", r.log.recorded("r"))) },
		} {
			if err := op(); !errors.Is(err, server.ErrMediaOverloaded) || errors.Is(err, server.ErrMediaGone) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must(t, a.Connect(ctx, b))
		must(t, p.Release(ctx))
		r.empty()
	})
}
