package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// books hold what the clients saw of their calls, to be compared with what the
// history says at the end of the run (the rule history-differs).
type books struct {
	calls []*seenCall
	now   map[string]*seenCall // by client: the call that it was last in
	rooms []trace.Event        // those of calls that the last look found
	many  []trace.Event        // those of several members
	whole bool                 // that look was the one at the end of the run
	stays roomBooks
}

// seenCall is a call as its clients saw it.
type seenCall struct {
	id, room       string // room is empty as long as a caller of level 0 has not learned it
	caller, callee string // users
	accepted       map[string]bool
	tried          bool      // somebody accepted, and may not have learned what became of that
	elsewhere      bool      // a device was told that another one answered
	declined       bool      // a device was told that another one declined
	ends           []seenEnd // one for each client
}

// seenEnd is how a client saw a call end.
type seenEnd struct {
	client, reason string
	guess          bool // it left first, lost its session or speaks level 0: nobody told it the reason
}

// observe takes an event; those of clients count.
func (b *books) observe(s *Scenario, e trace.Event) {
	if s.client(e.Actor) == nil {
		return
	}
	b.stays.observe(s, e)
	switch e.Kind {
	case "call.outgoing":
		b.begin(e, s.user(e.Actor), e.Get("to"))
	case "call.incoming":
		b.begin(e, e.Get("from"), s.user(e.Actor))
	case "call.accepted":
		c, user := b.of(e), e.Get("user")
		switch {
		case c == nil:
		case s.plain(user) && user == s.user(e.Actor): // nobody told it that it was in time
			c.tried = true
		default:
			c.accepted[user] = true
		}
	case "signal.sent":
		if c := b.of(e); c != nil && (e.Get("action") == string(signaling.ActionAnswer) || e.Get("action") == string(signaling.ActionJoin)) {
			c.tried = true
		}
	case "call.ended":
		if c := b.of(e); c != nil {
			c.end(s, e)
		}
	}
}

// begin notes that a client is in a call.
func (b *books) begin(e trace.Event, caller, callee string) {
	c := b.find(e.Get("call"), e.Get("room"), caller, callee)
	if c == nil {
		c = &seenCall{id: e.Get("call"), caller: caller, callee: callee, accepted: map[string]bool{}}
		b.calls = append(b.calls, c)
	}
	if c.room == "" {
		c.room = e.Get("room")
	}
	if b.now == nil {
		b.now = map[string]*seenCall{}
	}
	b.now[e.Actor] = c
}

// find is the call with these ids; a caller of level 0 does not know them, and
// its call is the last one between the same two.
func (b *books) find(id, room, caller, callee string) *seenCall {
	for _, c := range slices.Backward(b.calls) {
		same := room != "" && c.room == room || id != "" && c.id == id
		if same || (room == "" || c.room == "") && c.caller == caller && c.callee == callee && len(c.ends) == 0 {
			return c
		}
	}
	return nil
}

// of is the call that an event of a client is about.
func (b *books) of(e trace.Event) *seenCall {
	if id := e.Get("call"); id != "" {
		for _, c := range slices.Backward(b.calls) {
			if c.id == id || c.room == id {
				return c
			}
		}
	}
	return b.now[e.Actor]
}

func (c *seenCall) end(s *Scenario, e trace.Event) {
	end := seenEnd{client: e.Actor, reason: e.Get("reason"), guess: e.Get("by") == s.user(e.Actor)}
	if e.Get("by") == "" && end.reason == string(signaling.ReasonDropped) || s.plain(s.user(e.Actor)) {
		end.guess = true
	}
	switch signaling.Reason(end.reason) {
	case signaling.ReasonAnsweredElsewhere:
		c.elsewhere, end.guess = true, true
	case signaling.ReasonDeclinedElsewhere:
		end.guess, c.declined = true, true
	}
	c.ends = append(c.ends, end)
}

// look takes what a look at the world found.
func (b *books) look(found []trace.Event, last bool) {
	b.rooms, b.many, b.whole = nil, nil, last
	for _, e := range found {
		switch {
		case e.Get("what") != "room":
		case contains(roomTypes, e.Get("type")):
			b.many = append(b.many, e)
		default:
			b.rooms = append(b.rooms, e)
		}
	}
}

// differences says where clients and history disagree.
func (b *books) differences() []string {
	var out []string
	claimed := map[int]bool{}
	for _, c := range b.calls {
		mine := b.roomsOf(c, claimed)
		for _, i := range mine {
			claimed[i] = true
		}
		switch {
		case len(c.ends) == 0:
		case len(mine) == 0 && c.id == "" && c.room == "": // refused, which level 0 tells a caller late or never
		case len(mine) != 1:
			out = append(out, fmt.Sprintf("the call from %s to %s (%s) has %d rooms in the history, not one", c.caller, c.callee, c.name(), len(mine)))
		default:
			out = append(out, c.compare(b.rooms[mine[0]])...)
		}
	}
	for i, r := range b.rooms {
		if !claimed[i] {
			out = append(out, fmt.Sprintf("the history has the room %s, and no client saw a call in it", r.Get("room")))
		}
	}
	return append(out, b.stays.differences(b.many)...)
}

// roomsOf finds a call's rooms by their ids. Without an id it is the first room
// of the same caller that no other call claims.
func (b *books) roomsOf(c *seenCall, claimed map[int]bool) []int {
	var mine []int
	for i, r := range b.rooms {
		known := c.room != "" && r.Get("room") == c.room || c.id != "" && r.Get("call") == c.id
		if known || c.room == "" && c.id == "" && !claimed[i] && len(mine) == 0 && r.Get("creator") == c.caller {
			mine = append(mine, i)
		}
	}
	return mine
}

func (c *seenCall) name() string {
	if c.id == "" {
		return "room " + c.room
	}
	return c.id
}

// compare holds a room of the history against what the clients saw.
func (c *seenCall) compare(r trace.Event) []string {
	var out []string
	if r.Get("status") != "ended" {
		out = append(out, fmt.Sprintf("%s has ended for %s and is %s in the history", c.name(), c.ends[0].client, r.Get("status")))
	}
	for _, e := range c.ends {
		if !e.guess && e.reason != r.Get("reason") {
			out = append(out, fmt.Sprintf("%s was told that %s ended with %s; the history says %s", e.client, c.name(), e.reason, r.Get("reason")))
		}
	}
	if c.elsewhere && !c.accepted[c.callee] && !c.tried {
		out = append(out, fmt.Sprintf("a device was told that another one had answered %s, and none had", c.name()))
	}
	if c.declined && r.Get("reason") != string(signaling.ReasonDeclined) && r.Get("reason") != string(signaling.ReasonBusy) {
		out = append(out, fmt.Sprintf("a device was told that another one had declined %s; the history says %s", c.name(), r.Get("reason")))
	}
	members := strings.Fields(strings.ReplaceAll(r.Get("users"), ",", " "))
	slices.Sort(members)
	c.accepted[c.caller] = true
	want := slices.Sorted(maps.Keys(c.accepted))
	if slices.Equal(members, want) || c.tried && slices.Equal(members, slices.Sorted(slices.Values([]string{c.caller, c.callee}))) {
		return out
	}
	return append(out, fmt.Sprintf("%s was a call of %s; the history has the members %s", c.name(), strings.Join(want, " and "), strings.Join(members, " and ")))
}

// failures are the differences, if the run was looked at when it had ended.
func (b *books) failures() []reports.Failure {
	if !b.whole {
		return nil
	}
	var out []reports.Failure
	for _, d := range b.differences() {
		out = append(out, reports.Failure{Check: "history-differs", Message: d})
	}
	return out
}
