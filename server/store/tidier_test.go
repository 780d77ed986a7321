package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// table is what a database has of letters, and whether it is away.
type table struct {
	away      atomic.Bool
	letters   map[uint64]string // content by number
	delivered map[uint64]bool
}

func (d *table) apply(_ context.Context, entries []entry) error {
	if d.away.Load() {
		return errors.New("away")
	}
	for _, e := range entries {
		if e.Letter != nil {
			d.letters[e.Letter.Number] = e.Letter.Message.Content
			if !e.Letter.deliveredAt.IsZero() {
				d.delivered[e.Letter.Number] = true
			}
		}
		if e.Delivered != nil {
			for _, n := range e.Delivered.Numbers {
				d.delivered[n] = true
			}
		}
	}
	return nil
}

// openTidied opens an inbox whose journal is tidied every few messages.
func openTidied(t *testing.T, dir string, d *table) *Inbox {
	t.Helper()
	known := newRecovered()
	j := openTestJournal(t, dir, known.take)
	j.segment = 3000
	o := newOutbox(j, known.from, len(known.entries), d.apply, slog.New(slog.DiscardHandler))
	o.tidy.least, o.tidy.limit = 6000, 6000
	i := &Inbox{outbox: o}
	known.fill(&i.memory)
	o.start(i)
	return i
}

func closeTidied(t *testing.T, i *Inbox) {
	t.Helper()
	i.outbox.close()
	closeJournal(t, i.outbox.journal)
}

// TestInboxTidied has few people write much, while the database is there and while it
// is away, and kills the server again and again by going on with a copy of its journal:
// what waits, what is recognised as repeated and what the database has in the end is
// as if nothing had happened, and the journal stays short.
func TestInboxTidied(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playTidied(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func playTidied(t *testing.T, random *rand.Rand) {
	dir, d := t.TempDir(), &table{letters: make(map[uint64]string), delivered: make(map[uint64]bool)}
	want, i := &MemoryInbox{}, openTidied(t, dir, d)
	sent := 0
	for range 6 {
		for range 200 {
			owner := fmt.Sprint("to", random.IntN(3))
			if random.IntN(3) == 0 {
				deliverSome(t, random, i, want, owner)
				continue
			}
			m := signaling.Message{MessageID: fmt.Sprint("m", sent), From: fmt.Sprint("from", random.IntN(2)), To: owner, Content: fmt.Sprint("content ", sent)}
			sent++
			putBoth(t, i, want, m)
		}
		if err := i.outbox.journal.Write(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		closeTidied(t, i)
		d.away.Store(random.IntN(2) == 0)
		dir, i = killed, openTidied(t, killed, d)
		compareInboxes(t, i, want)
	}
	d.away.Store(false)
	if err := i.outbox.drained(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeTidied(t, i)
	if _, all := i.outbox.journal.oldest(); all > 200_000 {
		t.Errorf("the journal has %d bytes", all)
	}
	if len(d.letters) != sent {
		t.Errorf("the database has %d letters of %d", len(d.letters), sent)
	}
	for n := range d.letters {
		if waits := want.holds("to0", n) || want.holds("to1", n) || want.holds("to2", n); waits == d.delivered[n] {
			t.Errorf("letter %d waits: %v; the database says that it was delivered: %v", n, waits, d.delivered[n])
		}
	}
}

// fullDisk is a keeper that has a record written again while the disk takes nothing.
type fullDisk struct {
	t       *testing.T
	journal *Journal
	full    bool
}

func (k *fullDisk) last() uint64 { return 0 }

func (k *fullDisk) carry(record []byte) error {
	k.journal.Lazy(record)
	if !k.full {
		return nil
	}
	blocked := filepath.Join(k.journal.dir, segment{base: k.journal.End()}.name())
	if err := os.Mkdir(blocked, 0o700); err != nil {
		k.t.Fatal(err)
	}
	if err := k.journal.Write(k.t.Context(), []byte("somebody else's")); err == nil {
		k.t.Error("it was written")
	}
	return os.Remove(blocked)
}

// TestTidierLosesNothing keeps a segment while a write fails that had what is needed
// of it.
func TestTidierLosesNothing(t *testing.T) {
	j := openTestJournal(t, t.TempDir(), nil)
	defer closeJournal(t, j)
	j.segment = 1 // each record has a file of its own
	needed := appendLetter(nil, ownedLetter{Owner: "bob", Letter: server.Letter{Number: 1}})
	for _, record := range [][]byte{needed, packRefused(needed)} {
		if err := j.Write(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	k := &fullDisk{t, j, true}
	tidy := tidier{journal: j, keeper: k}
	if err := tidy.run(t.Context(), j.End()); !errors.Is(err, errNotCarried) {
		t.Errorf("it went on: %v", err)
	}
	k.full = false
	if err := tidy.run(t.Context(), j.End()); err != nil {
		t.Error(err)
	}
	if s, _ := j.oldest(); s.base == 0 {
		t.Error("the oldest segment stays")
	}
	if got := readAll(t, j, j.segments[0].base); !slices.Contains(got, string(needed)) {
		t.Errorf("what is needed is not among %q", got)
	}
}

// putBoth puts a message into both inboxes, which number it alike.
func putBoth(t *testing.T, i *Inbox, want *MemoryInbox, m signaling.Message) {
	t.Helper()
	l, fresh, err := i.PutThen(t.Context(), m.To, m, func(_ server.Letter, _ bool, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	also, _, _ := want.Put(t.Context(), m.To, m)
	if err != nil || !fresh || l != also {
		t.Errorf("put %+v, want %+v; fresh is %v, %v", l, also, fresh, err)
	}
	time.Sleep(time.Millisecond)
}

func deliverSome(t *testing.T, random *rand.Rand, i *Inbox, want *MemoryInbox, owner string) {
	t.Helper()
	letters, _ := want.Undelivered(t.Context(), owner, 0, 1000)
	for _, l := range letters {
		if random.IntN(4) == 0 {
			continue // some wait for long
		}
		for _, inbox := range []server.Inbox{i, want} {
			if err := inbox.Delivered(t.Context(), owner, l.Number); err != nil {
				t.Error(err)
			}
		}
	}
}

func compareInboxes(t *testing.T, i *Inbox, want *MemoryInbox) {
	t.Helper()
	for n := range 3 {
		owner := fmt.Sprint("to", n)
		got, _ := i.memory.Undelivered(t.Context(), owner, 0, 1000)
		waits, _ := want.Undelivered(t.Context(), owner, 0, 1000)
		if d := cmp.Diff(waits, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("what waits for %s is different:\n%s", owner, d)
		}
	}
	for user, s := range want.senders {
		if d := cmp.Diff(s.byID, i.memory.senders[user].byID); d != "" {
			t.Errorf("what %s sent is different:\n%s", user, d)
		}
	}
	if i.memory.last < want.last {
		t.Errorf("the last number is %d, want %d", i.memory.last, want.last)
	}
}
