package store

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
)

// TestOutboxSetsAside goes on behind an entry that nobody can read and behind one that
// the database refuses: they are kept, and hold nothing up.
func TestOutboxSetsAside(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, nil)
	applied := make(chan string, 10)
	apply := func(_ context.Context, entries []entry) error {
		for _, e := range entries {
			if e.Call.CallID == "bad" {
				return errRefused
			}
		}
		for _, e := range entries {
			applied <- e.Call.CallID
		}
		return nil
	}
	o := newOutbox(j, 0, 1, apply, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := j.Write(ctx, []byte("no entry")); err != nil {
		t.Fatal(err)
	}
	o.start(nil)
	for _, id := range []string{"bad", "good"} {
		if err := o.write(ctx, entry{Call: &server.CallHistory{CallID: id, StartedAt: time.Now()}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.drained(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-applied; got != "good" || len(applied) != 0 {
		t.Errorf("applied were %q and %d more", got, len(applied))
	}
	o.close()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	var aside []string
	j = openTestJournal(t, dir, func(_ uint64, record []byte) error {
		if record[0] == packedRefused {
			aside = append(aside, string(record[1:]))
		}
		return nil
	})
	if len(aside) != 2 || aside[0] != "no entry" || !strings.Contains(aside[1], `"bad"`) {
		t.Errorf("set aside are %q", aside)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// openTestJournal opens the journal in a folder; take may be nil.
func openTestJournal(t *testing.T, dir string, take func(uint64, []byte) error) *Journal {
	t.Helper()
	if take == nil {
		take = func(uint64, []byte) error { return nil }
	}
	j, err := OpenJournal(dir, take)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
