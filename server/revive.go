package server

import (
	"context"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// lost is told that the media server lost a leg: alone, or because it restarted
// or is away. Rather than to find out, everything is made anew, once for all legs
// that are lost together. Where that cannot be the room ends.
func (r *room) lost(l *leg) {
	if !r.host.negotiates() || !r.renegotiates() {
		r.host.mediaFailed(l.member)
		return
	}
	old := r.pipeline
	members := r.forgetMedia()
	r.log.Warn("room.revive", "user", l.member.user, "legs", len(members))
	if rec := r.recording; rec != nil {
		rec.recorder, rec.out = nil, nil
		rec.fail(ErrMediaGone)
	}
	r.makePipeline(nil, func(err error) {
		if old != nil {
			r.do("release pipeline", nil, func(ctx context.Context) error { return old.Release(ctx) }, func(error) {})
		}
		for _, m := range members {
			switch {
			case m.left:
			case err != nil:
				r.host.mediaFailed(m)
			default:
				r.reviveLeg(m)
			}
		}
	})
}

// renegotiates reports whether every member's client can make its leg anew.
func (r *room) renegotiates() bool {
	return !slices.ContainsFunc(r.members, func(m *member) bool { return !m.left && m.leg != nil && !m.session.renegotiates() })
}

// forgetMedia gives up everything that was on the media server, and returns the
// members that had a leg there.
func (r *room) forgetMedia() (had []*member) {
	for _, m := range r.members {
		m.port = nil
		if m.leg == nil || m.left {
			continue
		}
		m.leg.kill()
		had = append(had, m)
	}
	r.mixer = nil
	r.flowed()
	return had
}

// reviveLeg makes a member's leg in the new pipeline and asks it to offer anew.
func (r *room) reviveLeg(m *member) {
	r.newLeg(m, nil, func(err error) {
		switch {
		case err != nil && !m.left && !m.leg.dead:
			r.host.mediaFailed(m)
		case err == nil:
			r.saveLeg(m.leg)
		}
	})
	r.askOffer(m, signaling.ReasonMediaRestarted)
}

// askOffer asks a member to make its PeerConnection anew and to offer.
func (r *room) askOffer(m *member, reason signaling.Reason) {
	data := r.ref()
	data.Reason = reason
	r.push(m, signaling.ActionNegotiate, data)
}
