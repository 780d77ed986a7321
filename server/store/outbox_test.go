package store

import (
	"context"
	"log/slog"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/callbench/callbench/server"
)

// TestOutboxSetsAside goes on behind an entry that nobody can read and behind one that
// the database refuses: they are kept, and hold nothing up.
func TestOutboxSetsAside(t *testing.T) {
	j, err := OpenJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
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
	o, err := newOutbox(j, apply, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = j.Write(ctx, func(tx *bolt.Tx) error { return appendTo(tx.Bucket(outboxBucket), []byte("no entry")) })
	if err != nil {
		t.Fatal(err)
	}
	o.waiting.Add(1)
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
	aside := 0
	err = j.View(func(tx *bolt.Tx) error {
		aside = tx.Bucket(refusedBucket).Stats().KeyN
		return nil
	})
	if err != nil || aside != 2 {
		t.Errorf("set aside are %d, %v", aside, err)
	}
	o.close()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
