package server_test

import (
	"slices"
	"strings"

	"github.com/callbench/callbench/scenarios/invariants"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// read writes down what a session was sent.
func (m *model) read(s *seat, f signaling.Frame) {
	if f.Seq > 0 {
		s.seq = f.Seq
	}
	switch f.Type {
	case signaling.TypeAck, signaling.TypeError:
		if a := s.asks[f.ID]; a != nil {
			delete(s.asks, f.ID)
			if !m.killed {
				m.answered(s, a, f)
			}
		}
	case signaling.TypeInvite:
		if m.killed {
			return
		}
		var in signaling.Invite
		m.into(f, &in)
		ref := invariants.Ref{Call: in.CallID, Room: in.RoomID}
		s.refs, s.invited[ref] = append(s.refs, ref), true
		m.book.Invited(s.who, ref, in.From)
		m.rung = s
	case signaling.TypeMessage:
		var in signaling.Message
		m.into(f, &in)
		if in.Call != nil && in.Call.RoomID != "" {
			m.book.Posted(s.user, invariants.Post{ID: in.MessageID, Call: in.Call.CallID, Outcome: in.Call.Outcome, Duration: in.Call.Duration})
		}
	case signaling.TypeRTC:
		if !m.killed {
			m.told(s, f)
		}
	}
}

func (m *model) into(f signaling.Frame, data any) {
	if err := f.Into(data); err != nil {
		m.w.t.Errorf("%s has data that cannot be read: %v", f.Kind(), err)
	}
}

// told takes a push about a call.
func (m *model) told(s *seat, f signaling.Frame) {
	var in signaling.RTC
	m.into(f, &in)
	if in.CallID == "" {
		m.toldOfRoom(s, f.Action, in)
		return
	}
	ref := invariants.Ref{Call: in.CallID, Room: in.RoomID}
	if !m.knows(s, ref) {
		m.w.t.Errorf("%s was told %s of call %s and has never heard of it", s.who.Name, f.Kind(), in.CallID)
	}
	switch f.Action {
	case signaling.ActionAnswer:
		if in.SDP == "" {
			m.book.Accepted(s.who, ref, in.UserID)
		}
	case signaling.ActionEnded:
		s.over[ref] = true
		m.book.Ended(s.who, ref, invariants.End{Reason: in.Reason})
	}
}

// toldOfRoom takes a push about a room of several members.
func (m *model) toldOfRoom(s *seat, a signaling.Action, in signaling.RTC) {
	if s.room != in.RoomID { // if it was away when it was let in, it hears of that last
		if !slices.ContainsFunc(s.open(), func(o *ask) bool { return o.action == signaling.ActionJoin && o.data.RoomID == in.RoomID }) {
			return
		}
		s.early = append(s.early, func() { m.toldOfRoom(s, a, in) })
		return
	}
	switch a {
	case signaling.ActionJoined:
		m.book.Joined(s.who, in.RoomID, in.UserID, in.Role)
	case signaling.ActionLeft:
		m.book.Left(s.who, in.RoomID, in.UserID)
	case signaling.ActionRole:
		m.book.Became(s.who, in.RoomID, in.UserID, in.Role)
	case signaling.ActionEnded:
		m.outOfRoom(s, in.RoomID, invariants.End{Reason: in.Reason, Guess: in.Reason == signaling.ReasonKicked})
	}
}

// outOfRoom notes that a session is in a room no more.
func (m *model) outOfRoom(s *seat, room string, e invariants.End) {
	if room != "" {
		m.book.Out(s.who, room, e)
	}
	if s.room == room {
		s.room = ""
	}
}

// knows reports whether a session has heard of a call. One that was away when its
// request was acknowledged hears of the call before that: what it missed comes
// first.
func (m *model) knows(s *seat, ref invariants.Ref) bool {
	for _, a := range s.open() {
		if a.action == signaling.ActionCall && !slices.Contains(s.refs, ref) {
			m.called(s, a, ref)
		}
	}
	return slices.Contains(s.refs, ref)
}

// called notes that the server has made the call that a session has asked for.
func (m *model) called(s *seat, a *ask, ref invariants.Ref) {
	if slices.Contains(s.refs, ref) {
		return
	}
	s.refs = append(s.refs, ref)
	if a.left != nil { // it may be in another one by now
		m.book.Unanswered(s.user)
		return
	}
	m.book.Called(s.who, ref, a.data.TargetUser)
}

// answered takes the answer to a request.
func (m *model) answered(s *seat, a *ask, f signaling.Frame) {
	ok := f.Type == signaling.TypeAck
	leaving := slices.Contains(leaves, a.action)
	var in signaling.RTC
	if ok {
		m.into(f, &in)
	}
	switch {
	case ok && a.action == signaling.ActionJoin && in.RoomType != "":
		s.room = in.RoomID
		m.book.Entered(s.who, in.RoomID, in.RoomType, in.Members)
		early := s.early
		s.early = nil
		for _, f := range early {
			f()
		}
	case ok && leaving && a.ref.Room != "" && a.ref.Call == "" && a.leaves:
		m.outOfRoom(s, a.ref.Room, invariants.End{Guess: true})
	case ok && a.action == signaling.ActionCall:
		m.called(s, a, invariants.Ref{Call: in.CallID, Room: in.RoomID})
	case ok && a.action == signaling.ActionAnswer, ok && a.action == signaling.ActionJoin && s.invited[a.ref] && !s.won[a.ref]:
		s.won[a.ref] = true
		m.book.Accepted(s.who, a.ref, s.user)
	case ok && leaving && a.ref.Call != "" && !s.over[a.ref]: // it is out, and must not be told the end any more
		s.over[a.ref] = true
		m.book.Ended(s.who, a.ref, invariants.End{Guess: true})
	case !ok && leaving:
		var in signaling.Error
		m.into(f, &in)
		if in.Code != signaling.CodeBadState {
			return
		}
		if a.leaves {
			m.book.Stays(s.who, a.ref)
		}
		for _, other := range s.asks {
			if other.left == a {
				other.left = nil
			}
		}
	}
}

// isRoomKey tells keys that are there while a call is.
func isRoomKey(key string) bool { return strings.HasPrefix(key, "rtc:") }

// left is what is on the media server and, of the keys of a kind, in State.
func (m *model) left(of func(key string) bool) (left []string) {
	for _, id := range m.w.media.left() {
		if m.killed { // what it had asked for and never heard of, nobody knows: the media server ends it after some minutes
			break
		}
		left = append(left, "on the media server "+id)
	}
	for _, k := range m.w.state.Keys() {
		if of(k) {
			left = append(left, "in State "+k)
		}
	}
	return left
}

// judge looks at what is there when everything has come to rest, and checks all
// that must be true.
func (m *model) judge(left []string) (broken []string) {
	b := m.book // the log is read from its beginning every time
	for _, l := range m.calls() {
		if l.from == "" {
			b.Began(l.id)
		} else {
			b.Moved(l.id, l.from, l.to)
		}
	}
	b.Rows(m.rows())
	b.Look(m.rooms(), left, true)
	b.Finished()
	for _, v := range invariants.Check(&b) {
		broken = append(broken, v.String())
	}
	return broken
}

// closed judges once more when the server has shut down, unless something was
// broken before.
func (m *model) closed(broken bool) []string {
	if broken {
		return nil
	}
	m.settle()
	for _, s := range m.seats {
		m.gone(s)
	}
	return m.judge(m.left(func(key string) bool { return !isPresence(key) }))
}

// rooms are the rows of the history.
func (m *model) rooms() (rooms []invariants.Room) {
	for _, r := range m.w.history.Rooms() {
		earlier := func(at server.MemberHistory) bool { // of another room of that name
			return at.JoinedAt.Before(r.CreatedAt) || !r.EndedAt.IsZero() && at.JoinedAt.After(r.EndedAt)
		}
		row := invariants.Room{ID: r.RoomID, Call: r.CallID, Type: string(r.Type), Creator: r.Creator, Ended: !r.EndedAt.IsZero(), Reason: r.Reason}
		if row.Ended {
			row.Length = r.EndedAt.Sub(r.CreatedAt)
		}
		for _, at := range slices.DeleteFunc(m.w.history.Members(r.RoomID), earlier) {
			stay := invariants.Member{User: at.UserID, Joined: at.JoinedAt.Sub(r.CreatedAt), Left: -1}
			if !at.LeftAt.IsZero() {
				stay.Left = at.LeftAt.Sub(r.CreatedAt)
			}
			row.Members = append(row.Members, stay)
		}
		rooms = append(rooms, row)
	}
	return rooms
}

// rows are the calls and recordings of the history.
func (m *model) rows() (calls []invariants.CallRow, recordings []invariants.Recording) {
	for _, r := range m.w.history.Calls() {
		calls = append(calls, invariants.CallRow{ID: r.CallID, Room: r.RoomID, Caller: r.Caller, Callee: r.Callee, Ended: !r.EndedAt.IsZero(),
			Reason: r.Reason, Outcome: r.Outcome, Talked: r.Duration()})
	}
	seen := map[string]bool{}
	for _, room := range m.w.history.Rooms() {
		if seen[room.RoomID] {
			continue
		}
		seen[room.RoomID] = true
		rows, err := m.w.history.Archive().Recordings(m.w.t.Context(), room.RoomID, server.Page{Limit: 1000})
		if err != nil {
			m.w.t.Errorf("recordings of %s: %v", room.RoomID, err)
		}
		for _, r := range rows {
			recordings = append(recordings, invariants.Recording{ID: r.RecordingID, Room: r.RoomID, State: signaling.RecordingState(r.Status),
				Ended: !r.EndedAt.IsZero(), Size: r.FileSize})
		}
	}
	return calls, recordings
}

// callLine is a line of the server's log about a call: it begins, or goes from
// one state to another.
type callLine struct{ id, from, to string }

func (m *model) calls() (lines []callLine) {
	for l := range strings.Lines(m.w.logs.String()) {
		if strings.Contains(l, "msg=call.start ") || strings.Contains(l, "msg=call.state ") {
			lines = append(lines, callLine{field(l, "call"), field(l, "from"), field(l, "to")})
		}
	}
	return lines
}

// field is a value of a line of the log.
func field(line, key string) string {
	_, after, _ := strings.Cut(line, " "+key+"=")
	value, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	return value
}

// transitions are the changes of states that the calls went through.
func (m *model) transitions() (out []string) {
	for _, l := range m.calls() {
		if l.from != "" {
			out = append(out, l.from+" → "+l.to)
		}
	}
	return out
}
