package server

import (
	"context"
	"errors"
	"time"

	"github.com/callbench/callbench/signaling"
)

// takeOver takes over what a restored room has on the media server, and continues.
// Whose media were connected has them all the time; other legs are made anew. Where
// the pipeline is gone, and in an mcu, whose mixer cannot be taken over, all are.
func (r *room) takeOver(v *revival, then func()) {
	var p Pipeline
	r.do("take over pipeline", nil, func(ctx context.Context) (err error) {
		p, err = r.srv.cfg.Media.Pipeline(ctx, v.PipelineID)
		return err
	}, func(err error) {
		r.pipeline = p
		if err == nil && r.kind != RoomMCU {
			r.takeOverLegs(v, then)
			return
		}
		r.renew(p, then)
	})
}

// renew gives a restored room a new pipeline, and its members new legs there.
func (r *room) renew(old Pipeline, then func()) {
	for _, m := range r.within() {
		m.leg = &leg{member: m}
	}
	r.remake(old, r.forgetMedia(), then)
}

// within are the members that are in the room.
func (r *room) within() (in []*member) {
	for _, m := range r.members {
		if !m.left && !m.joined.IsZero() {
			in = append(in, m)
		}
	}
	return in
}

// takeOverLegs takes over the endpoints of the members.
func (r *room) takeOverLegs(v *revival, then func()) {
	var legs []*leg
	var errs []error
	for _, m := range r.within() {
		m.leg = v.leg(m)
		legs = append(legs, m.leg)
	}
	found := make([]Endpoint, len(legs))
	r.do("take over endpoints", nil, func(ctx context.Context) error {
		for i, l := range legs {
			var err error
			found[i], err = r.pipeline.Endpoint(ctx, v.endpoint(l.member), func(e MediaEvent) { r.queue.Do(func() { r.mediaEvent(l, e) }) })
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}, func(error) {
		for i, l := range legs {
			if errs[i] == nil {
				l.endpoint = found[i]
				if !l.dead {
					r.srv.gate.endpoints.Add(1)
				}
			}
		}
		r.settleLegs(legs)
		then()
	})
}

// settleLegs keeps the legs that were taken over, and makes the others anew: how far
// one had come whose media were not connected is not known.
func (r *room) settleLegs(legs []*leg) {
	var again, asked []*member
	for _, l := range legs {
		m := l.member
		switch {
		case m.left || l.dead:
			if l.endpoint != nil {
				r.do("release endpoint", l.party(), l.endpoint.Release, func(error) {})
			}
		case l.endpoint != nil && (l.dtlsUp || !r.host.negotiates()):
			r.log.Info("leg.restored", "user", m.user, "session", m.session.id, "endpoint", l.endpoint.ID())
		default:
			again = append(again, m)
			if l.answer != "" && r.host.negotiates() {
				asked = append(asked, m)
			}
		}
	}
	r.rebuild(signaling.ReasonMediaRestarted, again...)
	for _, m := range asked {
		r.askOffer(m, signaling.ReasonMediaRestarted)
	}
}

// record is the leg that State has of a member.
func (v *revival) record(m *member) (l LegRecord) {
	for _, l := range v.Legs {
		if l.SessionID == m.session.id {
			return l
		}
	}
	return l
}

func (v *revival) endpoint(m *member) string { return v.record(m).EndpointID }

// leg is a member's leg as it was, without its endpoint.
func (v *revival) leg(m *member) *leg {
	was := v.record(m)
	l := &leg{member: m, since: time.Now(), ready: true}
	if was.SDPAnswer == "" {
		return l
	}
	o, err := readOffer(was.SDPOffer, v.srv.cfg.VideoCodec, v.srv.cfg.AllowLoopback)
	if err != nil { // what was kept of it says nothing any more
		return l
	}
	l.offer, l.answer = o, was.SDPAnswer
	if !was.ConnectedAt.IsZero() {
		l.iceUp, l.dtlsUp, l.connectedAt = true, true, was.ConnectedAt
		l.flows = map[string]bool{Audio: v.Media.Started && o.sends(Audio), Video: v.Media.Started && o.sends(Video)}
	}
	return l
}
