package server

import (
	"strings"

	"github.com/callbench/callbench/signaling"
)

// rtc decodes the data of an rtc frame. Who it is from is the session's to say:
// a frame that names its sender names this one.
func (r request) rtc(in *signaling.RTC) error {
	if err := r.frame.Into(in); err != nil {
		return err
	}
	if in.UserID != "" && in.UserID != r.user {
		return signaling.Errorf(signaling.CodeForbidden, "userId is not the user of this connection")
	}
	return nil
}

// handleCall is step 2: it decides at once whether both can be in a call, and
// leaves the rest to the call.
func handleCall(r request) error {
	var in signaling.RTC
	if err := r.rtc(&in); err != nil {
		return err
	}
	switch {
	case in.TargetUser == "":
		return signaling.Errorf(signaling.CodeBadData, "targetUser is missing")
	case in.TargetUser == r.user:
		return signaling.Errorf(signaling.CodeBadData, "targetUser is oneself: a user cannot call its own devices")
	case len(in.TargetUser) > maxUser:
		return signaling.Errorf(signaling.CodeBadData, "targetUser is longer than %d bytes", maxUser)
	}
	if err := r.srv.admitCall(r.user); err != nil {
		return err
	}
	if err := r.srv.gate.admit(); err != nil {
		return err
	}
	if err := r.reach(in.TargetUser); err != nil {
		return err
	}
	return newCall(r.session, in.TargetUser).engage(r, false)
}

// engage puts both into the call and starts it. A caller that is in another call
// may have asked to leave it a moment ago: that call is asked once, behind
// whatever the caller asked of it before.
func (c *call) engage(r request, again bool) error {
	not := c.srv.users.engage(c)
	switch {
	case not == nil:
		c.queue.Do(func() { c.start(r) })
		return nil
	case not.callee:
		c.srv.missed(c.caller.user, c.to, c.callID, signaling.AsError(not.err).Code)
	case not.in != nil && !again:
		retry := func() {
			if err := c.engage(r, true); err != nil {
				r.fail(err)
			}
		}
		if !not.in.queue.Do(retry) { // it has ended in between
			return c.engage(r, true)
		}
		return nil
	}
	return not.err
}

// inRoom decodes the data of a frame about a room of the session's and finds it.
// Frames of level 0 may leave out its ids: they mean the room that the session is
// in, or else the oldest that ends and that it has not confirmed.
func (r request) inRoom(in *signaling.RTC) (*room, error) {
	if err := r.rtc(in); err != nil {
		return nil, err
	}
	return r.roomNamed(in)
}

// roomNamed finds the room that a frame with these ids is about. That may be a
// conference which the session is not in: the room itself says so.
func (r request) roomNamed(in *signaling.RTC) (*room, error) {
	if at := r.session.room.Load(); at != nil && at.named(in) { // without the directory's lock
		return at, nil
	}
	for _, at := range r.srv.users.roomsOf(r.session) {
		if at.named(in) {
			return at, nil
		}
	}
	if at := r.srv.users.conference(in.RoomID); at != nil && in.CallID == "" {
		return at, nil
	}
	return nil, noSuchCall()
}

// inCall is inRoom for what only calls know.
func (r request) inCall(in *signaling.RTC) (*call, error) {
	at, err := r.inRoom(in)
	if err != nil {
		return nil, err
	}
	c, ok := at.host.(*call)
	if !ok {
		return nil, signaling.Errorf(signaling.CodeBadState, "this is a room and no call")
	}
	return c, nil
}

func handleRinging(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	return c.hand(func() { c.ringing(r) })
}

// handleAnswer is step 10. The media server answers offers, never a client.
func handleAnswer(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	if in.SDP != "" {
		return signaling.Errorf(signaling.CodeBadData, "a client accepts without an SDP and then sends an offer")
	}
	return c.hand(func() { c.accept(r) })
}

