package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// room is where members meet: its pipeline, its members and their legs.
// Everything in it belongs to its queue: whoever wants something of the room
// hands the queue a function. Nothing on the queue ever waits; operations of the
// media server run beside it and continue on it, and writes run on a queue of
// their own, in order. What a room is for, its host says: a call or a
// conference.
type room struct {
	srv       *Server
	host      host
	id        string
	callID    string // of the call that it was made for; empty for a conference
	kind      RoomType
	creator   string
	created   time.Time
	log       *slog.Logger
	queue     serial.Queue
	writes    serial.Queue // State and History
	pipeline  Pipeline     // nil until it is made
	mixer     Mixer        // nil where nothing is mixed
	renewing  bool         // the pipeline is lost, and another one is made
	held      []func()     // what waits for that
	opened    bool         // State and History know the room
	members   []*member
	flowing   bool       // media of a member flows into the room, as State knows
	recording *recording // nil where nothing is recorded
	closed    bool       // the pipeline was released: the room ends
	trail     trail      // what happened, for people
	pending   int        // operations and writes that have not continued yet
	lastHeard time.Time  // when a room was last heard of that nobody can come back to; zero for all others
}

// host is what makes a room a call or a conference. Its methods are called on the
// room's queue, but for those that say otherwise.
type host interface {
	// peerOf is the leg whose endpoint that of a leg is to be joined with when it is
	// made, nil if there is none.
	peerOf(l *leg) *leg
	// wire connects a leg that was made with those that it hears and is heard
	// by, and continues.
	wire(l *leg, then func(error))
	// asking is the member that a request comes from, nil if it is in the room no
	// more or does not know of it yet.
	asking(r request) *member
	// hold keeps what a session asks for whose member is just being let in, and
	// reports whether it did.
	hold(r request, f func()) bool
	// mayNegotiate reports whether a member may send its offer and candidates.
	mayNegotiate(m *member) bool
	// negotiates reports whether offers are given to the media server now; those
	// that come before are kept.
	negotiates() bool
	// wrongState is why a request of this member, nil if it is none, cannot be
	// done now.
	wrongState(m *member) error
	// legConnected is told that a leg's media connected.
	legConnected(l *leg)
	// recordable are the members whose media a recording has in it, and whether
	// they are mixed.
	recordable() (sources []*member, mixed bool)
	// mayRecord reports whether a member may start and stop a recording.
	mayRecord(m *member) bool
	// mediaFailed is told that a member has no media and will get none.
	mediaFailed(m *member)
	// join and leave do a member's request.
	join(r request)
	leave(r request)
	// connection is told that a member's connection dropped or came back.
	connection(u *session, up bool)
	// endsWith reports whether the room is over when this member, who leaves, is out.
	endsWith(m *member) bool
	// gone is told that a member's session has ended.
	gone(u *session)
	// hasten tells the members what they must know before they hear of another
	// room, and continues.
	hasten(then func())
	// shutdown ends the room without waiting for anybody. Anybody may call it.
	shutdown()
	// refFor describes the room to a session that came back. Anybody may call it.
	refFor(u *session) *signaling.CallRef
	// ended reports whether nothing is left of the room.
	ended() bool
	// snapshot is what another server needs to go on with the room.
	snapshot() RoomSnapshot
}

// member is a party of a room. The devices of a call's callee are members from
// the start, and the one that answers is in the room once it has.
type member struct {
	room    *room
	user    string
	session *session
	role    Role
	asked   time.Time         // when it wished to come into a conference; zero once its media is connected
	joined  time.Time         // when it came into the room; zero before
	invited bool              // it knows of the room, so it must be told the end
	told    bool              // it was
	left    bool              // it left, or was taken out
	gone    bool              // its endpoint is released and everything written down
	away    bool              // its connection is down
	soon    []signaling.Frame // pushes that leave when the queue is done with what waits now
	leg     *leg              // nil before it is made
	port    Element           // of the room's mixer; nil if it has none
	early   []func()          // what it has asked for while it was let in
	after   []func()          // what waits until nothing is left of it
	retries int               // legs made anew since media last connected
	offers  []time.Time       // the latest ones
}

