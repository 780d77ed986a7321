package kms_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/simclient/media"
)

// TestServiceTakeOver has a process end under a call, and another one go on with
// it: it is told what it must know, the media flow all the time, and it can
// connect what it took over.
func TestServiceTakeOver(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx := t.Context()
		p, err := s.media.NewPipeline(ctx)
		must(t, err)
		a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipVP8, from: []string{"ben"}})
		b := s.actor(p, "ben", cast{audio: media.ClipOpus, video: media.ClipVP8, from: []string{"ann"}})
		idle, err := p.NewEndpoint(ctx, nil, func(server.MediaEvent) {})
		must(t, err)
		must(t, a.leg.Connect(ctx, b.leg))
		a.send()
		b.send()
		b.gets(media.VP8, 30, false)

		heir := s.dial()
		taken, err := heir.Pipeline(ctx, p.ID())
		must(t, err)
		told := map[string]*events{}
		legs := map[string]server.Endpoint{}
		for _, e := range []server.Endpoint{a.leg, b.leg, idle} {
			told[e.ID()] = &events{}
			legs[e.ID()], err = taken.Endpoint(ctx, e.ID(), told[e.ID()].add("leg"))
			must(t, err)
		}
		must(t, s.media.Close())
		s.media = heir

		up := []string{"leg connection CONNECTED", "leg dtls CONNECTED", "leg flow_out FLOWING audio", "leg flow_out FLOWING video"}
		for id, want := range map[string][]string{a.leg.ID(): up, b.leg.ID(): up, idle.ID(): nil} {
			lines := told[id].list()
			missing := slices.ContainsFunc(want, func(l string) bool { return !slices.Contains(lines, l) })
			if missing || want == nil && len(lines) > 0 {
				t.Errorf("the heir was told %q, want %q", lines, want)
			}
		}
		must(t, legs[b.leg.ID()].Connect(ctx, legs[a.leg.ID()])) // as it was not before
		a.gets(media.Opus, 30, false)
		b.gets(media.VP8, b.sinks[media.VP8].Stats().Good+30, false)
		if lost := b.sinks[media.VP8].Stats().Lost; lost > 0 {
			t.Errorf("ben lost %d frames", lost)
		}
		must(t, taken.Release(ctx))
		if _, err := heir.Pipeline(ctx, p.ID()); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("the pipeline lives on: %v", err)
		}
	})
}
