package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// mailRoom is an outbox whose database writes down what it is told, and when.
type mailRoom struct {
	*Inbox
	begun time.Time

	mu   sync.Mutex
	told []string
}

func (m *mailRoom) apply(_ context.Context, entries []entry) error {
	at := time.Since(m.begun).Truncate(time.Second)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		what := e.String()
		if e.Letter != nil && !e.Letter.deliveredAt.IsZero() {
			what += ", delivered"
		}
		m.told = append(m.told, fmt.Sprintf("%v %s", at, what))
	}
	return nil
}

func newMailRoom(t *testing.T) *mailRoom {
	t.Helper()
	m := &mailRoom{begun: time.Now()}
	o := newOutbox(openTestJournal(t, t.TempDir(), nil), 0, 0, m.apply, slog.New(slog.DiscardHandler))
	m.Inbox = &Inbox{outbox: o}
	o.start(m.Inbox)
	return m
}

// letter puts a message, and returns its number.
func (m *mailRoom) letter(t *testing.T, id, to string) uint64 {
	t.Helper()
	l, fresh, err := m.Put(t.Context(), to, signaling.Message{MessageID: id, From: "alice", To: to})
	if err != nil || !fresh {
		t.Fatalf("put %s: fresh is %v, %v", id, fresh, err)
	}
	return l.Number
}

func (m *mailRoom) deliver(t *testing.T, to string, numbers ...uint64) {
	t.Helper()
	if err := m.Delivered(t.Context(), to, numbers...); err != nil {
		t.Error(err)
	}
}

// expect expects what the database was told since, in this order.
func (m *mailRoom) expect(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.told, want) {
		t.Errorf("the database was told %q, want %q", m.told, want)
	}
	m.told = nil
}

// TestMailbag has messages delivered at once, later and never: those that were in time
// are told once, none overtakes another, and history waits for none of them.
func TestMailbag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailRoom(t)
		one, two, _ := m.letter(t, "1", "bob"), m.letter(t, "2", "carol"), m.letter(t, "3", "bob")
		if err := m.outbox.write(t.Context(), entry{Call: &server.CallHistory{CallID: "c"}}); err != nil {
			t.Fatal(err)
		}
		m.deliver(t, "bob", one, two) // the second is not bob's
		time.Sleep(time.Second)
		m.expect(t, "0s call c", "0s message 1 for bob, delivered")
		if n := m.outbox.waiting.Load(); n != 2 {
			t.Errorf("%d entries wait, want 2", n)
		}
		time.Sleep(2 * time.Second)
		m.expect(t, "2s message 2 for carol", "2s message 3 for bob")
		m.deliver(t, "carol", two)
		time.Sleep(time.Second)
		m.expect(t, "3s delivery to carol")
		m.letter(t, "4", "bob")
		if err := m.outbox.drained(t.Context()); err != nil { // somebody is in a hurry
			t.Error(err)
		}
		m.expect(t, "4s message 4 for bob")
		closeTidied(t, m.Inbox)
		if n, end := m.outbox.waiting.Load(), m.outbox.bag.position(m.outbox.rest.next); n != 0 || end != m.outbox.rest.next {
			t.Errorf("%d entries wait behind position %d", n, end)
		}
	})
}

// TestMailbagAgain ends a server while messages are in its bag: the next one hands them
// on, with what was delivered of them.
func TestMailbagAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailRoom(t)
		m.letter(t, "1", "bob")
		two := m.letter(t, "2", "bob")
		m.deliver(t, "bob", two)
		time.Sleep(time.Second)
		m.expect(t)
		dir := m.outbox.journal.dir
		closeTidied(t, m.Inbox)
		known := newRecovered()
		j := openTestJournal(t, dir, known.take)
		o := newOutbox(j, known.from, len(known.entries), m.apply, slog.New(slog.DiscardHandler))
		o.start(nil)
		if err := o.drained(t.Context()); err != nil {
			t.Error(err)
		}
		m.expect(t, "1s message 1 for bob", "1s message 2 for bob, delivered")
		o.close()
		closeJournal(t, j)
	})
}

// TestMailbagFull has more messages come than may wait.
func TestMailbagFull(t *testing.T) {
	var b mailbag
	for n := range uint64(mailFull) {
		if n == mailFull-1 && b.ripe(false) != 0 {
			t.Error("some may go before it is full")
		}
		b.add(entry{Letter: &ownedLetter{Owner: "bob", Letter: server.Letter{Number: n + 1}}}, 10*n)
	}
	n := b.ripe(false)
	if n != mailRows || len(b.next(n)) != n || b.gone(n) != int64(n) || b.position(0) != 0 || b.position(1<<40) != 10*mailRows {
		t.Errorf("%d may go", n)
	}
}
