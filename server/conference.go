package server

import (
	"errors"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// conference is a room that members come into and leave as they like: of type mcu
// or broadcast. The first one makes it, with its pipeline; when the last one has
// left, nothing stays of it. Everything in it belongs to the room's queue.
type conference struct {
	*room
	before  *room    // one of the same id that ends, nil if there is none
	begun   bool     // the pipeline was asked for
	made    bool     // it is made, or could not be
	failed  error    // why not
	waiting []func() // who waits for that
	after   []func() // what waits for the end
	hurry   bool     // the server shuts down: nobody comes in
	reason  signaling.Reason
	over    bool
}

// newConference makes a room that nobody knows yet.
func newConference(s *Server, id, creator string, kind RoomType) *conference {
	c := &conference{room: newRoom(s, id, creator, kind), reason: signaling.ReasonLeft}
	c.host = c
	c.log = s.log.With("room", id)
	return c
}

// begin makes the conference's pipeline when the one that had its name before is
// over.
func (c *conference) begin() {
	c.begun = true
	c.whenFree(c.open)
}

// whenFree continues when the conference that had the name before is over.
func (c *conference) whenFree(then func()) {
	before := c.before
	c.before = nil
	if before == nil || !before.queue.Do(func() { before.host.(*conference).whenOver(func() { c.queue.Do(then) }) }) {
		then()
	}
}

// whenOver continues when nothing is left of the conference.
func (c *conference) whenOver(then func()) {
	if c.over {
		then()
		return
	}
	c.after = append(c.after, then)
}

func (c *conference) open() {
	c.makePipeline(nil, func(err error) {
		c.made, c.failed = true, err
		waiting := c.waiting
		c.waiting = nil
		for _, f := range waiting {
			f()
		}
	})
}

// whenMade continues when there is a pipeline, or could be none.
func (c *conference) whenMade(then func(error)) {
	if !c.begun {
		c.begin()
	}
	if c.made {
		then(c.failed)
		return
	}
	c.waiting = append(c.waiting, func() { then(c.failed) })
}

// whenThere continues when there is a pipeline that is not lost, or could be none.
func (c *conference) whenThere(then func(error)) {
	c.whenMade(func(err error) {
		c.whenRenewed(func() {
			if err == nil && c.pipeline == nil {
				err = ErrMediaGone
			}
			then(err)
		})
	})
}

// enter lets a session in that has a place reserved.
func (c *conference) enter(r request, role Role, again bool) {
	if m := c.namesake(r.user); m != nil && m.left { // it left a moment ago
		m.after = append(m.after, func() { c.enter(r, role, again) })
		return
	}
	if c.memberOf(r.session) != nil {
		c.join(r)
		c.vacate(func() {}) // it has its place already
		return
	}
	var before []*room
	role, err := c.mayEnter(role)
	if err == nil {
		var in *room
		if before, in, err = c.srv.users.claim(r.session, c.room); in != nil && !again {
			c.retry(r, role, in)
			return
		}
	}
	if err != nil {
		r.fail(err)
		c.vacate(func() {})
		return
	}
	m := c.add(r.session, role)
	c.waitFor(before, func() { c.admit(r, m) })
}

// retry lets a session in when the room that it may have left a moment ago has
// done what it was asked for before.
func (c *conference) retry(r request, role Role, in *room) {
	again := func() { c.queue.Do(func() { c.enter(r, role, true) }) }
	if !in.queue.Do(again) {
		again()
	}
}

// mayEnter is the role that somebody comes in with, or why it may not.
func (c *conference) mayEnter(role Role) (Role, error) {
	if err := c.srv.gate.admit(); err != nil {
		return role, err
	}
	switch limit := c.srv.cfg.Limits.members(c.kind); {
	case c.hurry:
		return role, signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	case len(c.present()) >= limit:
		return role, signaling.Errorf(signaling.CodeRoomFull, "%d members are in the room", limit)
	case c.kind == RoomMCU && role == "":
		return RolePublisher, nil
	case c.kind == RoomMCU || role == RoleSubscriber:
		return role, nil
	case role == "" && len(c.present()) > 0:
		return RoleSubscriber, nil
	case c.publisher() != nil:
		return role, signaling.Errorf(signaling.CodeBadState, "the room has a publisher")
	}
	return RolePublisher, nil
}

// admit makes a member's endpoint and then tells everybody that it is in.
func (c *conference) admit(r request, m *member) {
	m.asked = time.Now()
	failed := func(err error) {
		r.fail(mediaError(err))
		c.remove(m, signaling.ReasonMediaFailed, func() {})
	}
	c.whenThere(func(err error) {
		switch {
		case m.left:
			r.fail(c.wrongState(nil))
		case err != nil:
			failed(err)
		default:
			c.newLeg(m, nil, func(err error) {
				switch {
				case m.left:
					r.fail(c.wrongState(nil))
				case err != nil:
					failed(err)
				default:
					c.admitted(r, m)
				}
			})
		}
	})
}

func (c *conference) admitted(r request, m *member) {
	m.joined, c.lastHeard = time.Now(), time.Time{}
	c.recording.joined(m)
	c.enroll(m, func(refusal error) {
		switch {
		case refusal != nil:
			c.turnAway(r, m, refusal)
			return
		case m.left:
			r.fail(c.wrongState(nil))
			return
		}
		m.invited = true // from now on it is told of the others, and they of it: not before, or somebody would be told twice
		c.log.Info("room.joined", "user", m.user, "session", m.session.id, "role", string(m.role))
		c.join(r)
		c.tell(m, signaling.ActionJoined, m.about())
		m.catchUp()
	})
}

// maxEarly is how much of a member is kept that is being let in: an offer and its
// candidates.
const maxEarly = 1 + maxCandidates

// hold implements host. A client of level 0 is not told that it is in, and offers
// right behind its join.
func (c *conference) hold(r request, f func()) bool {
	m := c.memberOf(r.session)
	if m == nil || m.invited || len(m.early) == maxEarly {
		return false
	}
	m.early = append(m.early, f)
	return true
}

// catchUp does what the member has asked for while it was let in, or was not.
func (m *member) catchUp() {
	early := m.early
	m.early = nil
	for _, f := range early {
		f()
	}
}

// turnAway takes out who may not come in because of what another instance has done,
// before anybody has heard of it.
func (c *conference) turnAway(r request, m *member, refusal error) {
	code := signaling.CodeBusy
	switch {
	case errors.Is(refusal, ErrRoomFull):
		code = signaling.CodeRoomFull
	case errors.Is(refusal, ErrPublisherThere):
		code = signaling.CodeBadState
	}
	r.fail(signaling.Errorf(code, "another server was faster"))
	m.joined = time.Time{}
	c.remove(m, signaling.ReasonLeft, func() {})
}

// join implements host: a member that is in learns who else is.
func (c *conference) join(r request) {
	m := c.asking(r)
	if m == nil {
		r.fail(c.wrongState(nil))
		return
	}
	data := c.ref()
	data.RoomType, data.Role = string(c.kind), m.role
	data.Members, data.Count = roster(c.present())
	if c.recording != nil {
		data.Recording, data.RecordingID = string(c.recording.state), c.recording.id
	}
	r.ack(data)
}

// rosterBytes is how much of a frame the list of a room's members may take.
const rosterBytes = signaling.MaxFrame / 2

// roster lists the members that know of the room, as many as fit into a frame. If those
// are not all, count is how many there are.
func roster(present []*member) (list []signaling.Member, count int) {
	bytes, all := 0, 0
	for _, m := range present {
		if !m.invited {
			continue
		}
		all++
		if bytes += len(m.user) + len(`{"userId":"","role":"subscriber"},`); bytes <= rosterBytes {
			list = append(list, signaling.Member{UserID: m.user, Role: m.role})
		}
	}
	if all > len(list) {
		count = all
	}
	return list, count
}

// about names a member in a frame to others.
func (m *member) about() signaling.RTC {
	data := m.room.ref()
	data.UserID, data.Role = m.user, m.role
	return data
}

// tell sends everybody but one member a frame.
func (c *conference) tell(but *member, a signaling.Action, data signaling.RTC) {
	for _, m := range c.present() {
		if m != but && m.invited {
			c.push(m, a, data)
		}
	}
}

// present are the members that have not left.
func (c *conference) present() (in []*member) {
	for _, m := range c.members {
		if !m.left {
			in = append(in, m)
		}
	}
	return in
}

// publisher is the one that the others of a broadcast hear, nil if nobody is.
func (c *conference) publisher() *member {
	for _, m := range c.present() {
		if m.role == RolePublisher {
			return m
		}
	}
	return nil
}

// namesake is the member that is this user, nil if there is none. One that has left
// is there until everything of it is.
func (c *conference) namesake(user string) *member {
	for _, m := range c.members {
		if m.user == user {
			return m
		}
	}
	return nil
}

// asking implements host.
func (c *conference) asking(r request) *member {
	if m := c.memberOf(r.session); m != nil && m.invited {
		return m
	}
	return nil
}

// leave implements host. Who is just being let in is not, then.
func (c *conference) leave(r request) {
	m := c.memberOf(r.session)
	if m == nil {
		r.fail(c.wrongState(nil))
		return
	}
	c.remove(m, signaling.ReasonLeft, func() { r.ack(nil) })
}

// peerOf implements host.
func (c *conference) peerOf(*leg) *leg { return nil }

// endsWith implements host: who comes in may keep a conference that empties.
func (c *conference) endsWith(*member) bool { return false }

// gone implements host.
func (c *conference) gone(u *session) {
	if m := c.memberOf(u); m != nil {
		c.remove(m, signaling.ReasonDropped, func() {})
	}
}

// expel takes a member out that did not ask for it, and tells it why.
func (c *conference) expel(m *member, reason signaling.Reason, then func()) {
	if m.invited {
		data := c.ref()
		data.Reason = reason
		c.push(m, signaling.ActionEnded, data)
	}
	c.remove(m, reason, then)
}

// remove takes a member out, tells the others, and continues when nothing is left
// of the member, nor of the room if it was the last one.
func (c *conference) remove(m *member, reason signaling.Reason, then func()) {
	if m.left {
		then()
		return
	}
	left := c.now()
	if m.invited {
		data := m.about()
		data.Role, data.Reason = "", reason
		c.log.Info("room.left", "user", m.user, "session", m.session.id, "reason", string(reason))
		c.tell(m, signaling.ActionLeft, data)
	}
	if reason != signaling.ReasonKicked {
		c.reason = reason
	}
	c.depart(m, func() time.Time { return left }, func() {
		c.members = slices.DeleteFunc(c.members, func(o *member) bool { return o == m })
		c.vacate(then)
		for _, f := range m.after {
			f()
		}
	})
	m.catchUp()
}

// vacate gives a place back, and ends the room if that was the last one.
func (c *conference) vacate(then func()) {
	if !c.srv.users.vacate(c.room) {
		then()
		return
	}
	if !c.begun { // nobody was let in; who comes next must wait for the one before, too
		c.begun = true
		c.whenFree(func() { c.end(then) })
		return
	}
	c.whenMade(func(error) { c.end(then) })
}

// end releases the pipeline, writes the end down and continues.
func (c *conference) end(then func()) {
	row := c.history()
	row.EndedAt, row.Reason = c.now(), c.reason
	c.endRecording(func() {
		c.releasePipeline(func() {
			c.close(row, func() {
				c.over = true
				c.log.Info("room.ended", "reason", string(c.reason))
				c.srv.users.over(c.room)
				then()
				for _, f := range c.after {
					f()
				}
			})
		})
	})
}

// ended implements host.
func (c *conference) ended() bool { return c.over }

// shutdown implements host.
func (c *conference) shutdown() {
	c.queue.Do(func() {
		c.hurry = true
		for _, m := range c.present() {
			c.expel(m, signaling.ReasonDropped, func() {})
		}
	})
}

// hasten implements host: who left a conference has nothing to hear of it.
func (c *conference) hasten(then func()) { then() }

// connection implements host.
func (c *conference) connection(u *session, up bool) {
	m := c.memberOf(u)
	if m == nil || m.away != up {
		return
	}
	m.away = !up
	if !m.invited {
		return
	}
	action := signaling.ActionReconnected
	if m.away {
		action = signaling.ActionReconnecting
	}
	data := m.about()
	data.Role = ""
	c.tell(m, action, data)
}

// refFor implements host.
func (c *conference) refFor(*session) *signaling.CallRef {
	return &signaling.CallRef{RoomID: c.id, RoomType: string(c.kind), State: stateActive.String()}
}

// wrongState implements host.
func (c *conference) wrongState(m *member) error {
	if m == nil {
		return signaling.Errorf(signaling.CodeNoSuchRoom, "you are not in this room")
	}
	return signaling.Errorf(signaling.CodeBadState, "the room does not allow this now")
}