func newRoom(s *Server, id, creator string, kind RoomType) *room {
	return &room{srv: s, id: id, creator: creator, kind: kind, created: time.Now(),
		queue: serial.Queue{Pool: &s.pool}, writes: serial.Queue{Pool: &s.pool}}
}

// add makes a session a party of the room.
func (r *room) add(u *session, role Role) *member {
	m := &member{room: r, user: u.user, session: u, role: role}
	r.members = append(r.members, m)
	return m
}

// memberOf is the member whose session this is, or nil. One that has left is
// none.
func (r *room) memberOf(u *session) *member {
	for _, m := range r.members {
		if m.session == u && !m.left {
			return m
		}
	}
	return nil
}

// empty reports whether every member is gone.
func (r *room) empty() bool {
	for _, m := range r.members {
		if !m.gone {
			return false
		}
	}
	return true
}

// named reports whether a frame with these ids may be about the room.
func (r *room) named(in *signaling.RTC) bool {
	return (in.CallID == "" || in.CallID == r.callID) && (in.RoomID == "" || in.RoomID == r.id)
}

// ref is how the room is named on the wire.
func (r *room) ref() signaling.RTC { return signaling.RTC{RoomID: r.id, CallID: r.callID} }

// history is the room's row, as it is now.
func (r *room) history() RoomHistory {
	return RoomHistory{RoomID: r.id, Type: r.kind, Creator: r.creator, CreatedAt: r.created, CallID: r.callID, Node: r.srv.cfg.Node}
}

func (m *member) record() MemberRecord {
	return MemberRecord{RoomID: m.room.id, SessionID: m.session.id, UserID: m.user, Role: m.role}
}

// now is when what is found out now happened. A room that nobody can come back to
// was over when it was last heard of, not when a server came that noticed.
func (r *room) now() time.Time {
	if r.lastHeard.IsZero() {
		return time.Now()
	}
	return r.lastHeard
}

// history is the member's row, as it is when it leaves at that time.
func (m *member) history(left time.Time) MemberHistory {
	return MemberHistory{RoomID: m.room.id, UserID: m.user, Role: m.role, JoinedAt: m.joined, LeftAt: left}
}

// push sends a member an rtc frame of this room.
func (r *room) push(m *member, a signaling.Action, data signaling.RTC) {
	r.collect(m, a, data)
	r.flush(m)
}

// pushSoon is push when everything was done that waits on the queue now: what comes
// of that for the same member leaves with it.
func (r *room) pushSoon(m *member, a signaling.Action, data signaling.RTC) {
	r.collect(m, a, data)
	if len(m.soon) == 1 && !r.queue.Do(func() { r.flush(m) }) {
		r.flush(m)
	}
}

// collect adds a frame to what a member is to get soon.
func (r *room) collect(m *member, a signaling.Action, data signaling.RTC) {
	r.trail.add(partyServer, m.user, pushName(a, data))
	f, err := signaling.New(signaling.TypeRTC, a, data)
	if err != nil {
		m.session.logAt(slog.LevelError, "session.failed", slog.String("error", err.Error()))
		return
	}
	m.soon = append(m.soon, f)
}

// flush sends a member what it is to get soon.
func (r *room) flush(m *member) {
	if len(m.soon) == 0 {
		return
	}
	frames := m.soon
	m.soon = nil
	m.session.pushAll(frames)
}

// pushName is what a push is called in the room's trail.
func pushName(a signaling.Action, data signaling.RTC) string {
	name := "rtc/" + string(a)
	if data.SDP != "" {
		name += " with SDP"
	}
	if data.Reason != "" {
		name += " " + string(data.Reason)
	}
	if data.UserID != "" {
		name += " of " + data.UserID
	}
	return name
}

// hand gives the room something to do.
func (r *room) hand(f func()) error {
	if !r.queue.Do(f) {
		return noSuchCall()
	}
	return nil
}

// depart takes a member out: step 28 and 29, or 32. Its endpoint is released
// and its leaving at that time written down; then the continuation runs.
func (r *room) depart(m *member, at func() time.Time, then func()) {
	m.left = true
	r.srv.users.depart(m, r)
	departed := func() {
		m.gone = true
		then()
	}
	written := func() {
		r.flowed()
		if m.joined.IsZero() {
			departed()
			return
		}
		record, row := m.record(), m.history(at())
		r.erase("leave room", func(ctx context.Context) error { return r.srv.cfg.State.LeaveRoom(ctx, record) }, departed)
		r.save("record leave", func(ctx context.Context) error { return r.srv.cfg.History.MemberLeft(ctx, row) }, nil)
	}
	r.whenFiled(func() { r.releaseLeg(m, written) })
}

