package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// wire implements host. In an mcu every member has a port of the mixer: all hear
// what comes out of it, and what a publisher sends goes in. In a broadcast the
// publisher's endpoint feeds those of all others.
func (c *conference) wire(l *leg, then func(error)) {
	m := l.member
	switch {
	case c.kind == RoomMCU:
		c.wireMixed(l, then)
	case m.role == RolePublisher:
		sinks := c.audience(m)
		c.wired(l, nil, then, func(ctx context.Context) error {
			for _, sink := range sinks {
				if err := l.endpoint.Connect(ctx, sink); err != nil {
					return err
				}
			}
			return nil
		})
	default:
		pub := c.publisher()
		if pub == nil || pub.leg == nil || pub.leg.endpoint == nil || pub.leg.dead { // its own leg will find this one
			c.legReady(l, then)
			return
		}
		source := pub.leg
		c.wired(l, source, then, func(ctx context.Context) error { return source.endpoint.Connect(ctx, l.endpoint) })
	}
}

// audience are the endpoints that hear the publisher, and its recorder.
func (c *conference) audience(pub *member) (sinks []Element) {
	for _, m := range c.present() {
		if m != pub && m.leg != nil && !m.leg.dead && m.leg.endpoint != nil {
			sinks = append(sinks, m.leg.endpoint)
		}
	}
	if rec := c.recording; rec != nil && rec.recorder != nil {
		sinks = append(sinks, rec.recorder)
	}
	return sinks
}

// wireMixed connects a leg with its member's port. A leg that replaces another
// takes its port over.
func (c *conference) wireMixed(l *leg, then func(error)) {
	port, publishes, mixer := l.member.port, l.member.role == RolePublisher, c.mixer
	var made Element
	c.wired(l, nil, func(err error) {
		unused, m := made, l.member
		if made != nil && !m.left && c.mixer == mixer {
			unused, m.port = m.port, made
		}
		if unused != nil {
			c.do("release port", l.party(), unused.Release, func(error) {})
		}
		then(err)
	}, func(ctx context.Context) (err error) {
		if port == nil {
			if made, err = mixer.NewPort(ctx); err != nil {
				return err
			}
			port = made
		}
		if err := port.Connect(ctx, l.endpoint); err != nil || !publishes {
			return err
		}
		return l.endpoint.Connect(ctx, port)
	})
}

// wired connects a leg and continues with it if it is still wanted. It may fail when
// the leg that it is connected with, nil if there is none, was replaced or left
// meanwhile: what comes in its place connects them.
func (r *room) wired(l, with *leg, then func(error), connect func(context.Context) error) {
	r.do("connect endpoints", l.party(), connect, func(err error) {
		switch {
		case l.dead:
			then(errLegGone)
		case err != nil && (with == nil || !with.dead):
			then(err)
		default:
			r.legReady(l, then)
		}
	})
}

// mayNegotiate implements host.
func (c *conference) mayNegotiate(m *member) bool { return m != nil }

// negotiates implements host.
func (c *conference) negotiates() bool { return true }

// legConnected implements host: a member's first one ends its coming in.
func (c *conference) legConnected(l *leg) {
	if m := l.member; !m.asked.IsZero() {
		c.srv.metrics.phase(phaseJoin, m.asked)
		m.asked = time.Time{}
	}
}

// mediaFailed implements host: the member is taken out, and the others stay.
func (c *conference) mediaFailed(m *member) { c.expel(m, signaling.ReasonMediaFailed, func() {}) }

// recordable implements host: the publisher of a broadcast, or all that are mixed.
func (c *conference) recordable() (sources []*member, mixed bool) {
	for _, m := range c.present() {
		if m.role == RolePublisher && m.leg != nil {
			sources = append(sources, m)
		}
	}
	return sources, c.kind == RoomMCU
}