// handleJoin comes into a room. Into that of a call that rings it is the callee's
// yes.
func handleJoin(r request) error {
	var in signaling.RTC
	at, err := r.inRoom(&in)
	if err == nil {
		if _, is := at.host.(*call); is {
			return at.hand(func() { at.host.join(r) })
		}
	} else if signaling.AsError(err).Code != signaling.CodeNoSuchCall || in.CallID != "" || in.RoomID == "" && in.RoomType == "" {
		return err
	}
	return r.joinConference(in)
}

// joinConference comes into a conference, and makes it if there is none.
func (r request) joinConference(in signaling.RTC) error {
	kind := RoomType(in.RoomType)
	switch {
	case kind != "" && kind != RoomMCU && kind != RoomBroadcast:
		return signaling.Errorf(signaling.CodeBadData, "roomType is neither %s nor %s", RoomMCU, RoomBroadcast)
	case in.Role != "" && in.Role != RolePublisher && in.Role != RoleSubscriber:
		return signaling.Errorf(signaling.CodeBadData, "role is neither %s nor %s", RolePublisher, RoleSubscriber)
	case in.RoomID == "":
		in.RoomID = r.srv.cfg.NewID("room", r.user)
	case !isRoomID(in.RoomID):
		return signaling.Errorf(signaling.CodeBadData, "roomId has other characters than letters, digits, _ and -, or more than %d", maxRoomID)
	}
	c, err := r.srv.users.reserve(r.session, in.RoomID, kind)
	if err != nil {
		return err
	}
	c.queue.Do(func() { c.enter(r, in.Role, false) }) // the place keeps it alive
	return nil
}

// maxRoomID is the longest id of a conference, in bytes. It is part of Redis keys and
// of the names of files.
const maxRoomID = 64

func isRoomID(id string) bool {
	return len(id) <= maxRoomID && strings.IndexFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
	}) < 0
}

// handleOffer reads the SDP here, on the connection's goroutine, so that the
// two legs of a call do not wait for each other.
func handleOffer(r request) error {
	var in signaling.RTC
	at, err := r.inRoom(&in)
	if err != nil {
		return err
	}
	o, err := readOffer(in.SDP, r.srv.cfg.VideoCodec, r.srv.cfg.AllowLoopback)
	if err != nil {
		return err
	}
	return at.hand(func() { at.offered(r, o) })
}

// handleCandidate reads all candidates of the frame before one of them is used.
func handleCandidate(r request) error {
	var in signaling.RTC
	at, err := r.inRoom(&in)
	if err != nil {
		return err
	}
	var wanted []received
	for _, one := range in.Batch() {
		e, pass, err := readCandidate(one, r.srv.cfg.AllowLoopback)
		if err != nil {
			return err
		}
		if pass {
			wanted = append(wanted, e)
		}
	}
	return at.hand(func() { at.candidates(r, wanted) })
}

// handleDecline is the callee's no: reject, or busy.
func handleDecline(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	return c.hand(func() { c.leave(r) })
}

// handleCancel is the caller's change of mind. It ends the call whatever became
// of it in between, so the caller is out of it at once.
func handleCancel(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	if r.session != c.caller.session {
		return handleDecline(r)
	}
	return c.quit(r)
}

// handleLeave ends the session's part in a call in whatever state. A callee that
// was not invited yet is in no call that it could leave.
func handleLeave(r request) error {
	var in signaling.RTC
	at, err := r.inRoom(&in)
	if err != nil {
		return err
	}
	c, is := at.host.(*call)
	if !is {
		return at.hand(func() { at.host.leave(r) })
	}
	if c.at() == stateDialing && r.session != c.caller.session {
		return noSuchCall()
	}
	return c.quit(r)
}

// quit takes a session out of its call at once, so that it may be in another from
// now on, and lets the call do the rest.
func (c *call) quit(r request) error {
	if !c.srv.users.leave(r.session, c.room, func() { c.leave(r) }) {
		return noSuchCall()
	}
	return nil
}
