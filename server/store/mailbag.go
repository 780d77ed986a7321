package store

import (
	"slices"
	"sort"
	"time"
)

// How messages are handed on. Most are delivered within seconds, and one that was
// delivered before needs one statement less: so they wait for that a little.
const (
	mailGather = 2 * time.Second        // how long a message waits to be delivered at most
	mailPause  = 250 * time.Millisecond // between looks at what may go
	mailRows   = 1000                   // messages at most in one transaction
	mailFull   = 16 << 10               // messages from which on none waits
)

// mailbag are messages on their way from the journal to the database, in the order of
// their numbers, and what was delivered of others.
type mailbag struct {
	rows []mailed
	late []mailed
}

// mailed is a message or a delivery, and the journal's position of it.
type mailed struct {
	entry
	at     uint64
	since  time.Time
	weight int64 // how many entries the database has when it has this
}

// add takes an entry of the journal about messages, which is at a position.
func (b *mailbag) add(e entry, at uint64) {
	m := mailed{e, at, time.Now(), 1}
	if e.Letter != nil {
		b.rows = append(b.rows, m)
		return
	}
	last := -1
	var others []uint64
	for _, n := range e.Delivered.Numbers {
		i := sort.Search(len(b.rows), func(i int) bool { return b.rows[i].Letter.Number >= n })
		if i == len(b.rows) || b.rows[i].Letter.Number != n || b.rows[i].Letter.Owner != e.Delivered.Owner {
			others = append(others, n)
			continue
		}
		b.rows[i].Letter.deliveredAt = e.Delivered.At
		last = max(last, i)
	}
	if last >= 0 { // the database has it when it has all up to this one
		b.rows[last].weight += m.weight
		m.weight = 0
	}
	if len(others) > 0 {
		m.Delivered = &deliveredLetters{e.Delivered.Owner, others, e.Delivered.At}
		b.late = append(b.late, m)
	}
}

// ripe is how many messages may go: of a row those that were delivered or have waited
// long enough, and all if somebody is in a hurry or there are too many.
func (b *mailbag) ripe(hurry bool) int {
	if hurry || len(b.rows) >= mailFull {
		return min(len(b.rows), mailRows)
	}
	before := time.Now().Add(-mailGather)
	n := 0
	for n < len(b.rows) && n < mailRows && (!b.rows[n].Letter.deliveredAt.IsZero() || !b.rows[n].since.After(before)) {
		n++
	}
	return n
}

// next are the entries that may go, n messages and all other deliveries.
func (b *mailbag) next(n int) (entries []entry) {
	for _, m := range b.rows[:n] {
		entries = append(entries, m.entry)
	}
	for _, m := range b.late {
		entries = append(entries, m.entry)
	}
	return entries
}

// gone forgets what next returned, and returns how many entries of the journal that were.
func (b *mailbag) gone(n int) (entries int64) {
	for _, m := range append(slices.Clone(b.rows[:n]), b.late...) {
		entries += m.weight
	}
	b.rows, b.late = slices.Delete(b.rows, 0, n), nil
	return entries
}

// position is that of the first entry that is in the bag, or else what is behind all.
func (b *mailbag) position(behind uint64) uint64 {
	if len(b.rows) > 0 {
		behind = min(behind, b.rows[0].at)
	}
	if len(b.late) > 0 {
		behind = min(behind, b.late[0].at)
	}
	return behind
}

func (b *mailbag) empty() bool { return len(b.rows) == 0 && len(b.late) == 0 }