// waitFor continues when all these rooms, which are ending, have told their members
// so: nobody hears of a new one before it has heard of the old one's end.
func (r *room) waitFor(before []*room, then func()) {
	if len(before) == 0 {
		then()
		return
	}
	r.pending++
	next := func() {
		r.queue.Do(func() {
			r.waitFor(before[1:], then)
			r.doneOne()
		})
	}
	if old := before[0]; !old.queue.Do(func() { old.host.hasten(next) }) { // it is over
		next()
	}
}

// makePipeline makes the room's pipeline, with a mixer if its members are mixed.
func (r *room) makePipeline(whom []any, then func(error)) {
	var p Pipeline
	var mixer Mixer
	r.do(createPipeline, whom, func(ctx context.Context) (err error) {
		if p == nil { // it may be there from a first try whose mixer could not be made
			if p, err = r.srv.cfg.Media.NewPipeline(ctx); err != nil {
				p = nil
			}
		}
		if err != nil || r.kind != RoomMCU {
			return err
		}
		mixer, err = p.NewMixer(ctx)
		return err
	}, func(err error) {
		r.pipeline, r.mixer = p, mixer
		switch {
		case r.closed: // the room has ended meanwhile, with the pipeline that was before
			r.releasePipeline(func() {})
		case err == nil:
			r.log.Info("room.created", "pipeline", p.ID())
			r.saveSnapshot()
		}
		then(err)
	})
}

// makeCall makes the pipeline of a call's room and the leg of the member whose call
// it is, and continues.
func (r *room) makeCall(m *member, whom []any, then func(error)) {
	l := &leg{member: m}
	m.leg = l
	var p Pipeline
	var made Endpoint
	r.do(createCall, whom, func(ctx context.Context) (err error) {
		p, made, err = r.srv.cfg.Media.NewCall(ctx, func(e MediaEvent) { r.queue.Do(func() { r.mediaEvent(l, e) }) })
		return err
	}, func(err error) {
		if err == nil {
			r.pipeline = p
			r.log.Info("room.created", "pipeline", p.ID())
		}
		r.legMade(l, made, err, then)
	})
}

// releasePipeline is step 33.
func (r *room) releasePipeline(then func()) {
	last := r.pipeline
	r.pipeline, r.closed = nil, true
	if last == nil { // the room may be over by then
		r.pending++
		r.queue.Do(func() {
			then()
			r.doneOne()
		})
		return
	}
	r.do("release pipeline", nil, last.Release, func(error) { then() })
}

// close is step 34: the room's row is written and the continuation runs. State
// forgets the room after that: until then another server could finish it.
func (r *room) close(row RoomHistory, then func()) {
	if !r.opened {
		then()
		return
	}
	last := r.host.snapshot()
	r.opened = false // nothing more is written of it
	r.save("record end", func(ctx context.Context) error { return r.srv.cfg.History.RoomEnded(ctx, row) }, nil)
	r.erase("close room", func(ctx context.Context) error { return r.srv.cfg.State.CloseRoom(ctx, last) }, then)
}

// party are the attributes that name for whom, and on whose request if that is
// known, the media server is asked for something.
func party(m *member, r request) []any {
	attrs := []any{"user", m.user, "session", m.session.id}
	if r.frame.ID != "" {
		attrs = append(attrs, "request", r.frame.ID)
	}
	return attrs
}

// do runs an operation of the media server beside the queue and continues on
// it. The operation gets MediaTimeout. The attributes say in the log for whom.
func (r *room) do(what string, whom []any, op func(context.Context) error, then func(error)) {
	r.pending++
	began := r.opened
	r.trail.add(partyServer, partyMedia, what)
	r.srv.pool.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.srv.cfg.MediaTimeout)
		defer cancel()
		err := r.ask(ctx, what, began, op)
		r.queue.Here(func() {
			if err != nil {
				r.trail.add(partyMedia, partyServer, what+" failed")
				r.log.Warn("media.failed", append(whom, "operation", what, "error", err.Error())...)
			}
			then(err)
			r.doneOne()
		})
	})
}

