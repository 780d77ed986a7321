package server

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/signaling"
)

// maxCandidates is how many candidates of a member a leg takes. Browsers make 10
// to 40. Whoever has more looks for somebody else.
const maxCandidates = 64

// A member may send maxOffers offers within offersPer. One that lost its media
// needs a few; DTLS that never finishes makes it one in 5 s.
const (
	maxOffers = 10
	offersPer = 10 * time.Second
)

// errLegGone says that a leg was released while something was done for it.
var errLegGone = errors.New("the leg was released")

// leg is a member's endpoint with its one negotiation. Kurento can neither
// negotiate again (40208) nor restart ICE, so a member that needs either gets a
// new leg. A leg belongs to its room's queue.
type leg struct {
	member      *member
	endpoint    Endpoint // nil until it is made
	joined      *leg     // whose endpoint its own was joined with when it was made; nil if none
	ready       bool     // it is connected to the other member's, if that has one
	dead        bool     // it was released or replaced
	offer       *offer   // nil until the member sent one
	request     request  // the one that brought the offer
	answer      string   // empty until the media server gave it
	taken       int      // candidates of the member's
	early       []received
	found       []MediaEvent // candidates of the media server's that came before its answer
	queued      []Candidate  // to be passed on
	passing     bool         // some are being passed on
	iceUp       bool
	dtlsUp      bool
	watch       *time.Timer     // runs while ICE is up and DTLS is not
	since       time.Time       // when the offer came
	connectedAt time.Time       // when media connected; zero before
	flows       map[string]bool // which kinds of media flow from the member into the room
	gone        atomic.Bool     // dead, for operations that run beside the queue
}

func (l *leg) record() LegRecord {
	r := LegRecord{SessionID: l.member.session.id, UserID: l.member.user, RoomID: l.member.room.id, SDPAnswer: l.answer}
	r.Fresh, r.ConnectedAt = l.answer == "", l.connectedAt
	if l.endpoint != nil {
		r.EndpointID = l.endpoint.ID()
	}
	if l.offer != nil && l.answer != "" {
		r.SDPOffer = l.offer.sdp
	}
	return r
}

// party names the leg's member, and the offer's request if there was one.
func (l *leg) party() []any { return party(l.member, l.request) }

// kill makes the leg deaf: whatever still comes for it is ignored. An offer that
// was not answered will not be.
func (l *leg) kill() {
	if !l.dead && l.endpoint != nil {
		l.member.room.srv.gate.endpoints.Add(-1)
	}
	l.dead = true
	l.gone.Store(true)
	clear(l.flows)
	if l.watch != nil {
		l.watch.Stop()
	}
	l.refuse(signaling.Errorf(signaling.CodeBadState, "a newer offer came, or the call ended"))
}

// refuse answers the offer's request with an error, if it waits for an answer.
func (l *leg) refuse(err error) {
	if l.offer != nil && l.answer == "" {
		l.offer = nil
		l.request.fail(err)
	}
}

// newLeg gives a member a leg and makes it.
func (r *room) newLeg(m *member, old *leg, then func(error)) {
	m.leg = &leg{member: m}
	r.makeLeg(m.leg, old, then)
}

// makeLeg makes a leg's endpoint, connects it with those of others and continues.
// The leg that it replaces, if any, is released first.
func (r *room) makeLeg(l, old *leg, then func(error)) {
	m, in := l.member, r.pipeline // when it is lost meanwhile the leg is in vain, and its endpoint must not come into the next one
	var made Endpoint
	on := func(e MediaEvent) { r.queue.Do(func() { r.mediaEvent(l, e) }) }
	peer := r.host.peerOf(l)
	r.do(createEndpoint, l.party(), func(ctx context.Context) (err error) {
		if old != nil && old.endpoint != nil {
			if err := old.endpoint.Release(ctx); err != nil {
				r.log.Warn("media.failed", "operation", "release endpoint", "user", m.user, "session", m.session.id, "error", err.Error())
			}
		}
		if l.gone.Load() {
			return errLegGone
		}
		if peer != nil {
			r.trail.add(partyServer, partyMedia, "connect endpoints")
			if made, err = in.NewEndpoint(ctx, peer.endpoint, on); err == nil || !peer.gone.Load() {
				return err
			}
			peer = nil // it is being made anew, and will join with this one
		}
		made, err = in.NewEndpoint(ctx, nil, on)
		return err
	}, func(err error) {
		l.joined = peer
		r.legMade(l, made, err, then)
	})
}

