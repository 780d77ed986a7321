package server

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// mediaEvent is what the media server reports of a leg.
func (r *room) mediaEvent(l *leg, e MediaEvent) {
	if l.dead {
		return
	}
	r.observed(l.member, e)
	switch e.Kind {
	case MediaCandidate, MediaGathered:
		r.local(l, e)
	case MediaICE:
		r.legLog(l, e, "component", e.Component)
		if e.Component <= 1 && (e.State == StateConnected || e.State == StateReady) {
			r.iceConnected(l)
		}
	case MediaDTLS:
		r.legLog(l, e)
		if e.State == StateConnected {
			r.dtlsConnected(l)
		}
	case MediaFlowOut:
		r.legLog(l, e, "medium", e.Medium)
		l.flow(e)
		r.flowed()
	case MediaFlowIn, MediaTranscoding:
		r.legLog(l, e, "medium", e.Medium)
	case MediaLost:
		r.legLog(l, e, "error", e.Detail)
		r.lost(l)
	case MediaFailure:
		r.legLog(l, e, "error", e.Detail)
	default:
		r.legLog(l, e)
	}
}

// legLog notes an event of the media server as leg.ice, leg.dtls and so on.
func (r *room) legLog(l *leg, e MediaEvent, attrs ...any) {
	if !r.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	attrs = append(attrs, "user", l.member.user, "session", l.member.session.id, "endpoint", l.endpointID(), "state", e.State)
	if e.Kind == MediaTranscoding && e.State == StateTranscoding || e.Kind == MediaFailure {
		r.log.Warn("leg."+e.Kind.String(), attrs...)
		return
	}
	r.log.Info("leg."+e.Kind.String(), attrs...)
}

func (l *leg) endpointID() string {
	if l.endpoint == nil {
		return ""
	}
	return l.endpoint.ID()
}

// flow notes whether media of a kind flows from the member.
func (l *leg) flow(e MediaEvent) {
	if l.flows == nil {
		l.flows = make(map[string]bool)
	}
	l.flows[e.Medium] = e.State == StateFlowing
}

// flowed writes down whether media of any member flows into the room, if that
// changed, and lets a recording begin that waited for it.
func (r *room) flowed() {
	now := slices.ContainsFunc(r.members, func(m *member) bool {
		return m.leg != nil && (m.leg.flows[Audio] || m.leg.flows[Video])
	})
	if now != r.flowing && r.opened {
		r.flowing = now
		r.saveMedia()
	}
	if rec := r.recording; rec != nil {
		rec.tryStart()
	}
}

// media says whether media flows, and where it is recorded.
func (r *room) media() RoomMedia {
	media := RoomMedia{RoomID: r.id, Started: r.flowing}
	if r.recording != nil {
		media.RecordingPath = r.recording.path
	}
	return media
}

// saveMedia writes that down.
func (r *room) saveMedia() {
	media := r.media()
	r.write("room media", func(ctx context.Context) error { return r.srv.cfg.State.PutRoomMedia(ctx, media) }, nil)
}

// local tells the member a candidate of the media server's, or that there are
// no more.
func (r *room) local(l *leg, e MediaEvent) {
	if !r.host.negotiates() {
		return
	}
	if l.answer == "" {
		l.found = append(l.found, e)
		return
	}
	data := r.ref()
	if e.Kind == MediaCandidate {
		data.Candidate, data.SDPMid = e.Candidate.Text, e.Candidate.SDPMid
		data.SDPMLineIndex = &e.Candidate.SDPMLineIndex
		data.UsernameFragment = e.Candidate.Fragment
	}
	r.pushSoon(l.member, signaling.ActionCandidate, data)
}

// iceConnected begins to wait for DTLS. About 1 % of Kurento's legs connect ICE
// and never finish DTLS; nothing reports those.
func (r *room) iceConnected(l *leg) {
	if l.iceUp {
		return
	}
	l.iceUp = true
	if !l.dtlsUp {
		l.watch = time.AfterFunc(r.srv.cfg.DTLSTimeout, func() { r.queue.Do(func() { r.dtlsTimedOut(l) }) })
	}
}

// dtlsConnected is step 26 for one leg. Kurento's events are not ordered: it
// may come before ICE's, and comes once for each direction.
func (r *room) dtlsConnected(l *leg) {
	if l.dtlsUp {
		return
	}
	l.dtlsUp = true
	l.member.retries = 0
	if l.watch != nil {
		l.watch.Stop()
	}
	r.log.Info("leg.connected", "user", l.member.user, "session", l.member.session.id, "endpoint", l.endpointID(), "setup_ms", float64(time.Since(l.since))/float64(time.Millisecond))
	r.srv.metrics.phase(phaseLeg, l.since)
	r.host.legConnected(l)
	l.connectedAt = time.Now()
	record := l.record()
	r.write("leg connected", func(ctx context.Context) error { return r.srv.cfg.State.LegConnected(ctx, record) }, nil)
}

// dtlsTimedOut makes the leg anew and asks the member to do the same.
func (r *room) dtlsTimedOut(l *leg) {
	if l.dead || l.dtlsUp || !r.host.negotiates() {
		return
	}
	m := l.member
	m.retries++
	if m.retries > r.srv.cfg.DTLSRetries || !m.session.renegotiates() {
		r.log.Warn("leg.failed", "user", m.user, "session", m.session.id, "reason", string(signaling.ReasonDTLSTimeout))
		r.host.mediaFailed(m)
		return
	}
	r.rebuild(signaling.ReasonDTLSTimeout, m)
	r.askOffer(m, signaling.ReasonDTLSTimeout)
}
