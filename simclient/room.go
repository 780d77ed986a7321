package simclient

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/callbench/callbench/signaling"
)

// RoomOptions say how a client comes into a room.
type RoomOptions struct {
	// Type makes the room if there is none: "mcu" or "broadcast". Empty only comes into
	// one that is there.
	Type string
	// Role is what the client asks to be; empty leaves it to the server.
	Role signaling.Role
}

// stay is what makes a call a stay in a room of several members. The call's room
// names it, and there is no peer.
type stay struct {
	kind    string // mcu or broadcast
	role    signaling.Role
	members []signaling.Member // who is in, this client too, in the order of their coming
	early   []func()           // what came before the acknowledgement that says who is in, and is newer
	heard   []string           // who has published while this client was in: whose media may come
}

// sends reports whether the client sends media in the call or room.
func (k *call) sends() bool { return k.in == nil || k.in.role == signaling.RolePublisher }

// receives reports whether it gets media: who publishes a broadcast does not.
func (k *call) receives() bool {
	return k.in == nil || k.in.kind != roomBroadcast || k.in.role != signaling.RolePublisher
}

// roomBroadcast is the type of room in which the one publisher hears nobody.
const roomBroadcast = "broadcast"

// parties are whose media may come: the other party's, or that of everybody who
// publishes or did. A mix has one's own in it, a broadcast has not. Level 0 does not
// tell who was in a room before: it may be anybody's then.
func (c *Client) parties(k *call) []string {
	switch {
	case k.in == nil:
		return []string{k.peer}
	case c.link.level.number() == 0:
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(k.in.heard), func(u string) bool { return k.in.kind == roomBroadcast && u == c.cfg.User })
	if len(list) == 0 {
		return []string{""} // nobody's
	}
	return list
}

// Join comes into a room, and makes it if the options say of which type. "" is the
// room of the call that the client is in or that rings. If the room's call rings
// here, that accepts it as Accept does. Of several members' rooms it returns when
// the server has let the client in; media is then being set up.
func (c *Client) Join(ctx context.Context, room string, o RoomOptions) error {
	return c.wrap("join", c.do(ctx, func(done func(error)) { c.join(room, o, done) }))
}

// Leave goes out of the room, or the call, that the client is in; room must be
// its name, or empty. Another one the server may judge.
func (c *Client) Leave(ctx context.Context, room string) error {
	return c.wrap("leave", c.do(ctx, func(done func(error)) {
		if k := c.call; room == "" || k != nil && k.room == room {
			c.quit(signaling.ActionLeave, done)
			return
		}
		c.ask(nil, signaling.ActionLeave, signaling.RTC{RoomID: room}, done)
	}))
}

// SetRole gives a member of the room a role: this client itself or, if it made the
// room, anybody.
func (c *Client) SetRole(ctx context.Context, user string, role signaling.Role) error {
	return c.inRoom(ctx, "give "+user+" a role", signaling.ActionRole, signaling.RTC{UserID: user, Role: role})
}

// Kick takes a member out of the room.
func (c *Client) Kick(ctx context.Context, user string) error {
	return c.inRoom(ctx, "kick "+user, signaling.ActionKick, signaling.RTC{UserID: user})
}

// Record starts or stops recording the room or the call: signaling.RecordStart or
// signaling.RecordStop.
func (c *Client) Record(ctx context.Context, what string) error {
	return c.inRoom(ctx, "record", signaling.ActionRecord, signaling.RTC{Recording: what})
}

// inRoom asks something of the room that the client is in.
func (c *Client) inRoom(ctx context.Context, doing string, action signaling.Action, data signaling.RTC) error {
	return c.wrap(doing, c.do(ctx, func(done func(error)) {
		k := c.call
		if k == nil || k.room == "" {
			done(ErrNoCall)
			return
		}
		data.RoomID, data.CallID = k.room, k.id
		c.ask(k, action, data, done)
	}))
}

// enter asks to be let into a room, even if there is a call: refusing it is the
// server's business.
func (c *Client) enter(room string, o RoomOptions, done func(error)) {
	k := &call{room: room, state: callDialing, in: &stay{kind: o.Type, role: o.Role}}
	if c.call == nil && c.session.begun {
		c.call = k
	}
	failed := func(err error) {
		if c.call == k {
			c.finish(k, string(signaling.AsError(err).Code), "")
		}
	}
	c.request(&request{late: failed, done: func(f signaling.Frame, err error) {
		if err == nil {
			err = c.entered(k, f)
		} else {
			failed(err)
		}
		k.finishLeaving(err)
		done(err)
	}}, signaling.TypeRTC, signaling.ActionJoin, signaling.RTC{RoomID: room, RoomType: o.Type, Role: o.Role})
}

