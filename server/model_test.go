package server_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// plan is what the users of a world do, and what befalls them: drawn as a whole
// before any of it is done, so that a plan that fails can be made shorter move
// by move.
type plan struct {
	Moves []move
	Ends  ending
}

// ending is how a plan ends.
type ending int

const (
	calm     ending = iota // everything is healed, everybody comes back and leaves, and time passes
	shutdown               // the server shuts down in the midst of it
	killed                 // the server is killed in the midst of it, another one takes its place, and then as in calm
)

// move is one of them. Between two moves everything comes to rest that needs no
// time; what needs some, such as the media server, is under way meanwhile.
type move struct {
	Do   word
	Seat int           // who does it
	Arg  int           // what else it needs: whom to call, which operation fails
	Ref  which         // the call that is meant
	Wait time.Duration // before it
}

// word names a move.
type word string

// which is the call that a frame names.
type which int

const (
	latest  which = iota // that the session has heard of
	older                // the one before: the frame is late
	unnamed              // no ids
)

// seats are the devices that play.
var seats = []struct{ user, device string }{{"alice", "phone"}, {"bob", "phone"}, {"bob", "laptop"}, {"carol", "phone"}}

// users are those that can be called.
var users = []string{"alice", "bob", "carol"}

// callee is whom a move calls: one of the others, but for once in a while oneself.
func (m move) callee() string {
	if m.Arg == 0 {
		return seats[m.Seat].user
	}
	others := slices.DeleteFunc(slices.Clone(users), func(u string) bool { return u == seats[m.Seat].user })
	return others[m.Arg%len(others)]
}

// words are all moves, the plain ones first: to those a plan shrinks. What leads
// into calls is there more than once, because it is to be drawn more often.
var words = []word{
	"call", "call", "call", "call", "answer", "answer", "answer", "answer", "answer", "leave", "cancel", "reject", "busy", "ringing", "join",
	"enter the mix", "enter the mix", "enter the broadcast", "enter the broadcast", "change the role", "kick", "record", "go out",
	"offer", "offer", "offer", "candidate", "again", "in one breath", "drop", "drop", "come back", "come back", "say goodbye", "begin anew",
	"lose media", "upset media", "heal media", "upset the state", "heal the state",
}

// operations are those of the media server that can be upset, and upsets what
// becomes of them.
var (
	operations = []string{"create pipeline", "create endpoint", "connect", "process offer", "gather", "add candidate", "release endpoint", "release pipeline"}
	upsets     = []string{"is slow", "fails", "refuses", "hangs"}
)

// waits are how long may pass before a move. The longer ones let the time-outs of
// a call pass: 5 s for DTLS and for who does not confirm, 60 s for who does not
// answer and for who does not come back.
var waits = []time.Duration{0, 0, 0, 10 * time.Millisecond, 25 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond,
	400 * time.Millisecond, 6 * time.Second, 25 * time.Second, 61 * time.Second}

// moves draws a move. Each has the same number of draws, whatever it is.
var moves = rapid.Custom(func(t *rapid.T) move {
	return move{
		Do:   rapid.SampledFrom(words).Draw(t, "do"),
		Seat: rapid.IntRange(0, len(seats)-1).Draw(t, "seat"),
		Arg:  rapid.IntRange(0, len(operations)*len(upsets)-1).Draw(t, "arg"),
		Ref:  rapid.SampledFrom([]which{latest, latest, latest, older, unnamed}).Draw(t, "ref"),
		Wait: rapid.SampledFrom(waits).Draw(t, "wait"),
	}
})

// plans draws a plan: in four parts, because rapid makes a slice five long on
// average.
var plans = rapid.Custom(func(t *rapid.T) plan {
	var p plan
	for range 4 {
		p.Moves = append(p.Moves, rapid.SliceOfN(moves, 0, 20).Draw(t, "moves")...)
	}
	p.Ends = rapid.SampledFrom([]ending{calm, calm, shutdown, killed}).Draw(t, "ends")
	return p
})

// calleeWords are for whoever was called last, or, if Arg is odd, for whoever is
// drawn.
var calleeWords = []word{"answer", "reject", "busy", "ringing", "join"}

// forCallee reports whether the move is made by whoever was called last.
func (m move) forCallee() bool { return slices.Contains(calleeWords, m.Do) && m.Arg%2 == 0 }

func (m move) String() string {
	s := fmt.Sprintf("%s.%s %s", seats[m.Seat].user, seats[m.Seat].device, m.Do)
	if m.forCallee() {
		s = fmt.Sprintf("whoever was called last: %s", m.Do)
	}
	switch m.Do {
	case "call":
		s += " " + m.callee()
	case "upset media":
		s = fmt.Sprintf("%q of the media server %s", m.operation(), m.upset())
	case "upset the state":
		s = "the State " + m.mood()
	case "heal the state":
		s = "the State does well again"
	case "heal media":
		s = "the media server does well again"
	case "lose media":
		s = fmt.Sprintf("the media server loses endpoint %d of those that there are", m.Arg)
	case "in one breath":
		s += ": leaves and calls " + m.callee()
	case "enter the mix", "enter the broadcast":
		s += " as " + cmp.Or(string(m.role()), "whatever the server makes of it")
	case "change the role":
		s += fmt.Sprintf(" of %s to %s", m.member(), m.role())
	case "kick":
		s += " " + m.member()
	case "record":
		s += ": " + m.recording()
	case "drop", "come back", "say goodbye", "begin anew", "again", "go out":
	default:
		s += [...]string{"", " (of the call before)", " (without ids)"}[m.Ref]
	}
	if m.Wait > 0 {
		s = fmt.Sprintf("%v later %s", m.Wait, s)
	}
	return s
}

// member is whom a move in a room is about.
func (m move) member() string { return users[m.Arg%len(users)] }

// role is what a move makes of a member.
func (m move) role() signaling.Role {
	return []signaling.Role{"", server.RolePublisher, server.RoleSubscriber}[m.Arg/len(users)%3]
}

func (m move) recording() string {
	return []string{signaling.RecordStart, signaling.RecordStop}[m.Arg%2]
}

func (m move) operation() string { return operations[m.Arg%len(operations)] }

// mood is what becomes of the State.
func (m move) mood() string { return moods[m.Arg%len(moods)] }

func (m move) upset() string { return upsets[m.Arg/len(operations)%len(upsets)] }

// GoString is how a plan that failed is printed.
func (p plan) GoString() string {
	var b strings.Builder
	for i, m := range p.Moves {
		fmt.Fprintf(&b, "\n  %2d. %v", i+1, m)
	}
	fmt.Fprintf(&b, "\n      %s", [...]string{"then all is healed, everybody comes back and leaves", "then the server shuts down", "then the server is killed, and another goes on"}[p.Ends])
	return b.String()
}
