package invariants

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/callbench/callbench/signaling"
)

// conference is every room of several members that had one name, as those that
// were in it saw it.
type conference struct {
	id    string
	kind  string
	users map[string]bool // that were let in
	maybe map[string]bool // that asked to be, and were not told that they are
	views []*view
	ends  []seenEnd
}

// view is what a client knows of who is in.
type view struct {
	client Client
	in     bool
	leaves bool // it has said so
	who    map[string]signaling.Role
}

// Entered notes that a client was let into a room, with those that it was told are
// in, itself included.
func (b *Book) Entered(client Client, room, kind string, members []signaling.Member) {
	b.ends = slices.DeleteFunc(b.ends, func(t telling) bool { return t.client == client.Name && t.call == room }) // it may come in again
	if before := b.now[client.Name]; before != nil && !before.side(client).over() {
		b.HeardEarly(client, room)
	}
	c := b.hall(room)
	c.kind, c.users[client.User] = kind, true
	v := &view{client: client, in: true, who: map[string]signaling.Role{}}
	for _, m := range members {
		v.who[m.UserID] = m.Role
	}
	c.views = slices.DeleteFunc(c.views, func(o *view) bool { return o.client.Name == client.Name })
	c.views = append(c.views, v)
	b.oneStage(c, v)
}

// Knocked notes that a user has asked to be let into a room. Whether it was it may
// never learn.
func (b *Book) Knocked(room, user string) { b.hall(room).maybe[user] = true }

// hall is what is known of the rooms of a name, from now on.
func (b *Book) hall(room string) *conference {
	c := b.conference(room)
	if c == nil {
		c = &conference{id: room, users: map[string]bool{}, maybe: map[string]bool{}}
		b.conferences = append(b.conferences, c)
	}
	return c
}

func (b *Book) conference(room string) *conference {
	for _, c := range b.conferences {
		if c.id == room {
			return c
		}
	}
	return nil
}

// inside is what a client that is in a room knows of it; nil if it is in no more.
func (b *Book) inside(client Client, room string) (*conference, *view) {
	if c := b.conference(room); c != nil {
		for _, v := range c.views {
			if v.client.Name == client.Name && v.in {
				return c, v
			}
		}
	}
	return nil, nil
}

// Joined notes that a client was told that a user came into the room.
func (b *Book) Joined(client Client, room, user string, role signaling.Role) {
	c, v := b.inside(client, room)
	if v == nil {
		return
	}
	if _, is := v.who[user]; is {
		b.roll = append(b.roll, fmt.Sprintf("%s was told that %s came into %s, where it was", client.Name, user, room))
	}
	v.who[user] = role
	b.oneStage(c, v)
}

// Left notes that a client was told that a user has left the room.
func (b *Book) Left(client Client, room, user string) {
	_, v := b.inside(client, room)
	if v == nil {
		return
	}
	if _, is := v.who[user]; !is {
		b.roll = append(b.roll, fmt.Sprintf("%s was told that %s left %s, where it was not", client.Name, user, room))
	}
	delete(v.who, user)
}

// Became notes that a client was told of a user's new role.
func (b *Book) Became(client Client, room, user string, role signaling.Role) {
	c, v := b.inside(client, room)
	if v == nil {
		return
	}
	if _, is := v.who[user]; !is {
		b.roll = append(b.roll, fmt.Sprintf("%s was told that %s is %s in %s, where it was not", client.Name, user, role, room))
	}
	v.who[user] = role
	b.oneStage(c, v)
}

// oneStage sees to it that a broadcast has one publisher at most at any time.
func (b *Book) oneStage(c *conference, v *view) {
	var on []string
	for _, user := range slices.Sorted(maps.Keys(v.who)) {
		if v.who[user] == "publisher" {
			on = append(on, user)
		}
	}
	if c.kind == "broadcast" && len(on) > 1 {
		b.stages = append(b.stages, fmt.Sprintf("%s sees %s publish in %s at once", v.client.Name, and(on), c.id))
	}
}

// Out notes that a client is out of the room.
func (b *Book) Out(client Client, room string, e End) {
	b.countEnd(client.Name, room)
	if c, v := b.inside(client, room); v != nil {
		v.in = false
		e.Guess = e.Guess || client.Plain
		c.ends = append(c.ends, seenEnd{client.Name, e})
	}
}