// ask asks the media server for something. What makes or negotiates endpoints waits
// for its turn; began says that the room was there before.
func (r *room) ask(ctx context.Context, what string, began bool, op func(context.Context) error) error {
	timed := func(ctx context.Context) error { return r.srv.metrics.timed(ctx, what, op) }
	switch what {
	case createPipeline, createCall:
		if !began {
			return r.srv.gate.run(ctx, fresh, timed)
		}
		return r.srv.gate.run(ctx, running, timed)
	case createEndpoint, processOffer:
		return r.srv.gate.run(ctx, running, timed)
	}
	return timed(ctx)
}

// save writes something to History, after everything that was saved or written
// before, and continues on the queue. That it failed is noted and changes nothing:
// the room does not depend on it.
func (r *room) save(what string, write func(context.Context) error, then func()) {
	r.record(what, write, nil, then)
}

// write is save for State, which is mended when it failed.
func (r *room) write(what string, write func(context.Context) error, then func()) {
	r.record(what, write, r.srv.ails, then)
}

// erase is write for removals: what failed is done when State is well again.
func (r *room) erase(what string, write func(context.Context) error, then func()) {
	r.record(what, write, func() { r.srv.owes(debt{what, write}) }, then)
}

// record has something written down, and continues. failed is told if it was not.
func (r *room) record(what string, write func(context.Context) error, failed, then func()) {
	r.claim(what, write, failed, func(error) {
		if then != nil {
			then()
		}
	})
}

// claim is record for what State may refuse because another instance was faster:
// then the continuation has the refusal. A State that fails refuses nothing.
func (r *room) claim(what string, write func(context.Context) error, failed func(), then func(refusal error)) {
	r.pending++
	r.writes.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.srv.cfg.StoreTimeout)
		defer cancel()
		err := write(ctx)
		r.queue.Here(func() {
			if err != nil && !Refused(err) {
				r.srv.metrics.lost.WithLabelValues(what).Inc()
				r.log.Error("state.failed", "operation", what, "error", err.Error())
				err = nil
				if failed != nil {
					failed()
				}
			}
			then(err)
			r.doneOne()
		})
	})
}

// enroll writes down that a member has come in, the first one with the room, unless
// another instance was faster: then the continuation has the refusal, and History
// knows of nothing. A room that State has lost is written anew: it is here.
func (r *room) enroll(m *member, then func(refusal error)) {
	var refusal error // on the queue of writes
	open, s, record, leg := !r.opened, r.host.snapshot(), m.record(), m.leg.record()
	what := "join room"
	if open {
		what = "open room"
	}
	r.claim(what, func(ctx context.Context) (err error) {
		if !open {
			err = r.srv.cfg.State.JoinRoom(ctx, s, record, leg)
		}
		if open || errors.Is(err, ErrRoomGone) {
			err = r.srv.cfg.State.OpenRoom(ctx, s, record, leg)
		}
		if Refused(err) {
			refusal = err
		}
		return err
	}, r.srv.ails, func(refusal error) {
		r.opened = r.opened || refusal == nil
		then(refusal)
	})
	started, joined := r.history(), m.history(time.Time{})
	if open {
		r.save("record room", func(ctx context.Context) error {
			if refusal != nil {
				return nil
			}
			return r.srv.cfg.History.RoomStarted(ctx, started)
		}, nil)
	}
	r.save("record member", func(ctx context.Context) error {
		if refusal != nil {
			return nil
		}
		return r.srv.cfg.History.MemberJoined(ctx, joined)
	}, nil)
}

// doneOne counts a continuation. When the room has ended and nothing is
// pending its queue stops, and the room is no more.
func (r *room) doneOne() {
	r.pending--
	if r.host.ended() && r.pending == 0 {
		r.queue.Stop()
		r.srv.work.Done()
	}
}

// mediaError hides the media server's words from the client.
func mediaError(err error) error {
	if errors.Is(err, ErrMediaOverloaded) {
		return overloaded(overloadPause)
	}
	if wire := signaling.AsError(err); wire.Code != signaling.CodeInternal {
		return wire
	}
	return signaling.Errorf(signaling.CodeMediaFailed, "the media server failed")
}
