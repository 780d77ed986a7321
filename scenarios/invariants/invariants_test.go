package invariants

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
)

var (
	alice  = Client{Name: "alice", User: "alice"}
	bob    = Client{Name: "bob", User: "bob"}
	laptop = Client{Name: "bob.laptop", User: "bob"}
	first  = Ref{Call: "c1", Room: "r1"}
	second = Ref{Call: "c2", Room: "r2"}
	row    = Room{ID: "r1", Call: "c1", Type: "1v1", Creator: "alice", Ended: true, Reason: signaling.ReasonHangup, Length: 9 * time.Second,
		Members: []Member{{"alice", 0, 9 * time.Second}, {"bob", 1500 * time.Millisecond, 9 * time.Second}}}
)

// answered is a call of alice's that bob answers and that alice ends: everything
// but the last look.
func answered() *Book {
	b := &Book{}
	b.Online("alice", true)
	b.Online("bob", true)
	b.Began("c1")
	b.Called(alice, first, "bob")
	b.Moved("c1", "dialing", "ringing")
	b.Invited(bob, first, "alice")
	b.Invited(laptop, first, "alice")
	b.Tried(bob, first)
	b.Moved("c1", "ringing", "accepting")
	b.Accepted(bob, first, "bob")
	b.Accepted(alice, first, "bob")
	b.Ended(laptop, first, End{Reason: "answered_elsewhere"})
	b.Moved("c1", "accepting", "active")
	b.Leaves(alice, first)
	b.Moved("c1", "active", "ending")
	b.Ended(bob, first, End{Reason: signaling.ReasonHangup})
	b.Ended(alice, first, End{Reason: signaling.ReasonHangup, Guess: true})
	for _, user := range []string{"alice", "bob", "bob"} { // bob has two devices
		b.Posted(user, Post{ID: "m1", Call: "c1", Outcome: signaling.OutcomeAccepted, Duration: 8})
	}
	b.Moved("c1", "ending", "ended")
	return b
}

// with is the row of the first call, changed.
func with(change func(*Room)) []Room {
	r := row
	r.Members = slices.Clone(r.Members)
	change(&r)
	return []Room{r}
}