// RollCall holds what those know that are in a room against each other, at a time
// when everything was told that there is to tell.
func (b *Book) RollCall() { b.roll = append(b.roll, b.rollCall()...) }

func membersDiffer(b *Book) []string {
	if !b.whole {
		return b.roll
	}
	return append(slices.Clone(b.roll), b.rollCall()...)
}

// rollCall compares what those see that can be reached with who is in.
func (b *Book) rollCall() (out []string) {
	for _, c := range b.conferences {
		present := map[string]bool{}
		for _, v := range c.views {
			present[v.client.User] = present[v.client.User] || v.in
		}
		maps.DeleteFunc(present, func(_ string, in bool) bool { return !in })
		var first *view
		for _, v := range c.views {
			if !v.in || !b.online[v.client.User] {
				continue
			}
			if first == nil {
				first = v
				if seen := slices.Sorted(maps.Keys(v.who)); !slices.Equal(seen, slices.Sorted(maps.Keys(present))) {
					out = append(out, fmt.Sprintf("in %s are %s, and %s sees %s", c.id, and(slices.Sorted(maps.Keys(present))), v.client.Name, v))
				}
			}
			if !maps.Equal(v.who, first.who) {
				out = append(out, fmt.Sprintf("in %s %s sees %s and %s sees %s", c.id, first.client.Name, first, v.client.Name, v))
			}
		}
	}
	return out
}

// String lists the members.
func (v *view) String() string {
	var who []string
	for _, user := range slices.Sorted(maps.Keys(v.who)) {
		who = append(who, user+"="+string(v.who[user]))
	}
	return strings.Join(who, " ")
}

// everybodyOut reports whether nobody is in.
func (c *conference) everybodyOut() bool {
	return !slices.ContainsFunc(c.views, func(v *view) bool { return v.in })
}

// conferencesDiffer says where the members of rooms and the history disagree.
func (b *Book) conferencesDiffer() (out []string) {
	for _, c := range b.conferences {
		rows := slices.DeleteFunc(slices.Clone(b.rooms), func(r Room) bool { return r.ID != c.id })
		out = append(out, c.compare(rows)...)
	}
	for _, r := range b.rooms {
		if r.Type != ofCalls && b.conference(r.ID) == nil && !slices.Contains(b.unsure, r.Creator) {
			out = append(out, fmt.Sprintf("the history has the room %s, and no client was in it", r.ID))
		}
	}
	return out
}

// compare holds the rooms of that name in the history against what was seen.
func (c *conference) compare(rows []Room) (out []string) {
	if len(rows) == 0 && len(c.users) == 0 { // nobody was let in
		return nil
	}
	if len(rows) == 0 {
		return []string{fmt.Sprintf("the room %s is not in the history", c.id)}
	}
	users := map[string]bool{}
	var reasons []string
	for _, r := range rows {
		for _, m := range r.Members {
			users[m.User] = true
			switch {
			case r.Ended && m.Left < 0:
				out = append(out, fmt.Sprintf("the room %s has ended, and %s never left it in the history", c.id, m.User))
			case r.Ended && m.Left > r.Length:
				out = append(out, fmt.Sprintf("the room %s ended after %v, and %s left it after %v in the history", c.id, r.Length, m.User, m.Left))
			}
		}
		reasons = append(reasons, string(r.Reason))
		if c.everybodyOut() && !r.Ended {
			out = append(out, fmt.Sprintf("everybody has gone out of the room %s, and it is %s in the history", c.id, r.status()))
		}
	}
	maps.DeleteFunc(users, func(u string, _ bool) bool { return c.maybe[u] && !c.users[u] })
	if in, want := slices.Sorted(maps.Keys(users)), slices.Sorted(maps.Keys(c.users)); !slices.Equal(in, want) {
		out = append(out, fmt.Sprintf("%s were in the room %s; the history has the members %s", and(want), c.id, and(in)))
	}
	return append(out, c.reason(reasons)...)
}

// reason holds why the last one had to go against why the rooms ended: whoever had
// to go before did not end it.
func (c *conference) reason(reasons []string) []string {
	if !c.everybodyOut() || len(c.ends) == 0 {
		return nil
	}
	last := c.ends[len(c.ends)-1]
	if last.Guess || slices.Contains(reasons, string(last.Reason)) {
		return nil
	}
	return []string{fmt.Sprintf("%s was told that the room %s ended with %s; the history says %s", last.client, c.id, last.Reason, and(reasons))}
}
