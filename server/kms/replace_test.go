package kms_test

import (
	"context"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/simclient/media"
)

// replaced is what an actor had before it was connected anew.
type replaced struct {
	leg *leg
	pc  *webrtc.PeerConnection
}

// again connects the actor anew, beside what it has, which it returns.
func (a *actor) again(p server.Pipeline) replaced {
	a.s.t.Helper()
	old := replaced{a.leg, a.pc}
	a.connect(p)
	return old
}

// end releases the endpoint before and then closes its peer.
func (o replaced) end(t *testing.T) {
	t.Helper()
	must(t, o.leg.Release(t.Context()))
	must(t, o.pc.GracefulClose())
}

// rewiring is an order in which a publisher's endpoint is replaced.
type rewiring struct {
	name string
	do   func(ctx context.Context, t *testing.T, p server.Pipeline, a *actor, sinks []server.Element)
}

func rewirings() []rewiring {
	connect := func(ctx context.Context, t *testing.T, a *actor, sinks []server.Element) {
		for _, sink := range sinks {
			must(t, a.leg.Connect(ctx, sink))
		}
	}
	return []rewiring{
		{"when the new one flows", func(ctx context.Context, t *testing.T, p server.Pipeline, a *actor, sinks []server.Element) {
			old := a.again(p)
			a.flowing()
			connect(ctx, t, a, sinks)
			old.end(t)
		}},
		{"when the new one is connected", func(ctx context.Context, t *testing.T, p server.Pipeline, a *actor, sinks []server.Element) {
			old := a.again(p)
			connect(ctx, t, a, sinks)
			old.end(t)
		}},
		{"after the old one is gone", func(ctx context.Context, t *testing.T, p server.Pipeline, a *actor, sinks []server.Element) {
			replaced{a.leg, a.pc}.end(t)
			a.connect(p)
			connect(ctx, t, a, sinks)
		}},
	}
}

// TestServiceReplacePublisher replaces the endpoint of whom viewers see and a
// recorder records: both go on.
func TestServiceReplacePublisher(t *testing.T) {
	t.Parallel()
	for _, how := range rewirings() {
		t.Run(how.name, func(t *testing.T) {
			studios(t, func(t *testing.T, s *studio) { replacePublisher(t, s, how) })
		})
	}
}

func replacePublisher(t *testing.T, s *studio, how rewiring) {
	ctx, p := t.Context(), s.pipeline()
	a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipVP8})
	viewers := []*actor{
		s.actor(p, "ben", cast{recvonly: true, from: []string{"ann"}}),
		s.actor(p, "cid", cast{recvonly: true, from: []string{"ann"}}),
	}
	r := s.tape(p)
	sinks := []server.Element{viewers[0].leg, viewers[1].leg, r}
	for _, sink := range sinks {
		must(t, a.leg.Connect(ctx, sink))
	}
	a.send()
	asked := time.Now()
	must(t, r.Record(ctx))
	r.await(server.RecorderStarted)
	began := time.Now()
	for _, v := range viewers {
		v.gets(media.VP8, 30, false)
		v.gets(media.Opus, 30, false)
	}
	how.do(ctx, t, p, a, sinks)
	for _, v := range viewers {
		for _, codec := range []media.Codec{media.VP8, media.Opus} {
			v.gets(codec, v.sinks[codec].Stats().Good+30, false)
			if st := v.sinks[codec].Stats(); st.WrongOrigin+st.Unmarked+st.Corrupt > 0 {
				t.Errorf("%s: %v of wrong origin %d, unmarked %d, corrupt %d", v.name, codec, st.WrongOrigin, st.Unmarked, st.Corrupt)
			}
		}
		t.Logf("%s saw nothing for %v and heard nothing for %v", v.name,
			v.gaps[media.VP8].take(), v.gaps[media.Opus].take())
	}
	least := time.Since(began)
	r.stop()
	r.shows(least, time.Since(asked), "vp8", "opus")
	t.Logf("the file: %+v, written for %v", r.probe(), least)
}

