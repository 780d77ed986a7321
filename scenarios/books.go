package scenarios

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios/invariants"
	"github.com/callbench/callbench/signaling"
)

// books write what the trace tells of calls and rooms into the book that the
// invariants are checked on.
type books struct{ book invariants.Book }

// observe takes an event.
func (b *books) observe(s *Scenario, e trace.Event) {
	switch {
	case s.client(e.Actor) != nil:
		b.client(s, e)
	case e.Actor == "server" && e.Has("call"):
		b.server(e)
	}
}

// client takes an event of a client.
func (b *books) client(s *Scenario, e trace.Event) {
	user := s.user(e.Actor)
	who := invariants.Client{Name: e.Actor, User: user, Plain: s.plain(user)}
	ref := invariants.Ref{Call: e.Get("call"), Room: e.Get("room")}
	switch e.Kind {
	case "call.outgoing":
		b.book.Called(who, ref, e.Get("to"))
	case "call.incoming":
		b.book.Invited(who, ref, e.Get("from"))
	case "call.accepted":
		b.book.Accepted(who, ref, e.Get("user"))
	case "signal.sent":
		if a := signaling.Action(e.Get("action")); a == signaling.ActionAnswer || a == signaling.ActionJoin {
			b.book.Tried(who, ref)
		}
	case "call.ended":
		b.book.Ended(who, ref, end(user, e))
	case "room.entered":
		b.book.Entered(who, e.Get("call"), e.Get("type"), membersIn(e))
	case "room.joined":
		b.book.Joined(who, e.Get("call"), e.Get("user"), signaling.Role(e.Get("role")))
	case "room.left":
		b.book.Left(who, e.Get("call"), e.Get("user"))
	case "room.role":
		b.book.Became(who, e.Get("call"), e.Get("user"), signaling.Role(e.Get("role")))
	case "room.ended":
		b.book.Out(who, e.Get("call"), outOf(user, e))
	case "im.message":
		b.posted(user, e)
	case "protocol.violation":
		b.violation(who, ref, e)
	case "session.welcome":
		b.book.Online(user, true)
		if e.Get("resumed") != "true" {
			b.book.Gone(who)
		}
	case "session.resumed":
		b.book.Online(user, true)
	case "session.ended", "session.reconnecting", "ws.closed", "app.background", "app.sleep", "app.crashed":
		b.book.Online(user, false)
	}
}

// end is how a client saw a call end. Who left first, or lost its session, was
// not told why.
func end(user string, e trace.Event) invariants.End {
	reason := signaling.Reason(e.Get("reason"))
	return invariants.End{Reason: reason, Guess: e.Get("by") == user || e.Get("by") == "" && reason == signaling.ReasonDropped}
}

// membersIn are those that a client was told are in the room that it came into.
func membersIn(e trace.Event) (members []signaling.Member) {
	for _, m := range strings.Fields(e.Get("who")) {
		i := strings.LastIndex(m, "=")
		members = append(members, signaling.Member{UserID: m[:max(i, 0)], Role: signaling.Role(m[i+1:])})
	}
	return members
}

// outOf is how a client saw its stay in a room end. That it left, was taken out, or
// lost its session only it knows.
func outOf(user string, e trace.Event) invariants.End {
	out := end(user, e)
	out.Guess = out.Guess || out.Reason == signaling.ReasonKicked || out.Reason == signaling.ReasonDropped
	return out
}

func (b *books) posted(user string, e trace.Event) {
	if e.Get("outcome") != "" {
		b.book.Posted(user, invariants.Post{ID: e.Get("message"), Call: e.Get("call"),
			Outcome: signaling.Outcome(e.Get("outcome")), Duration: int(e.Number("duration"))})
	}
}

// violation takes what a client saw that the protocol does not allow.
func (b *books) violation(who invariants.Client, ref invariants.Ref, e trace.Event) {
	switch e.Get("what") {
	case "ended_twice":
		b.book.Ended(who, ref, end(who.User, e))
	case "accepted_twice":
		b.book.Accepted(who, ref, e.Get("user"))
	case "second_call", "invited_in_call":
		b.book.HeardEarly(who, "room "+e.Get("room"))
	}
}

