package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// openListing opens the journal in a folder, and lists what is in it.
func openListing(t *testing.T, dir string) (j *Journal, records []string) {
	t.Helper()
	j = openTestJournal(t, dir, func(_ uint64, record []byte) error {
		records = append(records, string(record))
		return nil
	})
	return j, records
}

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// segmentFiles are the files of a journal, the oldest first.
func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/journal-*.log")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestJournalTogether has many write at the same time: all are safe, in the order
// in which each wrote, over several segments.
func TestJournalTogether(t *testing.T) {
	const users, each = 50, 20
	dir := t.TempDir() + "/made"
	j := openTestJournal(t, dir, nil)
	j.segment = 1000
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for n := range each {
				if err := j.Write(t.Context(), fmt.Appendf(nil, "%02d:%02d", u, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	closeJournal(t, j)
	j, got := openListing(t, dir)
	if len(got) != users*each {
		t.Errorf("%d records, want %d", len(got), users*each)
	}
	for u := range users {
		own := slices.DeleteFunc(slices.Clone(got), func(v string) bool { return !strings.HasPrefix(v, fmt.Sprintf("%02d:", u)) })
		if !slices.IsSorted(own) || len(own) != each {
			t.Errorf("writer %d wrote %q", u, own)
		}
	}
	if files := segmentFiles(t, dir); len(files) < users*each*13/2000 {
		t.Errorf("all is in %q", files)
	}
	closeJournal(t, j)
}

// TestJournalSharesCommits has many write at the same time, in virtual time: few
// batches are written.
func TestJournalSharesCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := openTestJournal(t, t.TempDir(), nil)
		batches := make(map[uint64]bool)
		for n := range 500 {
			j.Do([]byte{byte(n)}, func(err error) {
				if err != nil {
					t.Error(err)
				}
				batches[j.End()] = true
			})
		}
		if err := j.Write(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if len(batches) > 100 {
			t.Errorf("%d batches for 500 records", len(batches))
		}
		closeJournal(t, j)
	})
}

// TestJournalOrder has one write much without waiting, some of it lazily, and reads it
// back in pieces.
func TestJournalOrder(t *testing.T) {
	j := openTestJournal(t, t.TempDir(), nil)
	j.segment = 2000
	var want, told []string
	for n := range 500 {
		record := strings.Repeat(fmt.Sprintf("%03d", n), 1+n%9)
		want = append(want, record)
		if n%3 == 0 {
			j.Lazy([]byte(record))
			continue
		}
		j.Do([]byte(record), func(err error) {
			if err != nil {
				t.Error(err)
			}
			told = append(told, record)
		})
		if n%100 == 1 {
			if err := j.Write(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	}
	if err := j.Write(t.Context(), nil); err != nil { // behind all others
		t.Error(err)
	}
	if got := readAll(t, j, 0); !slices.Equal(got, want) {
		t.Errorf("written are %q", got)
	}
	var waited []string
	for n, record := range want {
		if n%3 != 0 {
			waited = append(waited, record)
		}
	}
	if !slices.Equal(told, waited) {
		t.Errorf("told were %q", told)
	}
	closeJournal(t, j)
}

// readAll reads a journal from a position on.
func readAll(t *testing.T, j *Journal, from uint64) (all []string) {
	t.Helper()
	r := reader{journal: j, next: from}
	for {
		records, at, behind, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return all
		}
		if at[0] != r.next {
			t.Fatalf("position %d is read as %d", r.next, at[0])
		}
		for _, record := range records {
			all = append(all, string(record))
		}
		r.next = behind
	}
}

// TestJournalLarge reads a record that is larger than what is read at a time.
func TestJournalLarge(t *testing.T) {
	j := openTestJournal(t, t.TempDir(), nil)
	want := []string{"small", strings.Repeat("large", readBytes), "last"}
	for _, record := range want {
		j.Do([]byte(record), nil)
	}
	if err := j.Write(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := readAll(t, j, 0); !slices.Equal(got, want) {
		t.Errorf("read are %.100q", got)
	}
	closeJournal(t, j)
}

// TestJournalCutOff cuts the last segment, or damages it, anywhere: what is whole
// before that is there, and the journal goes on behind it.
func TestJournalCutOff(t *testing.T) {
	full := t.TempDir()
	j := openTestJournal(t, full, nil)
	for n := range 3 {
		if err := j.Write(t.Context(), fmt.Append(nil, "record", n)); err != nil {
			t.Fatal(err)
		}
	}
	closeJournal(t, j)
	whole, err := os.ReadFile(segmentFiles(t, full)[0])
	if err != nil {
		t.Fatal(err)
	}
	const each = recordHead + len("record0")
	for n := range len(whole) {
		damaged := slices.Clone(whole)
		damaged[n] ^= 0x40
		zeros := append(slices.Clone(whole[:n]), make([]byte, 50)...)
		for what, content := range map[string][]byte{"cut": whole[:n], "damaged": damaged, "zeros": zeros} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, segment{}.name()), content, 0o600); err != nil {
				t.Fatal(err)
			}
			j, got := openListing(t, dir)
			if want := []string{"record0", "record1", "record2"}[:n/each]; !slices.Equal(got, want) {
				t.Errorf("%s at %d: %q", what, n, got)
			}
			if err := j.Write(t.Context(), []byte("next")); err != nil {
				t.Error(err)
			}
			closeJournal(t, j)
			j, again := openListing(t, dir)
			if !slices.Equal(again, append(got, "next")) {
				t.Errorf("%s at %d, and written to: %q", what, n, again)
			}
			closeJournal(t, j)
		}
	}
}

