package store

import (
	"context"
	"errors"
	"fmt"
)

// leastJournal is how many bytes a journal may have before it is looked whether its
// oldest segment is still needed: so much is copied seldom, and read quickly.
const leastJournal = 4 * segmentBytes

// keeper knows what is still needed of a journal's records.
type keeper interface {
	// carry has the journal write again what is needed of a record that it is about
	// to forget.
	carry(record []byte) error
	// last is the number of the last letter.
	last() uint64
}

// tidier removes segments of a journal that the database has. What is still needed of
// them is written once more, at the journal's end. A journal of which that is most
// grows to twice its length before the next try, so a message is not copied more than
// a few times however long it waits.
type tidier struct {
	journal *Journal
	keeper  keeper
	least   uint64 // bytes of a journal that is left alone
	limit   uint64 // bytes from which on it is tried now
}

// errNotCarried is why a segment stays: what is needed of it was perhaps not written again.
var errNotCarried = errors.New("the journal could not be written to while its oldest segment was copied")

// note notes that the database has everything before a position. That is safe along
// with what is written next: if it is lost, something is applied once more.
func (t *tidier) note(position uint64) {
	last := uint64(0)
	if t.keeper != nil {
		last = t.keeper.last()
	}
	t.journal.Lazy(packMark(position, last))
}

// run removes the oldest segments if they are before a position and the journal is
// long enough.
func (t *tidier) run(ctx context.Context, position uint64) error {
	for {
		s, all := t.journal.oldest()
		if all <= t.limit || s.end > position || s.end == t.journal.End() {
			return nil
		}
		before, lost := t.journal.End(), t.journal.lost()
		if err := t.carry(s); err != nil {
			return err
		}
		t.note(position)
		if err := t.journal.Write(ctx, nil); err != nil {
			return err
		}
		if t.journal.lost() > lost {
			return errNotCarried
		}
		if err := t.journal.drop(); err != nil {
			return err
		}
		if copied := t.journal.End() - before; copied > (s.end-s.base)/2 {
			t.limit = 2 * all
			return nil
		}
		t.limit = t.least
	}
}

// carry has written again what is needed of a segment.
func (t *tidier) carry(s segment) error {
	for r := (reader{journal: t.journal, next: s.base}); r.next < s.end; {
		records, _, behind, err := r.read()
		if err != nil {
			return fmt.Errorf("read the journal's oldest segment: %w", err)
		}
		for _, record := range records {
			if err := t.carryRecord(record); err != nil {
				return fmt.Errorf("keep a record of the journal: %w", err)
			}
		}
		r.next = behind
	}
	return nil
}

func (t *tidier) carryRecord(record []byte) error {
	switch {
	case record[0] == packedRefused:
		t.journal.Lazy(record)
	case record[0] != packedMark && t.keeper != nil:
		return t.keeper.carry(record)
	}
	return nil
}