func (r *room) legMade(l *leg, made Endpoint, err error, then func(error)) {
	switch {
	case err != nil && l.dead:
		then(errLegGone)
		return
	case err != nil:
		then(err)
		return
	case l.dead:
		r.do("release endpoint", l.party(), made.Release, func(error) { then(errLegGone) })
		return
	}
	l.endpoint = made
	r.srv.gate.endpoints.Add(1)
	r.log.Info("leg.created", "user", l.member.user, "session", l.member.session.id, "endpoint", made.ID())
	r.host.wire(l, then)
}

func (r *room) legReady(l *leg, then func(error)) {
	l.ready = true
	then(nil)
	if l.offer != nil && !l.dead && r.host.negotiates() { // otherwise activate will
		r.negotiate(l)
	}
}

// releaseLeg ends a member's leg and continues.
func (r *room) releaseLeg(m *member, then func()) {
	l := m.leg
	if l == nil {
		then()
		return
	}
	l.kill()
	endpoint, port := l.endpoint, m.port
	if endpoint == nil && port == nil { // legMade will release what is being made
		then()
		return
	}
	in := r.lastOut(m)
	m.port = nil
	r.do("release endpoint", l.party(), func(ctx context.Context) (err error) {
		switch {
		case in != nil:
			return in.ReleaseWith(ctx, endpoint)
		case endpoint != nil:
			err = endpoint.Release(ctx)
		}
		if port != nil {
			err = errors.Join(err, port.Release(ctx))
		}
		return err
	}, func(err error) {
		if err == nil && endpoint != nil {
			r.log.Info("leg.released", "user", m.user, "session", m.session.id, "endpoint", endpoint.ID())
		}
		then()
	})
}

// lastOut takes the pipeline out of the room if nothing but the endpoint of this
// member, which leaves as the last, needs it: both are released at once, and it is
// steps 32 and 33.
func (r *room) lastOut(m *member) Pipeline {
	in := r.pipeline
	if in == nil || m.leg.endpoint == nil || m.port != nil || !r.host.endsWith(m) {
		return nil
	}
	r.pipeline, r.closed = nil, true
	r.trail.add(partyServer, partyMedia, "release pipeline")
	return in
}

// rebuild replaces members' legs, one after the other, so that two runs put the same
// requests on the wire. Who offers meanwhile is answered when its leg is made. Where
// the media server refuses, the member has no media any more.
func (r *room) rebuild(reason signaling.Reason, members ...*member) {
	var legs, olds []*leg
	for _, m := range members {
		old := m.leg
		old.kill()
		m.leg = &leg{member: m}
		legs, olds = append(legs, m.leg), append(olds, old)
		r.log.Info("leg.rebuild", "user", m.user, "session", m.session.id, "reason", string(reason), "attempt", m.retries)
	}
	if r.renewing { // they are made then
		return
	}
	r.makeLegs(legs, olds)
}

// makeLegs makes legs. old are those that they replace, nil where the media server has
// lost them. One that was replaced itself by the time of its turn is not made.
func (r *room) makeLegs(legs, old []*leg) {
	if len(legs) == 0 {
		return
	}
	l := legs[0]
	r.makeLeg(l, old[0], func(err error) {
		switch {
		case err == nil:
			r.saveLeg(l)
		case !errors.Is(err, errLegGone):
			r.host.mediaFailed(l.member)
		}
		r.makeLegs(legs[1:], old[1:])
	})
}

func (r *room) saveLeg(l *leg) {
	record := l.record()
	r.write("save leg", func(ctx context.Context) error { return r.srv.cfg.State.SaveLeg(ctx, record) }, nil)
}

// mayOffer counts an offer, unless there were too many of late. Every one but
// the first costs the media server an endpoint.
func (m *member) mayOffer(now time.Time) bool {
	m.offers = slices.DeleteFunc(m.offers, func(t time.Time) bool { return now.Sub(t) >= offersPer })
	if len(m.offers) >= maxOffers {
		return false
	}
	m.offers = append(m.offers, now)
	return true
}

