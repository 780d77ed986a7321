package server

import (
	"context"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// mediaEvent is what the media server reports of a leg.
func (c *call) mediaEvent(l *leg, e MediaEvent) {
	if l.dead {
		return
	}
	switch e.Kind {
	case MediaCandidate, MediaGathered:
		c.local(l, e)
	case MediaICE:
		c.legLog(l, e, "component", e.Component)
		if e.Component <= 1 && (e.State == StateConnected || e.State == StateReady) {
			c.iceConnected(l)
		}
	case MediaDTLS:
		c.legLog(l, e)
		if e.State == StateConnected {
			c.dtlsConnected(l)
		}
	case MediaFlowIn, MediaFlowOut, MediaTranscoding:
		c.legLog(l, e, "medium", e.Medium)
	case MediaLost:
		c.legLog(l, e, "error", e.Detail)
		c.end(signaling.ReasonMediaFailed, nil)
	case MediaFailure:
		c.legLog(l, e, "error", e.Detail)
	default:
		c.legLog(l, e)
	}
}

// legLog notes an event of the media server as leg.ice, leg.dtls and so on.
func (c *call) legLog(l *leg, e MediaEvent, attrs ...any) {
	attrs = append(attrs, "user", l.member.user, "session", l.member.session.id, "endpoint", l.endpointID(), "state", e.State)
	if e.Kind == MediaTranscoding && e.State == StateTranscoding || e.Kind == MediaFailure {
		c.log.Warn("leg."+e.Kind.String(), attrs...)
		return
	}
	c.log.Info("leg."+e.Kind.String(), attrs...)
}

func (l *leg) endpointID() string {
	if l.endpoint == nil {
		return ""
	}
	return l.endpoint.ID()
}

// local tells the member a candidate of the media server's, or that there are
// no more.
func (c *call) local(l *leg, e MediaEvent) {
	if c.at() != stateActive {
		return
	}
	data := c.ref()
	if e.Kind == MediaCandidate {
		data.Candidate, data.SDPMid = e.Candidate.Text, e.Candidate.SDPMid
		data.SDPMLineIndex = &e.Candidate.SDPMLineIndex
		data.UsernameFragment = e.Candidate.Fragment
	}
	c.push(l.member, signaling.ActionCandidate, data)
}

// iceConnected begins to wait for DTLS. About 1 % of Kurento's legs connect ICE
// and never finish DTLS; nothing reports those.
func (c *call) iceConnected(l *leg) {
	if l.iceUp {
		return
	}
	l.iceUp = true
	if !l.dtlsUp {
		l.watch = time.AfterFunc(c.srv.cfg.DTLSTimeout, func() { c.queue.Do(func() { c.dtlsTimedOut(l) }) })
	}
}

// dtlsConnected is step 26 for one leg. Kurento's events are not ordered: it
// may come before ICE's, and comes once for each direction.
func (c *call) dtlsConnected(l *leg) {
	if l.dtlsUp {
		return
	}
	l.dtlsUp = true
	l.member.retries = 0
	if l.watch != nil {
		l.watch.Stop()
	}
	c.log.Info("leg.connected", "user", l.member.user, "session", l.member.session.id, "endpoint", l.endpointID(), "setup_ms", float64(time.Since(l.since))/float64(time.Millisecond))
	if !c.connected && !slices.ContainsFunc(c.members, func(m *member) bool { return m.leg == nil || !m.leg.dtlsUp }) {
		c.connected = true
		c.srv.metrics.setup.Observe(time.Since(c.answeredAt).Seconds())
	}
	record := l.record()
	record.ConnectedAt = time.Now()
	c.save("leg connected", func(ctx context.Context) error { return c.srv.cfg.State.LegConnected(ctx, record) }, nil)
}

// dtlsTimedOut makes the leg anew and asks the member to do the same.
func (c *call) dtlsTimedOut(l *leg) {
	if l.dead || l.dtlsUp || c.at() != stateActive {
		return
	}
	m := l.member
	m.retries++
	if m.retries > c.srv.cfg.DTLSRetries || !m.session.renegotiates() {
		c.log.Warn("leg.failed", "user", m.user, "session", m.session.id, "reason", string(signaling.ReasonDTLSTimeout))
		c.end(signaling.ReasonMediaFailed, nil)
		return
	}
	c.rebuild(m, signaling.ReasonDTLSTimeout)
	data := c.ref()
	data.Reason = signaling.ReasonDTLSTimeout
	c.push(m, signaling.ActionNegotiate, data)
}
