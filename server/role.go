package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// conferenceOf finds the conference that a frame about one of its members is
// about, and what it says.
func (r request) conferenceOf(in *signaling.RTC) (*conference, error) {
	if err := r.frame.Into(in); err != nil { // userId is who the frame is about
		return nil, err
	}
	at, err := r.roomNamed(in)
	if err != nil {
		return nil, err
	}
	c, ok := at.host.(*conference)
	if !ok {
		return nil, signaling.Errorf(signaling.CodeBadState, "this is a call: it has no roles")
	}
	at.heard(r)
	return c, nil
}

// handleRole changes the role of a member, oneself if none is named.
func handleRole(r request) error {
	var in signaling.RTC
	c, err := r.conferenceOf(&in)
	switch {
	case err != nil:
		return err
	case in.Role != RolePublisher && in.Role != RoleSubscriber:
		return signaling.Errorf(signaling.CodeBadData, "role is neither %s nor %s", RolePublisher, RoleSubscriber)
	}
	return c.hand(func() { c.changeRole(r, in.UserID, in.Role) })
}

// handleKick takes a member out.
func handleKick(r request) error {
	var in signaling.RTC
	c, err := r.conferenceOf(&in)
	switch {
	case err != nil:
		return err
	case in.UserID == "" || in.UserID == r.user:
		return signaling.Errorf(signaling.CodeBadData, "userId is missing, or oneself, who can leave")
	}
	return c.hand(func() { c.kick(r, in.UserID) })
}

func (c *conference) kick(r request, user string) {
	m := c.asking(r)
	of := c.member(user)
	switch {
	case m == nil:
		r.fail(c.wrongState(nil))
	case !c.owns(m):
		r.fail(signaling.Errorf(signaling.CodeForbidden, "only the room's creator takes members out"))
	case of == nil:
		r.fail(signaling.Errorf(signaling.CodeUserUnavailable, "the user is not in the room"))
	default:
		c.expel(of, signaling.ReasonKicked, func() { r.ack(nil) })
	}
}

// owns reports whether the member made the room.
func (c *conference) owns(m *member) bool { return m.user == c.creator }

// member is the one that is this user, nil if it is not in.
func (c *conference) member(user string) *member {
	if m := c.namesake(user); m != nil && m.invited && !m.left {
		return m
	}
	return nil
}

// mayRecord implements host.
func (c *conference) mayRecord(m *member) bool {
	return c.owns(m) || c.kind == RoomBroadcast && m.role == RolePublisher
}

// changeRole gives a member another role. In a broadcast whoever published before
// is a subscriber then.
func (c *conference) changeRole(r request, user string, role Role) {
	m := c.asking(r)
	if m == nil {
		r.fail(c.wrongState(nil))
		return
	}
	of := m
	if user != "" {
		of = c.member(user)
	}
	if err := c.mayChange(m, of, role); err != nil {
		r.fail(err)
		return
	}
	if of.role == role {
		r.ack(nil)
		return
	}
	if !m.mayOffer(time.Now()) { // each change costs the media server an endpoint, as an offer does
		r.fail(signaling.Errorf(signaling.CodeBadState, "more than %d changes in %v", maxOffers, offersPer))
		return
	}
	changed := []*member{of} // first who is heard from now on
	if pub := c.publisher(); c.kind == RoomBroadcast && role == RolePublisher && pub != nil {
		c.become(pub, RoleSubscriber)
		changed = append(changed, pub)
	}
	c.become(of, role)
	c.rebuild(signaling.ReasonRoleChanged, changed...)
	for _, m := range changed {
		c.askOffer(m, signaling.ReasonRoleChanged)
	}
	r.ack(nil)
}

// mayChange is why one member may not give another, or itself, this role; nil if it
// may. In a broadcast the stage is free for who takes it only while nobody has it.
func (c *conference) mayChange(m, of *member, role Role) error {
	switch {
	case of == nil:
		return signaling.Errorf(signaling.CodeUserUnavailable, "the user is not in the room")
	case !of.session.renegotiates(), role == RolePublisher && c.stuck(of):
		return signaling.Errorf(signaling.CodeBadState, "the member's client cannot change its role")
	case c.owns(m):
		return nil
	case of == m && (role == RoleSubscriber || c.kind == RoomMCU || c.publisher() == nil || c.publisher() == m):
		return nil
	case c.kind == RoomBroadcast && m.role == RolePublisher && role == RolePublisher: // it hands over
		return nil
	}
	return signaling.Errorf(signaling.CodeForbidden, "you may not give this role")
}

// stuck reports whether the member could not be heard because the publisher of a
// broadcast has a client that cannot become a subscriber.
func (c *conference) stuck(of *member) bool {
	pub := c.publisher()
	return c.kind == RoomBroadcast && pub != nil && pub != of && !pub.session.renegotiates()
}

// become changes a member's role: its stay in the old one ends, and everybody is
// told.
func (c *conference) become(m *member, role Role) {
	before := m.history(time.Now())
	m.role, m.joined = role, before.LeftAt
	if next := before.JoinedAt.Add(time.Millisecond); m.joined.Before(next) { // its rows are told apart by when they begin
		m.joined = next
	}
	s, record, after := c.snapshot(), m.record(), m.history(time.Time{})
	c.log.Info("room.role", "user", m.user, "session", m.session.id, "role", string(role))
	c.write("save role", func(ctx context.Context) error { return c.srv.cfg.State.PutRole(ctx, s, record) }, nil)
	c.save("record leave", func(ctx context.Context) error { return c.srv.cfg.History.MemberLeft(ctx, before) }, nil)
	c.save("record member", func(ctx context.Context) error { return c.srv.cfg.History.MemberJoined(ctx, after) }, nil)
	c.tell(nil, signaling.ActionRole, m.about())
}
