package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/callbench/callbench/server/store"
)

var testBucket = []byte("test")

// add appends a value to the test's bucket.
func add(value string) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(testBucket)
		if err != nil {
			return err
		}
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		return b.Put(fmt.Appendf(nil, "%09d", n), []byte(value))
	}
}

// values are what was added, in its order, and how many commits there were.
func values(t *testing.T, j *store.Journal) (all []string, commits int) {
	t.Helper()
	must(t, j.View(func(tx *bolt.Tx) error {
		commits = tx.ID()
		b := tx.Bucket(testBucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(_, v []byte) error {
			all = append(all, string(v))
			return nil
		})
	}))
	return all, commits
}

func openJournal(t *testing.T, dir string) *store.Journal {
	t.Helper()
	j, err := store.OpenJournal(dir)
	must(t, err)
	return j
}

// TestJournalTogether has many write at the same time: all are safe, in the order
// in which each wrote, and with far fewer commits than writes.
func TestJournalTogether(t *testing.T) {
	const users, each = 50, 20
	dir := t.TempDir() + "/made"
	j := openJournal(t, dir)
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for n := range each {
				if err := j.Write(t.Context(), add(fmt.Sprintf("%02d:%02d", u, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, j.Close())
	j = openJournal(t, dir)
	got, commits := values(t, j)
	if len(got) != users*each {
		t.Errorf("%d values, want %d", len(got), users*each)
	}
	for u := range users {
		own := slices.DeleteFunc(slices.Clone(got), func(v string) bool { return !strings.HasPrefix(v, fmt.Sprintf("%02d:", u)) })
		if !slices.IsSorted(own) || len(own) != each {
			t.Errorf("writer %d wrote %q", u, own)
		}
	}
	if commits > users*each/4 {
		t.Errorf("%d commits for %d writes", commits, users*each)
	}
	must(t, j.Close())
}

// TestJournalOrder has one write much without waiting.
func TestJournalOrder(t *testing.T) {
	j := openJournal(t, t.TempDir())
	var want, told []string
	for n := range 500 {
		value := fmt.Sprintf("%03d", n)
		want = append(want, value)
		j.Do(add(value), func(err error) {
			must(t, err)
			told = append(told, value)
		})
	}
	must(t, j.Write(t.Context(), nil)) // behind all others
	got, _ := values(t, j)
	same(t, "written", got, want)
	same(t, "told", told, want)
	must(t, j.Close())
}

// TestJournalFailure has one of many writes fail: it fails alone, and nothing of
// it is written.
func TestJournalFailure(t *testing.T) {
	j := openJournal(t, t.TempDir())
	mistake := errors.New("a mistake")
	var errs []error
	for n := range 9 {
		j.Do(func(tx *bolt.Tx) error {
			if err := add(fmt.Sprint(n))(tx); err != nil || n != 4 {
				return err
			}
			return mistake
		}, func(err error) { errs = append(errs, err) })
	}
	must(t, j.Write(t.Context(), nil))
	for n, err := range errs {
		if errors.Is(err, mistake) != (n == 4) {
			t.Errorf("write %d: %v", n, err)
		}
	}
	if got, _ := values(t, j); slices.Contains(got, "4") || len(got) != 8 {
		t.Errorf("written are %q", got)
	}
	must(t, j.Close())
}

func TestJournalClosed(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	if _, err := store.OpenJournal(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one: %v", err)
	}
	j.Do(add("last"), nil)
	must(t, j.Close())
	must(t, j.Close())
	if err := j.Write(t.Context(), add("too late")); err == nil {
		t.Error("a closed journal was written to")
	}
	j = openJournal(t, dir)
	if got, _ := values(t, j); !slices.Equal(got, []string{"last"}) {
		t.Errorf("written are %q", got)
	}
	must(t, j.Close())
	if _, err := store.OpenJournal("/dev/null/x"); err == nil {
		t.Error("a journal where none can be")
	}
}
