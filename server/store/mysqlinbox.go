package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// rememberFor is how far back repetitions are looked for in the database when
// there is no journal that knows them.
const rememberFor = 24 * time.Hour

// errWithdrawn is what becomes of the repetition of a message that could not be kept.
var errWithdrawn = errors.New("the message that it repeats could not be stored")

// Inbox is a server.Inbox of which each change is safe in a journal before it is
// acknowledged, and in the database as soon as that can take it. What it is asked
// it knows itself, with or without the database.
type Inbox struct {
	memory MemoryInbox
	outbox *outbox
	order  sync.Mutex // held while memory and the journal change: both know one order
	record []byte     // of a letter that is being put
}

// openInbox goes on with the letters of the journal. A new one begins with those
// that the database knows.
func openInbox(ctx context.Context, o *outbox, known *recovered, db *sql.DB) (*Inbox, error) {
	i := &Inbox{outbox: o}
	if known.marked {
		known.fill(&i.memory)
		return i, nil
	}
	// Numbers grow from one journal to the next, and are different on machines that
	// begin one at different times.
	i.memory.last = uint64(time.Now().UnixMicro())
	if err := i.adopt(ctx, db); err != nil {
		return nil, fmt.Errorf("read the letters of the database: %w", err)
	}
	return i, nil
}

const (
	sqlWaiting = `SELECT owner, number, messageId, fromUser, toUser, content, callLog, sentTime FROM messages
		WHERE deliveredTime IS NULL ORDER BY number`
	sqlSent = `SELECT owner, number, messageId, fromUser, toUser, '', NULL, sentTime FROM messages
		WHERE sentTime >= ? AND owner = toUser AND callLog IS NULL ORDER BY number`
)

// adopt begins a journal with what the database knows.
func (i *Inbox) adopt(ctx context.Context, db *sql.DB) error {
	waiting, err := read(ctx, db, "messages", scanLetter, sqlWaiting)
	if err != nil {
		return err
	}
	sent, err := read(ctx, db, "messages", scanLetter, sqlSent, at3(time.Now().Add(-rememberFor)))
	if err != nil {
		return err
	}
	for _, l := range waiting {
		record, err := packKept(l)
		if err != nil {
			return err
		}
		i.outbox.journal.Lazy(record)
		i.memory.keep(l.Owner, l.Letter)
	}
	for _, l := range sent {
		i.outbox.journal.Lazy(packSent(l.Letter))
		i.memory.remember(l.Letter)
	}
	return i.outbox.journal.Write(ctx, packMark(i.outbox.rest.next, i.memory.last))
}

func scanLetter(scan func(...any) error) (l ownedLetter, err error) {
	var log []byte
	var at time.Time
	m := &l.Message
	if err := scan(&l.Owner, &l.Number, &m.MessageID, &m.From, &m.To, &m.Content, &log, &at); err != nil {
		return l, err
	}
	m.Timestamp = at.UnixMilli()
	if len(log) == 0 {
		return l, nil
	}
	m.Call = new(signaling.CallLog)
	return l, json.Unmarshal(log, m.Call)
}

// Put implements server.Inbox. It returns when the letter is safe.
func (i *Inbox) Put(ctx context.Context, owner string, m signaling.Message) (l server.Letter, fresh bool, err error) {
	safe := make(chan error, 1)
	l, fresh, err = i.PutThen(ctx, owner, m, func(_ server.Letter, _ bool, err error) { safe <- err })
	if err != nil {
		return l, false, err
	}
	select {
	case err := <-safe:
		return l, fresh, err
	case <-ctx.Done():
		return l, false, ctx.Err()
	}
}

// PutThen implements server.EagerInbox.
func (i *Inbox) PutThen(_ context.Context, owner string, m signaling.Message, safe func(server.Letter, bool, error)) (server.Letter, bool, error) {
	i.order.Lock()
	defer i.order.Unlock()
	l, fresh, err := i.memory.put(owner, m)
	switch {
	case err != nil:
		return l, false, err
	case !fresh: // as safe as the first
		i.outbox.journal.Do(nil, func(err error) {
			if err == nil && !i.memory.remembers(l) {
				err = errWithdrawn
			}
			safe(l, false, err)
		})
		return l, false, nil
	}
	i.post(ownedLetter{Owner: owner, Letter: l}, func(err error) {
		if err != nil {
			i.memory.withdraw(owner, l)
		}
		safe(l, true, err)
	})
	return l, true, nil
}

// post is outbox.post of a letter. i.order is held.
func (i *Inbox) post(l ownedLetter, then func(error)) {
	if l.Message.Call != nil {
		about := l // l itself stays on the stack
		i.outbox.post(entry{Letter: &about}, then)
		return
	}
	i.record = appendLetter(i.record[:0], l)
	i.outbox.postRecord(i.record, i.outbox.mail, then)
}

// Undelivered implements server.Inbox.
func (i *Inbox) Undelivered(ctx context.Context, owner string, after uint64, limit int) ([]server.Letter, error) {
	return i.memory.Undelivered(ctx, owner, after, limit)
}

// Delivered implements server.Inbox. It does not wait: what a crash forgets is
// delivered once more.
func (i *Inbox) Delivered(_ context.Context, owner string, numbers ...uint64) error {
	i.order.Lock()
	defer i.order.Unlock()
	if were := i.memory.delivered(owner, numbers); len(were) > 0 {
		i.outbox.post(entry{Delivered: &deliveredLetters{owner, were, time.Now()}}, func(error) {})
	}
	return nil
}

// carry implements keeper: a letter that waits is kept, and a message that was sent
// is remembered.
func (i *Inbox) carry(record []byte) error {
	if record[0] == packedSent {
		l, err := unpackSent(record)
		if err == nil && i.memory.remembers(l) {
			i.outbox.journal.Lazy(record)
		}
		return err
	}
	l, err := letterOf(record)
	if err != nil || l == nil {
		return err
	}
	i.order.Lock()
	defer i.order.Unlock()
	if i.memory.remembers(l.Letter) {
		i.outbox.journal.Lazy(packSent(l.Letter))
	}
	if !i.memory.holds(l.Owner, l.Number) {
		return nil
	}
	kept, err := packKept(*l)
	if err == nil {
		i.outbox.journal.Lazy(kept)
	}
	return err
}

// last implements keeper.
func (i *Inbox) last() uint64 {
	i.memory.mu.Lock()
	defer i.memory.mu.Unlock()
	return i.memory.last
}
