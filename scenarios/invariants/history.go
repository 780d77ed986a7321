package invariants

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Room is a room of the history, with its members.
type Room struct {
	ID, Call string
	Type     string // 1v1, mcu or broadcast
	Creator  string
	Ended    bool
	Reason   signaling.Reason
	Length   time.Duration // from its creation to its end
	Members  []Member
}

// Member is a row of a room's members.
type Member struct {
	User   string
	Joined time.Duration // since the room's creation
	Left   time.Duration // the same; negative if it has not left
}

// ofCalls is the type of the rooms that calls are in.
const ofCalls = "1v1"

func (r Room) status() string {
	if r.Ended {
		return "ended"
	}
	return "active"
}

func (r Room) is(c *call) bool { return c.room != "" && r.ID == c.room || c.id != "" && r.Call == c.id }

// users are those that were in the room.
func (r Room) users() []string {
	set := map[string]bool{}
	for _, m := range r.Members {
		set[m.User] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// historyDiffers looks at the last look, if it is the one at the end of the run.
func historyDiffers(b *Book) []string {
	if !b.whole || b.unseen {
		return nil
	}
	return b.differences()
}

// differences says where clients and history disagree about calls.
func (b *Book) differences() []string {
	var out []string
	claimed := map[int]bool{}
	for _, c := range b.calls {
		mine := b.roomsOf(c, claimed)
		for _, i := range mine {
			claimed[i] = true
		}
		switch {
		case !c.hasEnded():
		case len(mine) == 0 && c.id == "" && c.room == "": // refused, which level 0 tells a caller late or never
		case len(mine) != 1:
			out = append(out, fmt.Sprintf("the call from %s to %s (%s) has %d rooms in the history, not one", c.caller, c.callee, c.name(), len(mine)))
		default:
			out = append(out, b.compare(c, b.rooms[mine[0]])...)
		}
	}
	unsure := slices.Clone(b.unsure)
	for i, r := range b.rooms {
		if claimed[i] || r.Type != ofCalls {
			continue
		}
		if k := slices.Index(unsure, r.Creator); k >= 0 {
			unsure = slices.Delete(unsure, k, k+1)
		} else {
			out = append(out, fmt.Sprintf("the history has the room %s, and no client saw a call in it", r.ID))
		}
	}
	return append(out, b.conferencesDiffer()...)
}

// roomsOf finds a call's rooms by their ids. Without an id it is the first room
// of the same caller that no other call claims.
func (b *Book) roomsOf(c *call, claimed map[int]bool) []int {
	var mine []int
	for i, r := range b.rooms {
		if r.is(c) || c.room == "" && c.id == "" && !claimed[i] && len(mine) == 0 && r.Creator == c.caller {
			mine = append(mine, i)
		}
	}
	return mine
}

// compare holds a room of the history against what the clients saw.
func (b *Book) compare(c *call, r Room) []string {
	var out []string
	if ends := c.ends(); !r.Ended && len(ends) > 0 {
		out = append(out, fmt.Sprintf("%s has ended for %s and is %s in the history", c.name(), ends[0].client, r.status()))
	}
	for _, e := range c.ends() {
		if !e.Guess && e.Reason != r.Reason {
			out = append(out, fmt.Sprintf("%s was told that %s ended with %s; the history says %s", e.client, c.name(), e.Reason, r.Reason))
		}
	}
	out = append(out, c.elsewhere(r)...)
	members := r.users()
	c.members[c.caller] = true
	want := slices.Sorted(maps.Keys(c.members))
	if !slices.Equal(members, want) && (!c.tried || !slices.Equal(members, c.parties())) {
		out = append(out, fmt.Sprintf("%s was a call of %s; the history has the members %s", c.name(), and(want), and(members)))
	}
	if r.Ended {
		out = append(out, b.lengths(c, r)...)
	}
	return out
}

// elsewhere compares what became of a call with what devices were told that another
// one had done.
func (c *call) elsewhere(r Room) (out []string) {
	if c.toldElsewhere(signaling.ReasonAnsweredElsewhere) && !c.members[c.callee] && !c.tried {
		out = append(out, fmt.Sprintf("a device was told that another one had answered %s, and none had", c.name()))
	}
	if c.toldElsewhere(signaling.ReasonDeclinedElsewhere) && r.Reason != signaling.ReasonDeclined && r.Reason != signaling.ReasonBusy {
		out = append(out, fmt.Sprintf("a device was told that another one had declined %s; the history says %s", c.name(), r.Reason))
	}
	return out
}

// lengths compares how long everything was. Whoever is in a call when it ends
// leaves it at that instant, and what the conversation calls its length begins
// with the answer, which the callee's coming follows.
func (b *Book) lengths(c *call, r Room) (out []string) {
	longest, shortest := r.Length, time.Duration(0)
	for _, m := range r.Members {
		switch {
		case m.Left < 0:
			out = append(out, fmt.Sprintf("%s has ended, and %s never left it in the history", c.name(), m.User))
		case m.Left != r.Length:
			out = append(out, fmt.Sprintf("%s ended after %v, and %s left it after %v in the history", c.name(), r.Length, m.User, m.Left))
		}
		if m.User == c.callee {
			shortest = m.Left - m.Joined
		}
	}
	for _, p := range b.became(c.caller, c.id) {
		said := time.Duration(p.Duration) * time.Second
		if p.Outcome == signaling.OutcomeAccepted && len(out) == 0 && (said > longest || said < shortest.Truncate(time.Second)) {
			out = append(out, fmt.Sprintf("%s was %v long for the conversation, and between %v and %v in the history", c.name(), said, shortest, longest))
		}
	}
	return out
}