// Each rule is broken by what it is about, and by that alone.
func TestRules(t *testing.T) {
	type look struct {
		rooms []Room
		left  []string
	}
	for _, c := range []struct {
		rule  string // that is broken; "" if none is
		say   string
		meet  func(b *Book)
		found look
	}{
		{"", "", func(*Book) {}, look{[]Room{row}, nil}},
		{"", "", func(b *Book) { b.Called(alice, second, "bob") }, look{[]Room{row}, []string{"redis what is in use"}}},
		{"heard-early", "bob heard of c3 while it was in c2", func(b *Book) {
			b.Invited(bob, second, "carol")
			b.Invited(bob, Ref{Call: "c3", Room: "r3"}, "carol")
		}, look{[]Room{row}, nil}},
		{"heard-early", "bob heard of room r3 while it was in c1", func(b *Book) { b.HeardEarly(bob, "room r3") }, look{[]Room{row}, nil}},
		{"", "", func(b *Book) {
			b.Invited(bob, second, "carol")
			b.Gone(bob)
			b.Invited(bob, Ref{Call: "c3", Room: "r3"}, "carol")
		}, look{[]Room{row}, nil}},
		{"heard-early", "bob heard of c3", func(b *Book) {
			b.Invited(bob, second, "carol")
			b.Leaves(bob, second)
			b.Stays(bob, second)
			b.Invited(bob, Ref{Call: "c3", Room: "r3"}, "carol")
		}, look{[]Room{row}, nil}},
		{"two-winners", "c1 was answered by bob and bob.laptop", func(b *Book) { b.Accepted(laptop, first, "bob") }, look{[]Room{row}, nil}},
		{"two-winners", "c1 was answered by bob and bob", func(b *Book) { b.Accepted(bob, first, "bob") }, look{[]Room{row}, nil}},
		{"two-winners", "alice was told 2 times that c1 was answered", func(b *Book) { b.Accepted(alice, first, "bob") }, look{[]Room{row}, nil}},
		{"ended-twice", "bob was told 2 times that call c1 ended", func(b *Book) { b.Ended(bob, first, End{Reason: signaling.ReasonHangup}) }, look{[]Room{row}, nil}},
		{"sides-differ", "c1 ended for its clients with dropped and hangup", func(b *Book) {
			b.calls[0].side(alice).ends = []End{{Reason: signaling.ReasonDropped}}
		}, look{}},
		{"sides-differ", "c1 was accepted for 8 s to one side and accepted for 7 s to the other", func(b *Book) { b.posts["bob"][0].Duration = 7 }, look{[]Room{row}, nil}},
		{"sides-differ", "c1 ended with hangup, and was missed for the conversation", func(b *Book) {
			b.posts["alice"][0].Outcome, b.posts["bob"][0].Outcome = signaling.OutcomeMissed, signaling.OutcomeMissed
		}, look{[]Room{row}, nil}},
		{"one-message", "bob read in 2 messages what became of c1", func(b *Book) { b.Posted("bob", Post{ID: "m2", Call: "c1", Outcome: "accepted", Duration: 8}) }, look{[]Room{row}, nil}},
		{"one-message", "bob read in no message what became of c1", func(b *Book) { delete(b.posts, "bob") }, look{[]Room{row}, nil}},
		{"", "", func(b *Book) { delete(b.posts, "bob"); b.Online("bob", false) }, look{[]Room{row}, nil}},
		{"state-order", "call c1 was ended and went from ended to active", func(b *Book) { b.Moved("c1", "ended", "active"); b.states["c1"].at = "ended" }, look{[]Room{row}, nil}},
		{"state-order", "call c2 was dialing and went from dialing to active", func(b *Book) { b.Began("c2"); b.Moved("c2", "dialing", "active"); b.states["c2"].at = "ended" }, look{[]Room{row}, nil}},
		{"endless", "call c2 is still ringing", func(b *Book) { b.Began("c2"); b.Moved("c2", "dialing", "ringing") }, look{[]Room{row}, nil}},
		{"left-over", "kms p1.e1 is left", func(*Book) {}, look{[]Room{row}, []string{"kms p1.e1"}}},
		{"history-differs", "has 0 rooms in the history", func(*Book) {}, look{[]Room{}, nil}},
		{"history-differs", "has 2 rooms in the history", func(*Book) {}, look{[]Room{row, row}, nil}},
		{"history-differs", "the room r2, and no client saw", func(*Book) {}, look{[]Room{row, {ID: "r2", Type: "1v1", Ended: true}}, nil}},
		{"history-differs", "the room r2, and no client was in it", func(*Book) {}, look{[]Room{row, {ID: "r2", Type: "mcu", Ended: true}}, nil}},
		{"", "", func(b *Book) { b.Unanswered("carol") }, look{[]Room{row, {ID: "r2", Type: "1v1", Creator: "carol", Ended: true}}, nil}},
		{"history-differs", "the room r3", func(b *Book) { b.Unanswered("carol") }, look{[]Room{row, {ID: "r2", Type: "1v1", Creator: "carol", Ended: true}, {ID: "r3", Type: "1v1", Creator: "carol", Ended: true}}, nil}},
		{"history-differs", "is active in the history", func(*Book) {}, look{with(func(r *Room) { r.Ended = false }), nil}},
		{"history-differs", "the history says dropped", func(*Book) {}, look{with(func(r *Room) { r.Reason = signaling.ReasonDropped }), nil}},
		{"history-differs", "has the members alice", func(*Book) {}, look{with(func(r *Room) { r.Members = r.Members[:1] }), nil}},
		{"history-differs", "bob never left it", func(*Book) {}, look{with(func(r *Room) { r.Members[1].Left = -1 }), nil}},
		{"history-differs", "bob left it after 8s", func(*Book) {}, look{with(func(r *Room) { r.Members[1].Left = 8 * time.Second }), nil}},
		{"history-differs", "was 8s long for the conversation, and between 2s and 4s", func(*Book) {}, look{with(func(r *Room) {
			r.Length, r.Members = 4*time.Second, []Member{{"alice", 0, 4 * time.Second}, {"bob", 2 * time.Second, 4 * time.Second}}
		}), nil}},
	} {
		b := answered()
		c.meet(b)
		if c.found.rooms != nil {
			b.Look(c.found.rooms, c.found.left, true)
		}
		b.Finished()
		broken := Check(b)
		switch {
		case c.rule == "" && len(broken) > 0:
			t.Errorf("%v is broken, and nothing was wrong", broken)
		case c.rule != "" && (len(broken) == 0 || broken[0].Rule != c.rule || !strings.Contains(broken[0].Message, c.say)):
			t.Errorf("%s, %q: %v", c.rule, c.say, broken)
		case len(broken) > 1:
			t.Errorf("%s: %v are broken too", c.rule, broken[1:])
		}
	}
}

