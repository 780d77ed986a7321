package server

import (
	"context"
	"time"
)

// peerOf implements host.
func (c *call) peerOf(l *leg) *leg {
	other := c.peer(l.member)
	if other == nil || l.member.port != nil || other.leg == nil || other.leg.dead || other.leg.endpoint == nil {
		return nil
	}
	return other.leg
}

// wire implements host: the two legs of a call are joined both ways. If the other
// one is not made yet, or being made anew, it will do the same when it is.
func (c *call) wire(l *leg, then func(error)) {
	var peer *leg
	if other := c.peer(l.member); other != nil {
		peer = other.leg
	}
	alone := peer == nil || peer == l.joined || peer.dead || peer.endpoint == nil
	if alone {
		peer = nil
	}
	port := l.member.port // of a recording's mixer
	if alone && port == nil {
		c.legReady(l, then)
		return
	}
	c.wired(l, peer, then, func(ctx context.Context) error {
		if port != nil {
			if err := l.endpoint.Connect(ctx, port); err != nil || alone {
				return err
			}
		}
		return l.endpoint.Join(ctx, peer.endpoint)
	})
}

// mayNegotiate implements host. The callee may right behind its answer; what it
// sends is kept until the call is active.
func (c *call) mayNegotiate(m *member) bool {
	return m != nil && !m.told && (c.at() == stateActive || c.at() == stateAccepting && m == c.callee)
}

// negotiates implements host.
func (c *call) negotiates() bool { return c.at() == stateActive }

// legConnected implements host: when both legs are, the call is set up.
func (c *call) legConnected(*leg) {
	if !c.connected && c.caller.leg.dtlsUp && c.callee != nil && c.callee.leg.dtlsUp {
		c.connected = true
		c.srv.metrics.setup.Observe(time.Since(c.answeredAt).Seconds())
	}
}

// recordable implements host: both are mixed.
func (c *call) recordable() (sources []*member, mixed bool) {
	for _, m := range c.members {
		if !m.left && m.leg != nil {
			sources = append(sources, m)
		}
	}
	return sources, true
}

// mayRecord implements host: either may.
func (c *call) mayRecord(*member) bool { return true }
