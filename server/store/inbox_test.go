package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// inboxSuite is what every Inbox must do. Names of users are the test's own.
var inboxSuite = map[string]func(*testing.T, server.Inbox){
	"keeps":     testInboxKeeps,
	"parts":     testInboxParts,
	"repeats":   testInboxRepeats,
	"copies":    testInboxCopies,
	"calls":     testInboxCalls,
	"limit":     testInboxLimit,
	"many":      testInboxMany,
	"forgetful": testInboxForgets,
}

func runInboxSuite(t *testing.T, open func(t *testing.T) server.Inbox) {
	for name, test := range inboxSuite {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func TestMemoryInbox(t *testing.T) {
	runInboxSuite(t, func(*testing.T) server.Inbox { return new(store.MemoryInbox) })
}

func note(from, to, id string) signaling.Message {
	return signaling.Message{MessageID: id, From: from, To: to, Content: "says " + id, Timestamp: 1_700_000_000_123}
}

// put stores a message for its recipient, which must be new.
func put(t *testing.T, i server.Inbox, m signaling.Message) server.Letter {
	t.Helper()
	l, fresh, err := i.Put(t.Context(), m.To, m)
	if err != nil || !fresh || l.Number == 0 {
		t.Fatalf("put %s: %+v, fresh is %v, %v", m.MessageID, l, fresh, err)
	}
	return l
}

// waiting are the ids of what is undelivered.
func waiting(t *testing.T, i server.Inbox, owner string, after uint64, limit int) (ids []string) {
	t.Helper()
	letters, err := i.Undelivered(t.Context(), owner, after, limit)
	must(t, err)
	for _, l := range letters {
		ids = append(ids, l.Message.MessageID)
	}
	return ids
}

func testInboxKeeps(t *testing.T, i server.Inbox) {
	call := note("alice", "bob", "1")
	call.Call = &signaling.CallLog{CallID: "c", RoomID: "r", Outcome: signaling.OutcomeAccepted, Duration: 65}
	one := put(t, i, call)
	two := put(t, i, note("carol", "bob", "1")) // ids are a sender's own
	put(t, i, note("alice", "carol", "2"))
	letters, err := i.Undelivered(t.Context(), "bob", 0, 10)
	must(t, err)
	if len(letters) != 2 || letters[0].Number != one.Number || letters[1] != two || one.Number >= two.Number {
		t.Fatalf("bob's letters are %+v", letters)
	}
	got := letters[0].Message
	if got.Call == nil || *got.Call != *call.Call || got.From != "alice" || got.To != "bob" || got.Content != "says 1" || got.Timestamp != call.Timestamp {
		t.Errorf("kept is %+v", got)
	}
	must(t, i.Delivered(t.Context(), "bob", one.Number))
	must(t, i.Delivered(t.Context(), "bob", one.Number, 0, 1_000_000))
	must(t, i.Delivered(t.Context(), "carol", two.Number)) // it is not hers
	if got := waiting(t, i, "bob", 0, 10); !slices.Equal(got, []string{"1"}) {
		t.Errorf("after one was delivered %q wait", got)
	}
	must(t, i.Delivered(t.Context(), "bob", two.Number))
	if got := waiting(t, i, "bob", 0, 10); len(got) != 0 {
		t.Errorf("after both were delivered %q wait", got)
	}
	if got := waiting(t, i, "nobody", 0, 10); len(got) != 0 {
		t.Errorf("for nobody %q wait", got)
	}
}

func testInboxParts(t *testing.T, i server.Inbox) {
	var numbers []uint64
	for n := range 7 {
		numbers = append(numbers, put(t, i, note("alice", "bob", fmt.Sprint(n))).Number)
	}
	must(t, i.Delivered(t.Context(), "bob", numbers[1], numbers[4]))
	for after, want := range map[uint64][]string{0: {"0", "2", "3"}, numbers[0]: {"2", "3", "5"}, numbers[1]: {"2", "3", "5"}, numbers[3]: {"5", "6"}, numbers[6]: nil} {
		if got := waiting(t, i, "bob", after, 3); !slices.Equal(got, want) {
			t.Errorf("after %d wait %q, want %q", after, got, want)
		}
	}
}

// testInboxCalls makes as many calls as repetitions are recognised of: a message
// that was sent before them is still known.
func testInboxCalls(t *testing.T, i server.Inbox) {
	call := func(id string) signaling.Message {
		m := note("alice", "bob", id)
		m.Call = &signaling.CallLog{CallID: id, Outcome: signaling.OutcomeMissed}
		return m
	}
	put(t, i, note("alice", "bob", "first"))
	for n := range server.MaxRepeats {
		l := put(t, i, call(fmt.Sprint(n)))
		must(t, i.Delivered(t.Context(), "bob", l.Number))
	}
	if _, fresh, err := i.Put(t.Context(), "bob", note("alice", "bob", "first")); err != nil || fresh {
		t.Errorf("the calls have used up the window: fresh is %v, %v", fresh, err)
	}
	put(t, i, call("first")) // ids of messages are the client's, and none of the server's business
	if got := waiting(t, i, "bob", 0, 10); !slices.Equal(got, []string{"first", "first"}) {
		t.Errorf("%q wait", got)
	}
}

func testInboxRepeats(t *testing.T, i server.Inbox) {
	first := put(t, i, note("alice", "bob", "first"))
	repeated := func() bool {
		again := note("alice", "bob", "first")
		again.Timestamp++
		l, fresh, err := i.Put(t.Context(), "bob", again)
		must(t, err)
		if !fresh && (l.Number != first.Number || l.Message.Timestamp != first.Message.Timestamp || l.Message.To != "bob" || l.Message.From != "alice" || l.Message.MessageID != "first") {
			t.Errorf("the repeated one is %+v", l)
		}
		return !fresh
	}
	other := note("alice", "carol", "first")
	if l, fresh, err := i.Put(t.Context(), "carol", other); err != nil || fresh || l.Message.To != "bob" {
		t.Errorf("repeated to another: %+v, fresh is %v, %v", l, fresh, err)
	}
	must(t, i.Delivered(t.Context(), "bob", first.Number)) // and it is still known
	for n := range server.MaxRepeats - 1 {
		l := put(t, i, note("alice", "carol", fmt.Sprint(n)))
		must(t, i.Delivered(t.Context(), "carol", l.Number))
		put(t, i, note("dave", "erin", fmt.Sprint(n))) // others' do not count
	}
	if !repeated() {
		t.Errorf("the %d. last is not known any more", server.MaxRepeats)
	}
	if got := waiting(t, i, "bob", 0, 10); len(got) != 0 {
		t.Errorf("%q wait after a repetition", got)
	}
	put(t, i, note("alice", "carol", "one more"))
	put(t, i, note("alice", "carol", "two more"))
	if _, fresh, err := i.Put(t.Context(), "carol", note("alice", "carol", "one more")); err != nil || fresh {
		t.Errorf("one of the last: fresh is %v, %v", fresh, err)
	}
	if repeated() {
		t.Error("one of before the last ones is known")
	}
}

// testInboxCopies has a message of the server's own kept for both.
func testInboxCopies(t *testing.T, i server.Inbox) {
	m := note("alice", "bob", "call")
	put(t, i, m)
	l, fresh, err := i.Put(t.Context(), "alice", m)
	if err != nil || !fresh {
		t.Fatalf("the sender's copy: fresh is %v, %v", fresh, err)
	}
	for _, who := range []string{"alice", "bob"} {
		if got := waiting(t, i, who, 0, 10); !slices.Equal(got, []string{"call"}) {
			t.Errorf("for %s wait %q", who, got)
		}
	}
	must(t, i.Delivered(t.Context(), "alice", l.Number))
	if got := waiting(t, i, "bob", 0, 10); len(got) != 1 {
		t.Errorf("the sender's receipt left %q for bob", got)
	}
}

func testInboxLimit(t *testing.T, i server.Inbox) {
	var first server.Letter
	for n := range server.MaxUndelivered {
		if l := put(t, i, note("alice", "bob", fmt.Sprint(n))); n == 0 {
			first = l
		}
	}
	if _, _, err := i.Put(t.Context(), "bob", note("carol", "bob", "x")); !errors.Is(err, server.ErrInboxFull) {
		t.Errorf("one too many: %v", err)
	}
	last := fmt.Sprint(server.MaxUndelivered - 1)
	if _, fresh, err := i.Put(t.Context(), "bob", note("alice", "bob", last)); err != nil || fresh {
		t.Errorf("a repetition when the inbox is full: fresh is %v, %v", fresh, err)
	}
	put(t, i, note("alice", "carol", "y"))
	must(t, i.Delivered(t.Context(), "bob", first.Number))
	put(t, i, note("carol", "bob", "x")) // the one that was refused is no repetition
}

// testInboxMany has users write at once, each of whom keeps an order.
func testInboxMany(t *testing.T, i server.Inbox) {
	const users, each = 8, 50
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for n := range each {
				m := note(fmt.Sprint("from", u), "bob", fmt.Sprint(n))
				if _, fresh, err := i.Put(t.Context(), "bob", m); err != nil || !fresh {
					t.Errorf("put: fresh is %v, %v", fresh, err)
				}
			}
		})
	}
	all.Wait()
	letters, err := i.Undelivered(t.Context(), "bob", 0, users*each+1)
	must(t, err)
	next, last := make(map[string]int), uint64(0)
	for _, l := range letters {
		if l.Number <= last || l.Message.MessageID != fmt.Sprint(next[l.Message.From]) {
			t.Fatalf("letter %d of %s is %s after letter %d", l.Number, l.Message.From, l.Message.MessageID, last)
		}
		last = l.Number
		next[l.Message.From]++
	}
	if len(letters) != users*each {
		t.Errorf("%d letters, want %d", len(letters), users*each)
	}
}

// testInboxForgets empties an inbox over and over.
func testInboxForgets(t *testing.T, i server.Inbox) {
	last := uint64(0)
	for round := range 5 {
		var numbers []uint64
		for n := range 40 {
			l := put(t, i, note("alice", "bob", fmt.Sprint(round, n)))
			if l.Number <= last {
				t.Fatalf("number %d after %d", l.Number, last)
			}
			last = l.Number
			numbers = append(numbers, l.Number)
		}
		slices.Reverse(numbers)
		must(t, i.Delivered(t.Context(), "bob", numbers...))
		if got := waiting(t, i, "bob", 0, 100); len(got) != 0 {
			t.Fatalf("%q wait", got)
		}
	}
}