// TestServiceReplaceViewer replaces the endpoint of one viewer; the other does
// not notice.
func TestServiceReplaceViewer(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx, p := t.Context(), s.pipeline()
		a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipVP8})
		b := s.actor(p, "ben", cast{recvonly: true, from: []string{"ann"}})
		c := s.actor(p, "cid", cast{recvonly: true, from: []string{"ann"}})
		must(t, a.leg.Connect(ctx, b.leg))
		must(t, a.leg.Connect(ctx, c.leg))
		a.send()
		for _, v := range []*actor{b, c} {
			v.gets(media.VP8, 30, false)
		}
		old := b.again(p)
		must(t, a.leg.Connect(ctx, b.leg))
		must(t, a.leg.Disconnect(ctx, old.leg))
		old.end(t)
		for _, v := range []*actor{b, c} {
			for _, codec := range []media.Codec{media.VP8, media.Opus} {
				v.gets(codec, v.sinks[codec].Stats().Good+30, false)
			}
			t.Logf("%s saw nothing for %v and heard nothing for %v", v.name, v.gaps[media.VP8].take(), v.gaps[media.Opus].take())
		}
		if st := c.sinks[media.VP8].Stats(); st.Lost > 0 {
			t.Errorf("cid, whom it does not concern, lost %d frames", st.Lost)
		}
	})
}

// TestServiceReplaceMixed replaces the endpoint of a member of a mix, at the
// port that it has: all see it move again.
func TestServiceReplaceMixed(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx, p := t.Context(), s.pipeline()
		mixer, err := p.NewMixer(ctx)
		must(t, err)
		members, ports := mixed(s, p, mixer, "ann", "ben", "cid")
		b := members[1]
		old := b.again(p)
		must(t, b.leg.Connect(ctx, ports[1]))
		must(t, ports[1].Connect(ctx, b.leg))
		old.end(t)
		at := time.Now()
		for _, m := range members {
			m.seesMoving(at, members...)
			t.Logf("%s got no picture for %v and no sound for %v", m.name, m.gaps[media.VP8].take(), m.gaps[media.Opus].take())
		}
		must(t, mixer.Release(ctx))
	})
}

// mixed makes members of a mix who all see each other, and their ports.
func mixed(s *studio, p server.Pipeline, mixer server.Mixer, names ...string) (members []*actor, ports []server.Element) {
	t := s.t
	t.Helper()
	for _, name := range names {
		m := s.actor(p, name, cast{audio: media.ClipOpus, video: media.ClipBarcode})
		port, err := mixer.NewPort(t.Context())
		must(t, err)
		must(t, m.leg.Connect(t.Context(), port))
		must(t, port.Connect(t.Context(), m.leg))
		m.send()
		members, ports = append(members, m), append(ports, port)
	}
	for _, m := range members {
		m.seesMoving(time.Now(), members...)
		m.gaps[media.VP8].take()
		m.gaps[media.Opus].take()
	}
	return members, ports
}

// seesMoving waits until the actor has seen each of the others, and itself,
// move since then. The mock mixes nothing: with it all get the media of whoever
// began to send last.
func (a *actor) seesMoving(since time.Time, of ...*actor) {
	a.s.t.Helper()
	moved := func(id media.Identity) bool {
		seen, ok := a.viewer.Saw(id)
		return ok && seen.Moved.After(since)
	}
	until(a.s.t, a.name+" sees the others move", func() bool {
		n := 0
		for _, o := range of {
			if moved(o.barcode()) {
				n++
			}
		}
		return n == len(of) || !a.s.real && n > 0
	})
}

// TestServiceLeaveMix has members of a mix leave in the two orders in which
// endpoint and port can be released: the others go on, and see them no more.
func TestServiceLeaveMix(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name  string
		leave func(ctx context.Context, endpoint, port server.Element) error
	}{
		{"endpoint, then port", func(ctx context.Context, endpoint, port server.Element) error {
			if err := endpoint.Release(ctx); err != nil {
				return err
			}
			return port.Release(ctx)
		}},
		{"port, then endpoint", func(ctx context.Context, endpoint, port server.Element) error {
			if err := port.Release(ctx); err != nil {
				return err
			}
			return endpoint.Release(ctx)
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			studios(t, func(t *testing.T, s *studio) {
				ctx, p := t.Context(), s.pipeline()
				mixer, err := p.NewMixer(ctx)
				must(t, err)
				members, ports := mixed(s, p, mixer, "ann", "ben", "cid", "dan")
				for n := len(members) - 1; n >= 2; n-- {
					gone := members[n]
					must(t, how.leave(ctx, gone.leg, ports[n]))
					gone.close()
					at := time.Now()
					for _, m := range members[:n] {
						m.seesMoving(at, members[:n]...)
						t.Logf("%d remain: %s got no picture for %v and no sound for %v", n, m.name, m.gaps[media.VP8].take(), m.gaps[media.Opus].take())
					}
				}
				must(t, mixer.Release(ctx))
			})
		})
	}
}