// TestJournalRefusals has a journal that cannot be trusted: a file is missing or
// damaged that others follow, an earlier version's is there, or what is read is refused.
func TestJournalRefusals(t *testing.T) {
	for want, harm := range map[string]func(files []string) error{
		"does not go on":  func(files []string) error { return os.Remove(files[1]) },
		"damaged":         func(files []string) error { return os.Truncate(files[1], 5) },
		"earlier version": func(files []string) error { return os.WriteFile(filepath.Dir(files[0])+"/journal.db", nil, 0o600) },
		"at byte 0":       func([]string) error { return nil },
	} {
		dir := t.TempDir()
		j := openTestJournal(t, dir, nil)
		j.segment = 10
		for range 3 {
			if err := j.Write(t.Context(), []byte("record")); err != nil {
				t.Fatal(err)
			}
		}
		closeJournal(t, j)
		if err := harm(segmentFiles(t, dir)); err != nil {
			t.Fatal(err)
		}
		_, err := OpenJournal(dir, func(uint64, []byte) error {
			if want == "at byte 0" {
				return errors.New("no")
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestJournalFailure has a disk that takes nothing for a while: who writes then is told,
// nothing of it is there, and what is written later is.
func TestJournalFailure(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, nil)
	if err := j.Write(t.Context(), []byte("first")); err != nil {
		t.Fatal(err)
	}
	j.segment = 1 // the next needs a file, which cannot be made
	blocked := filepath.Join(dir, segment{base: j.End()}.name())
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Write(t.Context(), []byte("lost")); err == nil {
		t.Error("it was written")
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	if err := j.Write(t.Context(), []byte("second")); err != nil {
		t.Error(err)
	}
	closeJournal(t, j)
	j, got := openListing(t, dir)
	if !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("written are %q", got)
	}
	closeJournal(t, j)
}

func TestJournalClosed(t *testing.T) {
	dir := t.TempDir()
	j := openTestJournal(t, dir, nil)
	if _, err := OpenJournal(dir, nil); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one: %v", err)
	}
	j.Do([]byte("last but one"), nil)
	j.Lazy([]byte("last"))
	closeJournal(t, j)
	closeJournal(t, j)
	if err := j.Write(t.Context(), []byte("too late")); err == nil {
		t.Error("a closed journal was written to")
	}
	j, got := openListing(t, dir)
	if !slices.Equal(got, []string{"last but one", "last"}) {
		t.Errorf("written are %q", got)
	}
	closeJournal(t, j)
	if _, err := OpenJournal("/dev/null/x", nil); err == nil {
		t.Error("a journal where none can be")
	}
}

// FuzzSegment opens a file of any content: that is refused or read up to somewhere,
// and then holds what is written to it.
func FuzzSegment(f *testing.F) {
	whole := appendRecord(appendRecord(nil, []byte("one")), []byte("two"))
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(slices.Clone(whole), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, segment{}.name()), content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, got := openListing(t, dir)
		if err := j.Write(t.Context(), []byte("next")); err != nil {
			t.Fatal(err)
		}
		closeJournal(t, j)
		j, again := openListing(t, dir)
		if !slices.Equal(again, append(got, "next")) {
			t.Errorf("%q, and then %q", got, again)
		}
		closeJournal(t, j)
	})
}

// FuzzRecovered reads records of any content, of which the outbox is left what cannot
// be read.
func FuzzRecovered(f *testing.F) {
	for _, record := range [][]byte{packMark(1, 2), {packedLetter, 1}, {packedKept}, {packedSent, 3}, []byte(`{"delivered":{"numbers":[1]}}`)} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) == 0 {
			return // there are none
		}
		if err := newRecovered().take(0, record); err != nil && isEntry(record) {
			t.Error(err)
		}
	})
}
