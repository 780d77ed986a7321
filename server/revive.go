package server

import (
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
	r.remake(old, members, func() {})
}

// remake makes a pipeline, and members' legs in it, whom it asks for offers if those
// are taken now, and continues.
func (r *room) remake(old Pipeline, members []*member, then func()) {
	r.renewing = true
	r.makePipeline(nil, func(err error) {
		r.renewing = false
		if old != nil {
			r.do("release pipeline", nil, old.Release, func(error) {})
		}
		var legs []*leg
		for _, m := range slices.DeleteFunc(members, func(m *member) bool { return m.left }) {
			if err != nil {
				r.host.mediaFailed(m)
				continue
			}
			legs = append(legs, m.leg)
			if r.host.negotiates() {
				r.askOffer(m, signaling.ReasonMediaRestarted)
			}
		}
		r.makeLegs(legs, make([]*leg, len(legs)))
		then()
		waiting := r.held
		r.held = nil
		for _, f := range waiting {
			f()
		}
	})
}

// whenRenewed continues when the pipeline is not one that is lost. There is none if
// the media server would not make another.
func (r *room) whenRenewed(then func()) {
	if r.renewing {
		r.held = append(r.held, then)
		return
	}
	then()
}

// renegotiates reports whether every member's client can make its leg anew.
func (r *room) renegotiates() bool {
	return !slices.ContainsFunc(r.members, func(m *member) bool { return !m.left && m.leg != nil && !m.session.renegotiates() })
}

// forgetMedia gives up everything that was on the media server, and returns the
// members that had a leg there. Who was about to come in is let down.
func (r *room) forgetMedia() (had []*member) {
	for _, m := range r.members {
		m.port = nil
		if m.leg == nil || m.left {
			continue
		}
		m.leg.kill()
		if m.joined.IsZero() {
			continue
		}
		m.leg = &leg{member: m} // an offer that comes early is kept
		had = append(had, m)
	}
	r.mixer = nil
	r.flowed()
	return had
}

// askOffer asks a member to make its PeerConnection anew and to offer.
func (r *room) askOffer(m *member, reason signaling.Reason) {
	data := r.ref()
	data.Reason = reason
	r.push(m, signaling.ActionNegotiate, data)
}