// offered is step 15 or 21. An offer on a leg that has one already makes the
// leg anew.
func (r *room) offered(req request, o *offer) {
	if r.host.hold(req, func() { r.offered(req, o) }) {
		return
	}
	m := r.host.asking(req)
	if !r.host.mayNegotiate(m) || !r.host.negotiates() && m.leg.offer != nil {
		req.fail(r.host.wrongState(m))
		return
	}
	if !m.mayOffer(time.Now()) {
		req.fail(signaling.Errorf(signaling.CodeBadState, "more than %d offers in %v", maxOffers, offersPer))
		return
	}
	if m.leg.offer != nil {
		r.rebuild("offer", m)
	}
	l := m.leg
	l.offer, l.request, l.since = o, req, time.Now()
	r.log.Info("call.offer", "user", m.user, "session", m.session.id, "request", req.frame.ID, "bytes", len(o.sdp))
	if l.ready && r.host.negotiates() {
		r.negotiate(l)
	}
}

// negotiate is steps 16 and 17, or 22 and 23.
func (r *room) negotiate(l *leg) {
	var answer string
	text := l.offer.sdp
	r.do(processOffer, l.party(), func(ctx context.Context) (err error) {
		answer, err = l.endpoint.Negotiate(ctx, text)
		return err
	}, func(err error) {
		switch {
		case l.dead:
		case !r.host.negotiates():
			l.refuse(r.host.wrongState(l.member))
		case errors.Is(err, ErrSDPRefused):
			l.refuse(signaling.Errorf(signaling.CodeInvalidSDP, "the media server refused the SDP"))
		case answer == "":
			l.refuse(mediaError(err))
			r.host.mediaFailed(l.member)
		default:
			r.answered(l, answer)
			if err != nil {
				r.host.mediaFailed(l.member)
			}
		}
	})
}

// answered gives the member its answer, then the candidates that the media server
// has found by now, which must not arrive before it, and passes on those of the
// member that came early.
func (r *room) answered(l *leg, answer string) {
	l.answer = answer
	l.request.ack(nil)
	l.request.frame.Data = nil
	data := r.ref()
	data.SDP = answer
	r.log.Info("call.answer", "user", l.member.user, "session", l.member.session.id, "bytes", len(answer))
	r.collect(l.member, signaling.ActionAnswer, data)
	for _, e := range l.found {
		r.local(l, e)
	}
	l.found = nil
	r.flush(l.member)
	r.saveLeg(l)
	early := l.early
	l.early = nil
	for _, e := range early {
		if err := l.queue(e); err != nil {
			r.log.Debug("leg.candidate", "user", l.member.user, "direction", "in", "error", err.Error())
		}
	}
	r.pass(l)
}

// candidates is step 19 or 24. Those of one frame are taken all or, if one is
// refused, not at all.
func (r *room) candidates(req request, wanted []received) {
	if r.host.hold(req, func() { r.candidates(req, wanted) }) {
		return
	}
	m := r.host.asking(req)
	if !r.host.mayNegotiate(m) {
		req.fail(r.host.wrongState(m))
		return
	}
	if err := m.leg.take(wanted...); err != nil {
		req.fail(err)
		return
	}
	r.pass(m.leg)
	req.ack(nil)
}

// take keeps candidates until the offer was answered, or queues them.
func (l *leg) take(wanted ...received) error {
	if l.taken+len(wanted) > maxCandidates {
		return signaling.Errorf(signaling.CodeInvalidCandidate, "more than %d candidates", maxCandidates)
	}
	if l.answer == "" {
		l.taken += len(wanted)
		l.early = append(l.early, wanted...)
		return nil
	}
	for _, e := range wanted {
		if _, _, err := e.place(l.offer); err != nil {
			return err
		}
	}
	l.taken += len(wanted)
	for _, e := range wanted {
		_ = l.queue(e) // can be placed, as was seen
	}
	return nil
}

// queue has a candidate passed on, unless it is of an earlier offer.
func (l *leg) queue(e received) error {
	candidate, stale, err := e.place(l.offer)
	if err == nil && !stale {
		l.queued = append(l.queued, candidate)
	}
	return err
}

// pass is step 20 or 25. What comes while the media server is busy goes with
// the next batch.
func (r *room) pass(l *leg) {
	if l.passing || len(l.queued) == 0 || l.dead {
		return
	}
	batch := l.queued
	l.queued, l.passing = nil, true
	r.do("add candidates", l.party(), func(ctx context.Context) error { return l.endpoint.AddCandidates(ctx, batch) }, func(error) {
		l.passing = false
		r.pass(l)
	})
}
