package invariants

import (
	"fmt"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// Book holds what was observed of the calls of a run. The zero value is an empty
// one. What is written of one client must come in the order in which that client
// saw it.
type Book struct {
	calls  []*call
	now    map[string]*call // by client: the call that it was last in
	early  []string         // what was heard too early
	ends   []telling        // how often clients were told the end of calls
	unsure []string         // users that asked for calls and were not told whether there is one
	posts  map[string][]Post

	conferences []*conference
	roll        []string        // what members were told of each other that cannot be
	stages      []string        // broadcasts with several publishers
	online      map[string]bool // users that messages reach

	unseen bool   // nobody can look at the history
	rooms  []Room // what the last look found
	left   []string
	whole  bool // that look was the one at the end of the run

	callRows   []CallRow // what the last look found of calls and recordings
	recordings []Recording
	counted    bool // it looked for them

	begun    []string // the server's calls, in their order
	states   map[string]*progress
	finished bool
}

// Called notes that a client has called somebody: the server has made the call.
func (b *Book) Called(client Client, ref Ref, callee string) {
	b.heard(client, ref, client.User, callee).calls = true
}

// Invited notes that a client was invited to a call.
func (b *Book) Invited(client Client, ref Ref, caller string) {
	b.heard(client, ref, caller, client.User)
}

func (b *Book) heard(client Client, ref Ref, caller, callee string) *side {
	c := b.find(ref, caller, callee)
	if c == nil {
		c = &call{id: ref.Call, caller: caller, callee: callee, members: map[string]bool{}}
		b.calls = append(b.calls, c)
	}
	if c.room == "" {
		c.room = ref.Room
	}
	c.learn(client, ref)
	if before := b.now[client.Name]; before != nil && before != c && !before.side(client).over() {
		b.HeardEarly(client, c.name())
	}
	for _, o := range b.conferences {
		if _, v := b.inside(client, o.id); v != nil && !v.leaves {
			b.early = append(b.early, fmt.Sprintf("%s heard of %s while it was in %s", client.Name, c.name(), o.id))
		}
	}
	if b.now == nil {
		b.now = map[string]*call{}
	}
	b.now[client.Name] = c
	return c.side(client)
}

// HeardEarly notes that a client was told of another call while it was in one.
func (b *Book) HeardEarly(client Client, what string) {
	in := "a call"
	if c := b.now[client.Name]; c != nil {
		in = c.name()
	}
	b.early = append(b.early, fmt.Sprintf("%s heard of %s while it was in %s", client.Name, what, in))
}

// find is the call with these ids; a caller of level 0 does not know them, and
// its call is the last one between the same two.
func (b *Book) find(ref Ref, caller, callee string) *call {
	for _, c := range slices.Backward(b.calls) {
		same := ref.Room != "" && c.room == ref.Room || ref.Call != "" && c.id == ref.Call
		if same || (ref.Room == "" || c.room == "") && c.caller == caller && c.callee == callee && len(c.ends()) == 0 {
			return c
		}
	}
	return nil
}

// of is the call that a client means; nil if none is known. One that names none, or
// whose name nobody else knows, as a caller's of level 0, means the one it is in.
func (b *Book) of(client Client, ref Ref) *call {
	for _, id := range []string{ref.Call, ref.Room} {
		for _, c := range slices.Backward(b.calls) {
			if id != "" && (c.id == id || c.room == id) {
				return c
			}
		}
	}
	in := b.now[client.Name]
	if in != nil && ref.Call != "" && in.id != "" && !client.Plain {
		return nil
	}
	return in
}

// learn takes the call's own name from who knows it: a client of level 0, which may
// have heard of the call first, has the room's for it.
func (c *call) learn(client Client, ref Ref) {
	if !client.Plain && ref.Call != "" && (c.id == "" || c.id == c.room) {
		c.id = ref.Call
	}
}

// Tried notes that a client has said that it accepts. What became of that it may
// never learn.
func (b *Book) Tried(client Client, ref Ref) {
	if c := b.of(client, ref); c != nil {
		c.tried = true
	}
}

// Accepted notes that a client was told that a user has answered: the caller, or
// the one that did, which the server has acknowledged.
func (b *Book) Accepted(client Client, ref Ref, user string) {
	c := b.of(client, ref)
	if c == nil {
		return
	}
	s := c.side(client)
	switch {
	case s.calls:
		s.accepted++
	case client.Plain: // nobody told it that it was in time
		c.tried = true
		return
	default:
		c.winners = append(c.winners, client.Name)
	}
	c.members[user] = true
}

// Leaves notes that a client has said that it leaves, in whatever words: it is
// out from now on. It reports whether it was in until now.
func (b *Book) Leaves(client Client, ref Ref) bool {
	if _, v := b.inside(client, ref.Room); v != nil {
		was := v.leaves
		v.leaves = true
		return !was
	}
	c := b.of(client, ref)
	if c == nil || c.side(client).left {
		return false
	}
	c.side(client).left = true
	return true
}

// Stays notes that the server would not let it leave so.
func (b *Book) Stays(client Client, ref Ref) {
	if _, v := b.inside(client, ref.Room); v != nil {
		v.leaves = false
		return
	}
	if c := b.of(client, ref); c != nil {
		c.side(client).left = false
	}
}

// Ended notes that a call has ended for a client.
func (b *Book) Ended(client Client, ref Ref, e End) {
	if ref.Call != "" {
		b.countEnd(client.Name, ref.Call)
	}
	if c := b.of(client, ref); c != nil {
		e.Guess = e.Guess || client.Plain
		s := c.side(client)
		s.ends = append(s.ends, e)
	}
}

// telling is how often a client was told that a call ended.
type telling struct {
	client, call string
	times        int
}

func (b *Book) countEnd(client, call string) {
	for i, t := range b.ends {
		if t.client == client && t.call == call {
			b.ends[i].times++
			return
		}
	}
	b.ends = append(b.ends, telling{client, call, 1})
}

// Unanswered notes that a user has asked for a call and will not be told whether
// there is one.
func (b *Book) Unanswered(user string) { b.unsure = append(b.unsure, user) }

// Gone notes that a client's session has ended: nobody tells it anything more.
func (b *Book) Gone(client Client) { delete(b.now, client.Name) }

// Posted notes a message that a user got, on whichever device.
func (b *Book) Posted(user string, p Post) {
	if slices.ContainsFunc(b.posts[user], func(o Post) bool { return o.Call == p.Call && o.ID == p.ID }) {
		return // its other device has it too, or it came again
	}
	if b.posts == nil {
		b.posts = map[string][]Post{}
	}
	b.posts[user] = append(b.posts[user], p)
}

// Online notes whether messages reach a user.
func (b *Book) Online(user string, is bool) {
	if b.online == nil {
		b.online = map[string]bool{}
	}
	b.online[user] = is
}

// Look takes what a look at the servers found: the rows of the history and what
// is left of calls on the media server and in Redis. The last look is the one
// that counts, if it is the one at the end of the run.
func (b *Book) Look(rooms []Room, left []string, last bool) {
	b.rooms, b.left, b.whole = rooms, left, last
}

// Unseen notes that nobody can look at the history: it says nothing.
func (b *Book) Unseen() { b.unseen = true }

// Finished notes that nothing more will happen: a call that is there now never
// ends.
func (b *Book) Finished() { b.finished = true }

// underWay reports whether there is a call that has not ended.
func (b *Book) underWay() bool {
	for _, s := range b.states {
		if s.at != "ended" {
			return true
		}
	}
	for _, c := range b.calls {
		if len(c.ends()) == 0 && !b.endedInHistory(c) {
			return true
		}
	}
	return slices.ContainsFunc(b.rooms, func(r Room) bool { return !r.Ended })
}

func (b *Book) endedInHistory(c *call) bool {
	return slices.ContainsFunc(b.rooms, func(r Room) bool { return r.Ended && r.is(c) })
}

// became is what the conversation of a user says of a call.
func (b *Book) became(user, id string) (out []Post) {
	for _, p := range b.posts[user] {
		if p.Call == id {
			out = append(out, p)
		}
	}
	return out
}

// reasons are those that clients were told of a call.
func (c *call) reasons() (out []signaling.Reason) {
	for _, e := range c.ends() {
		if !e.Guess && !slices.Contains(out, e.Reason) {
			out = append(out, e.Reason)
		}
	}
	return out
}