// What a look lacks is waited for, until it is there.
func TestSettled(t *testing.T) {
	b := answered()
	for _, c := range []struct {
		rooms []Room
		left  []string
		want  bool
	}{{nil, nil, false}, {with(func(r *Room) { r.Ended = false }), nil, false}, {[]Room{row}, []string{"kms p1"}, false}, {[]Room{row}, nil, true}} {
		if b.Look(c.rooms, c.left, false); b.Settled() != c.want {
			t.Errorf("%v, %v: settled is %v", c.rooms, c.left, !c.want)
		}
	}
}

// A caller of level 0 learns no ids, and its guesses are no evidence.
func TestLevel0(t *testing.T) {
	plain, b := Client{Name: "alice", User: "alice", Plain: true}, &Book{}
	b.Called(plain, Ref{}, "bob")
	b.Invited(bob, first, "alice")
	b.Accepted(bob, first, "bob")
	b.Accepted(plain, Ref{}, "bob")
	b.Ended(bob, first, End{Reason: signaling.ReasonHangup})
	b.Ended(plain, Ref{}, End{Reason: signaling.ReasonDropped})
	b.Look([]Room{row}, nil, true)
	if broken := Check(b); len(broken) > 0 {
		t.Error(broken)
	}
	b.Look(with(func(r *Room) { r.Reason = signaling.ReasonDropped }), nil, true)
	if broken := Check(b); len(broken) != 1 || !strings.Contains(broken[0].Message, "bob was told") {
		t.Error(broken)
	}
}

// A callee of level 0 may hear of a call before its caller knows the name of it, and has
// the room's name for it.
func TestLevel0HearsFirst(t *testing.T) {
	plain, b := Client{Name: "bob", User: "bob", Plain: true}, &Book{}
	second := Ref{Call: "c-2", Room: "r-2"}
	b.Invited(plain, Ref{Call: first.Room, Room: first.Room}, "alice")
	b.Called(alice, first, "bob")
	b.Ended(alice, Ref{Call: first.Call}, End{Reason: signaling.ReasonHangup})
	b.Ended(plain, Ref{Call: first.Room}, End{Reason: signaling.ReasonHangup})
	b.Invited(alice, second, "bob")
	if early := heardEarly(b); len(early) > 0 {
		t.Error(early)
	}
}

// meeting is a room in which alice and bob are, and both know it.
func meeting(kind string) *Book {
	b := &Book{}
	b.Online("alice", true)
	b.Online("bob", true)
	b.Entered(alice, "stage", kind, []signaling.Member{{UserID: "alice", Role: "publisher"}})
	b.Entered(bob, "stage", kind, []signaling.Member{{UserID: "alice", Role: "publisher"}, {UserID: "bob", Role: "subscriber"}})
	b.Joined(alice, "stage", "bob", "subscriber")
	return b
}