// server takes an event of the server.
func (b *books) server(e trace.Event) {
	switch e.Kind {
	case "call.start":
		b.book.Began(e.Get("call"))
	case "call.state":
		b.book.Moved(e.Get("call"), e.Get("from"), e.Get("to"))
	}
}

// look takes what a look at the world found.
func (b *books) look(found []trace.Event, last bool) {
	var rooms []invariants.Room
	var calls []invariants.CallRow
	var recordings []invariants.Recording
	var left []string
	counted := false
	for _, e := range found {
		switch e.Get("what") {
		case "calls": // how many there are: a trace without it did not look for them
			counted = true
		case "call":
			calls = append(calls, callOf(e))
		case "recording":
			recordings = append(recordings, recordingOf(e))
		case "room":
			rooms = append(rooms, roomOf(e))
		case "left":
			if e.Get("where") != "room" { // which the history tells better
				left = append(left, e.Get("where")+" "+e.Get("id"))
			}
		}
	}
	if counted {
		b.book.Rows(calls, recordings)
	}
	b.book.Look(rooms, left, last)
}

// callOf is the row of a call that a look found.
func callOf(e trace.Event) invariants.CallRow {
	return invariants.CallRow{ID: e.Get("call"), Room: e.Get("room"), Caller: e.Get("caller"), Callee: e.Get("callee"), Ended: e.Get("status") == "ended",
		Reason: signaling.Reason(e.Get("reason")), Outcome: signaling.Outcome(e.Get("outcome")), Talked: milliseconds(e.Number("duration") * 1000)}
}

// recordingOf is the row of a recording that a look found.
func recordingOf(e trace.Event) invariants.Recording {
	return invariants.Recording{ID: e.Get("recording"), Room: e.Get("room"), State: signaling.RecordingState(e.Get("state")), Ended: e.Get("status") == "ended",
		Size: int64(e.Number("size"))}
}

// roomOf is the row of a room that a look found, with its members' stays: each
// of them as user=joined-left, in milliseconds since the room was made. A trace
// that has only users says that they stayed as long as the room.
func roomOf(e trace.Event) invariants.Room {
	r := invariants.Room{ID: e.Get("room"), Call: e.Get("call"), Type: cmp.Or(e.Get("type"), "1v1"), Creator: e.Get("creator"),
		Ended: e.Get("status") == "ended", Reason: signaling.Reason(e.Get("reason")), Length: milliseconds(e.Number("duration") * 1000)}
	for _, user := range strings.FieldsFunc(e.Get("users"), func(c rune) bool { return c == ',' || c == ' ' }) {
		r.Members = append(r.Members, invariants.Member{User: user, Left: r.Length})
	}
	if e.Has("stays") {
		r.Members = nil
	}
	for _, stay := range strings.Fields(e.Get("stays")) {
		i := strings.LastIndex(stay, "=") // user ids may hold anything but spaces
		joined, left, gone := strings.Cut(stay[i+1:], "-")
		m := invariants.Member{User: stay[:max(i, 0)], Joined: instant(joined), Left: -1}
		if gone {
			m.Left = instant(left)
		}
		r.Members = append(r.Members, m)
	}
	return r
}

// instant reads a number of milliseconds.
func instant(text string) time.Duration {
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return milliseconds(ms)
}

// milliseconds is a duration of whole milliseconds.
func milliseconds(n float64) time.Duration {
	return time.Duration(math.Round(n)) * time.Millisecond
}

// failures are the rules that were broken.
func (b *books) failures() []reports.Failure {
	b.book.Finished()
	says := map[string]string{}
	for _, r := range invariants.Rules() {
		says[r.Name] = r.Says
	}
	var out []reports.Failure
	for _, v := range invariants.Check(&b.book) {
		out = append(out, reports.Failure{Check: v.Rule, Message: v.Message, Expected: says[v.Rule]})
	}
	return out
}
