package store

import (
	"maps"
	"slices"

	"github.com/callbench/callbench/server"
)

// recovered is what a journal says when it is opened.
type recovered struct {
	marked  bool                   // letters of the database were taken over
	from    uint64                 // the database has everything before this position
	last    uint64                 // number of a letter
	entries []uint64               // positions of entries that it does not have
	letters map[uint64]ownedLetter // what waits for its owner, by number
	sent    map[uint64]server.Letter
}

func newRecovered() *recovered {
	return &recovered{letters: make(map[uint64]ownedLetter), sent: make(map[uint64]server.Letter)}
}

// take notes the next record.
func (r *recovered) take(at uint64, record []byte) error {
	switch record[0] {
	case packedMark:
		return r.mark(record)
	case packedSent:
		l, err := unpackSent(record)
		r.sent[l.Number] = l
		return err
	case packedRefused:
		return nil
	}
	if isEntry(record) {
		r.entries = append(r.entries, at)
	}
	return r.letter(record)
}

func (r *recovered) mark(record []byte) error {
	position, last, err := unpackMark(record)
	if err != nil {
		return err
	}
	r.marked, r.from, r.last = true, max(r.from, position), max(r.last, last)
	n, _ := slices.BinarySearch(r.entries, r.from)
	r.entries = r.entries[n:]
	return nil
}

// letter notes what a record says of letters.
func (r *recovered) letter(record []byte) error {
	l, err := letterOf(record)
	if err != nil {
		return err
	}
	if l != nil {
		r.letters[l.Number], r.last = *l, max(r.last, l.Number)
		if repeatable(l.Owner, l.Message) && record[0] != packedKept {
			r.sent[l.Number] = l.Letter
		}
		return nil
	}
	if e, err := decodeEntry(record); err == nil && e.Delivered != nil { // the outbox sets aside what cannot be read
		for _, n := range e.Delivered.Numbers {
			delete(r.letters, n)
		}
	}
	return nil
}

// fill gives an inbox what was recovered, in the order in which it came.
func (r *recovered) fill(i *MemoryInbox) {
	i.last = r.last
	for _, n := range slices.Sorted(maps.Keys(r.sent)) {
		i.remember(r.sent[n])
	}
	for _, n := range slices.Sorted(maps.Keys(r.letters)) {
		i.keep(r.letters[n].Owner, r.letters[n].Letter)
	}
}

// letterOf is the letter of a record; nil if it is about something else, or unreadable
// and so the outbox's to set aside.
func letterOf(record []byte) (*ownedLetter, error) {
	if record[0] == packedKept {
		e, err := decodeEntry(record[1:])
		return e.Letter, err
	}
	e, err := decodeEntry(record)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return e.Letter, nil
}