// entered takes the acknowledgement of a join.
func (c *Client) entered(k *call, f signaling.Frame) error {
	var at signaling.RTC
	if err := f.Into(&at); err != nil {
		return err
	}
	if c.call != k { // it is over again, or there is another one
		if c.call != nil {
			c.violation(c.call, violationSecondCall, slog.String("room", k.room))
		}
		return nil
	}
	c.takeRoster(k, at)
	early := k.in.early
	k.in.early = nil
	for _, f := range early {
		f()
	}
	if c.call != k { // it is out again already
		return nil
	}
	if quit := k.quit; quit != nil {
		k.quit = nil
		c.leave(k, quit.action, quit.done)
		return nil
	}
	c.startMedia(k)
	return nil
}

// takeRoster notes who is in the room, and that this client is.
func (c *Client) takeRoster(k *call, at signaling.RTC) {
	if at.RoomType != "" {
		k.in.kind = at.RoomType
	}
	if at.Role != "" {
		k.in.role = at.Role
	}
	k.in.members = slices.Clone(at.Members)
	k.known, k.answered, k.state = true, true, callAccepted
	for _, m := range append(at.Members, signaling.Member{UserID: c.cfg.User, Role: k.in.role}) {
		k.in.hear(m.UserID, m.Role)
	}
	attrs := []slog.Attr{slog.String("type", k.in.kind), slog.String("role", string(k.in.role)), slog.Int("members", len(at.Members)), slog.String("who", names(at.Members))}
	if at.Recording != "" {
		attrs = append(attrs, slog.String("recording", at.Recording))
	}
	c.callEvent(k, eventEntered, attrs...)
}

// names lists members with their roles, as in "alice=publisher bob=subscriber".
func names(members []signaling.Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.UserID+"="+string(m.Role))
	}
	return strings.Join(all, " ")
}

// hear notes that somebody publishes.
func (s *stay) hear(user string, role signaling.Role) {
	if role == signaling.RolePublisher && !slices.Contains(s.heard, user) {
		s.heard = append(s.heard, user)
	}
}

func (s *stay) find(user string) int {
	return slices.IndexFunc(s.members, func(m signaling.Member) bool { return m.UserID == user })
}

// onJoined takes somebody in.
func (c *Client) onJoined(k *call, rtc signaling.RTC) {
	if k.in.find(rtc.UserID) < 0 {
		k.in.members = append(k.in.members, signaling.Member{UserID: rtc.UserID, Role: rtc.Role})
	}
	c.expectMedia(k, rtc)
	c.callEvent(k, eventJoined, slog.String("user", rtc.UserID), slog.String("role", string(rtc.Role)), slog.Int("members", len(k.in.members)))
}

// onLeft lets somebody go.
func (c *Client) onLeft(k *call, rtc signaling.RTC) {
	if i := k.in.find(rtc.UserID); i >= 0 {
		k.in.members = slices.Delete(k.in.members, i, i+1)
	}
	c.callEvent(k, eventLeft, slog.String("user", rtc.UserID), slog.String("reason", string(rtc.Reason)), slog.Int("members", len(k.in.members)))
}

// onRole takes somebody's new role. If it is this client's own, a negotiate
// follows.
func (c *Client) onRole(k *call, rtc signaling.RTC) {
	if i := k.in.find(rtc.UserID); i >= 0 {
		k.in.members[i].Role = rtc.Role
	}
	if rtc.UserID == c.cfg.User {
		k.in.role = rtc.Role
	}
	c.expectMedia(k, rtc)
	c.callEvent(k, eventRole, slog.String("user", rtc.UserID), slog.String("role", string(rtc.Role)))
}

// expectMedia lets the media of a new publisher count as right.
func (c *Client) expectMedia(k *call, rtc signaling.RTC) {
	k.in.hear(rtc.UserID, rtc.Role)
	if k.media != nil {
		k.media.expect()
	}
}

func (c *Client) onRecording(k *call, rtc signaling.RTC) {
	c.callEvent(k, eventRecording, slog.String("state", rtc.Recording), slog.String("recording", rtc.RecordingID))
}
