package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// roomBooks hold what clients saw of rooms of several members, to be compared
// with the history at the end of the run.
type roomBooks struct {
	rooms []*seenRoom
}

// seenRoom is every room of one name, as its members saw it.
type seenRoom struct {
	name   string
	users  []string // that were let in
	inside []string // clients that are in
	ends   []seenEnd
}

// seenEnd is how a client saw a room end.
type seenEnd struct {
	client, reason string
	guess          bool // it left first, lost its session or speaks level 0: nobody told it the reason
}

func (b *roomBooks) find(name string) *seenRoom {
	for _, r := range b.rooms {
		if r.name == name {
			return r
		}
	}
	return nil
}

// observe takes an event of a client.
func (b *roomBooks) observe(s *Scenario, e trace.Event) {
	r, user := b.find(e.Get("call")), s.user(e.Actor)
	switch {
	case e.Kind == "room.entered":
		if r == nil {
			r = &seenRoom{name: e.Get("call")}
			b.rooms = append(b.rooms, r)
		}
		r.inside = append(r.inside, e.Actor)
		if !slices.Contains(r.users, user) {
			r.users = append(r.users, user)
			slices.Sort(r.users)
		}
	case e.Kind == "room.ended" && r != nil:
		r.inside = slices.DeleteFunc(r.inside, func(c string) bool { return c == e.Actor })
		r.ends = append(r.ends, seenEnd{client: e.Actor, reason: e.Get("reason"), guess: itsOwn(e, user) || s.plain(user)})
	}
}

// itsOwn reports whether an end is one that only the client itself knows of: it left,
// was taken out, or lost its session.
func itsOwn(e trace.Event, user string) bool {
	reason := signaling.Reason(e.Get("reason"))
	return e.Get("by") == user || reason == signaling.ReasonKicked || reason == signaling.ReasonDropped
}

// differences says where the members and the history's rooms disagree.
func (b *roomBooks) differences(rows []trace.Event) []string {
	var out []string
	for _, r := range b.rooms {
		mine := slices.DeleteFunc(slices.Clone(rows), func(e trace.Event) bool { return e.Get("room") != r.name })
		out = append(out, r.compare(mine)...)
	}
	for _, e := range rows {
		if b.find(e.Get("room")) == nil {
			out = append(out, fmt.Sprintf("the history has the room %s, and no client was in it", e.Get("room")))
		}
	}
	return out
}

// compare holds the rooms of that name in the history against what was seen.
func (r *seenRoom) compare(rows []trace.Event) (out []string) {
	if len(rows) == 0 {
		return []string{fmt.Sprintf("the room %s is not in the history", r.name)}
	}
	var users []string
	var reasons []string
	for _, e := range rows {
		users = append(users, strings.Split(e.Get("users"), ",")...)
		reasons = append(reasons, e.Get("reason"))
		if len(r.inside) == 0 && e.Get("status") != "ended" {
			out = append(out, fmt.Sprintf("everybody has gone out of the room %s, and it is %s in the history", r.name, e.Get("status")))
		}
	}
	slices.Sort(users)
	if users = slices.Compact(users); !slices.Equal(users, r.users) {
		out = append(out, fmt.Sprintf("%s were in the room %s; the history has the members %s", strings.Join(r.users, " and "), r.name, strings.Join(users, " and ")))
	}
	return append(out, r.reason(reasons)...)
}

// reason holds why the last one had to go against why the rooms ended: whoever had
// to go before did not end it.
func (r *seenRoom) reason(reasons []string) []string {
	if len(r.inside) > 0 || len(r.ends) == 0 {
		return nil
	}
	last := r.ends[len(r.ends)-1]
	if last.guess || slices.Contains(reasons, last.reason) {
		return nil
	}
	return []string{fmt.Sprintf("%s was told that the room %s ended with %s; the history says %s", last.client, r.name, last.reason, strings.Join(reasons, " and "))}
}
