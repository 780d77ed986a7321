package invariants

import (
	"maps"
	"slices"
	"strings"

	"github.com/callbench/callbench/signaling"
)

// Client is somebody that a call is told to: one device's session. Clients of
// level 0 are not told ids and reasons, and guess.
type Client struct {
	Name, User string
	Plain      bool
}

// Ref is what a client knows a call by. Clients of level 0 know the room, and
// may learn it late; then both are empty and the call that the client is in is
// meant.
type Ref struct{ Call, Room string }

// End is how a client saw a call end.
type End struct {
	Reason signaling.Reason
	Guess  bool // nobody told it the reason: it left first, lost its session or speaks level 0
}

// Post is a message of what became of a call.
type Post struct {
	ID       string // the message's
	Call     string
	Outcome  signaling.Outcome
	Duration int // seconds from the answer to the end
}

// call is a call as its clients saw it.
type call struct {
	id, room       string // room is empty as long as a caller of level 0 has not learned it
	caller, callee string // users
	members        map[string]bool
	tried          bool // somebody accepted, and may not have learned what became of that
	winners        []string
	sides          []*side
}

// side is one client's view of a call.
type side struct {
	client   Client
	calls    bool // it is the caller's
	accepted int  // how often it was told that somebody answered
	left     bool
	ends     []End
}

// elsewhere reports whether it is the end of a device whose user took or declined
// the call on another one: the call goes on without it, or ends for a reason of its
// own.
func (e End) elsewhere() bool {
	return e.Reason == signaling.ReasonAnsweredElsewhere || e.Reason == signaling.ReasonDeclinedElsewhere
}

// toldElsewhere reports whether a device was told this of another one.
func (c *call) toldElsewhere(reason signaling.Reason) bool {
	return slices.ContainsFunc(c.sides, func(s *side) bool {
		return slices.ContainsFunc(s.ends, func(e End) bool { return e.Reason == reason })
	})
}

// side is what this client saw.
func (c *call) side(client Client) *side {
	for _, s := range c.sides {
		if s.client.Name == client.Name {
			return s
		}
	}
	s := &side{client: client}
	c.sides = append(c.sides, s)
	return s
}

// over reports whether a client is out of the call.
func (s *side) over() bool { return s.left || len(s.ends) > 0 }

// ends are those of all clients that were in it to its end.
func (c *call) ends() (out []seenEnd) {
	for _, s := range c.sides {
		for _, e := range s.ends {
			if !e.elsewhere() {
				out = append(out, seenEnd{s.client.Name, e})
			}
		}
	}
	return out
}

// hasEnded reports whether it is over for anybody, if only because it went on
// without that one.
func (c *call) hasEnded() bool {
	return slices.ContainsFunc(c.sides, func(s *side) bool { return len(s.ends) > 0 })
}

type seenEnd struct {
	client string
	End
}

func (c *call) name() string {
	if c.id == "" {
		return "room " + c.room
	}
	return c.id
}

// parties are its users.
func (c *call) parties() []string {
	return slices.Sorted(maps.Keys(map[string]bool{c.caller: true, c.callee: true}))
}

// and joins names as people do.
func and(names []string) string { return strings.Join(names, " and ") }