// In rooms of several members, too, each rule is broken by what it is about.
func TestRulesOfRooms(t *testing.T) {
	stage := Room{ID: "stage", Type: "broadcast", Creator: "alice", Ended: true, Reason: signaling.ReasonLeft, Length: 9 * time.Second,
		Members: []Member{{"alice", 0, 9 * time.Second}, {"bob", time.Second, 8 * time.Second}}}
	both := func(b *Book) {
		b.Out(bob, "stage", End{Guess: true})
		b.Left(alice, "stage", "bob")
		b.Out(alice, "stage", End{Guess: true})
	}
	changed := func(change func(r *Room)) []Room {
		r := stage
		r.Members = slices.Clone(r.Members)
		change(&r)
		return []Room{r}
	}
	for _, c := range []struct {
		rule, say string
		meet      func(b *Book)
		rooms     []Room
	}{
		{"", "", both, []Room{stage}},
		{"", "", func(b *Book) { b.RollCall(); both(b) }, []Room{stage}},
		{"", "", func(b *Book) { b.Became(alice, "stage", "bob", "subscriber"); b.Knocked("stage", "carol"); both(b) }, []Room{stage}},
		{"members-differ", "came into stage, where it was", func(b *Book) { b.Joined(alice, "stage", "bob", "subscriber"); both(b) }, []Room{stage}},
		{"members-differ", "bob left stage, where it was not", func(b *Book) { b.Left(alice, "stage", "bob"); both(b) }, []Room{stage}},
		{"members-differ", "carol is subscriber in stage, where it was not", func(b *Book) { b.Became(bob, "stage", "carol", "subscriber"); both(b) }, []Room{stage}},
		{"members-differ", "in stage are alice, and alice sees alice=publisher bob=subscriber", func(b *Book) {
			b.Out(bob, "stage", End{Guess: true})
			b.RollCall()
			b.Out(alice, "stage", End{Guess: true})
		}, []Room{stage}},
		{"members-differ", "bob sees alice=subscriber bob=subscriber", func(b *Book) {
			b.Became(bob, "stage", "alice", "subscriber")
			b.RollCall()
			both(b)
		}, []Room{stage}},
		{"one-stage", "alice sees alice and bob publish in stage at once", func(b *Book) { b.Became(alice, "stage", "bob", "publisher"); both(b) }, []Room{stage}},
		{"heard-early", "bob heard of c1 while it was in stage", func(b *Book) { b.Invited(bob, first, "carol"); b.Leaves(bob, first); both(b) }, []Room{stage}},
		{"", "", func(b *Book) {
			b.Leaves(bob, Ref{Room: "stage"})
			b.Invited(bob, first, "carol")
			b.Leaves(bob, first)
			both(b)
		}, []Room{stage}},
		{"heard-early", "bob heard of hall while it was in c1", func(b *Book) {
			both(b)
			b.Invited(bob, first, "carol")
			b.Entered(bob, "hall", "mcu", nil)
			b.Out(bob, "hall", End{Guess: true})
			b.Leaves(bob, first)
		}, []Room{stage, {ID: "hall", Type: "mcu", Ended: true, Members: []Member{{"bob", 0, 0}}}}},
		{"ended-twice", "alice was told 2 times that call stage ended", func(b *Book) { both(b); b.Out(alice, "stage", End{Guess: true}) }, []Room{stage}},
		{"history-differs", "the room stage is not in the history", both, []Room{}},
		{"history-differs", "the history has the members alice", both, changed(func(r *Room) { r.Members = r.Members[:1] })},
		{"history-differs", "it is active in the history", both, changed(func(r *Room) { r.Ended = false })},
		{"history-differs", "bob never left it", both, changed(func(r *Room) { r.Members[1].Left = -1 })},
		{"history-differs", "bob left it after 10s", both, changed(func(r *Room) { r.Members[1].Left = 10 * time.Second })},
		{"history-differs", "ended with dropped; the history says left", func(b *Book) {
			b.Out(bob, "stage", End{Guess: true})
			b.Left(alice, "stage", "bob")
			b.Out(alice, "stage", End{Reason: signaling.ReasonDropped})
		}, []Room{stage}},
	} {
		b := meeting("broadcast")
		c.meet(b)
		b.Look(c.rooms, nil, true)
		broken := Check(b)
		switch {
		case c.rule == "" && len(broken) > 0:
			t.Errorf("%v is broken, and nothing was wrong", broken)
		case c.rule != "" && (len(broken) == 0 || broken[0].Rule != c.rule || !strings.Contains(broken[0].Message, c.say)):
			t.Errorf("%s, %q: %v", c.rule, c.say, broken)
		case len(broken) > 1:
			t.Errorf("%s: %v are broken too", c.rule, broken[1:])
		}
	}
}
