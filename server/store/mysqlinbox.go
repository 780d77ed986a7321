package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// rememberFor is how far back repetitions are looked for in the database when
// there is no journal that knows them.
const rememberFor = 24 * time.Hour

// Inbox is a server.Inbox of which each change is safe in a journal before it is
// acknowledged, and in the database as soon as that can take it. What it is asked
// it knows itself, with or without the database.
type Inbox struct {
	memory MemoryInbox
	outbox *outbox
}

// openInbox goes on with the letters of the journal. A new one begins with those
// that the database knows.
func openInbox(ctx context.Context, o *outbox, db *sql.DB) (*Inbox, error) {
	i := &Inbox{outbox: o}
	known := false
	if err := o.journal.View(func(tx *bolt.Tx) error {
		if known = tx.Bucket(lettersBucket) != nil; !known {
			return nil
		}
		return i.load(tx)
	}); err != nil {
		return nil, fmt.Errorf("read the letters of the journal: %w", err)
	}
	if known {
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

// load reads letters, and what is remembered, from the journal.
func (i *Inbox) load(tx *bolt.Tx) error {
	i.memory.last = tx.Bucket(lettersBucket).Sequence()
	err := tx.Bucket(sentBucket).ForEach(func(k, v []byte) error {
		l, err := unpackSent(number(k), v)
		if err != nil {
			return err
		}
		i.memory.remember(l)
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(lettersBucket).ForEach(func(_, v []byte) error {
		e, err := decodeEntry(v)
		if err != nil {
			return err
		}
		i.memory.keep(e.Letter.Owner, e.Letter.Letter)
		return nil
	})
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
	last := i.memory.last
	return i.outbox.journal.Write(ctx, func(tx *bolt.Tx) error {
		letters, err := tx.CreateBucket(lettersBucket)
		if err != nil {
			return err
		}
		if _, err = tx.CreateBucket(sentBucket); err != nil {
			return err
		}
		for _, l := range waiting {
			value, err := encodeEntry(entry{Letter: &l})
			if err != nil {
				return err
			}
			if err := letters.Put(key(l.Number), value); err != nil {
				return err
			}
			i.memory.keep(l.Owner, l.Letter)
		}
		for _, l := range sent {
			if err := i.note(tx, l.Letter, i.memory.remember(l.Letter)); err != nil {
				return err
			}
		}
		return letters.SetSequence(last)
	})
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
	l, fresh, forgotten, err := i.memory.put(owner, m)
	switch {
	case err != nil:
		return l, false, err
	case !fresh: // as safe as the first
		i.outbox.journal.Do(nil, func(err error) { safe(l, false, err) })
		return l, false, nil
	}
	i.outbox.post(entry{Letter: &ownedLetter{owner, l}}, func(tx *bolt.Tx, value []byte) error {
		letters := tx.Bucket(lettersBucket)
		if err := letters.SetSequence(max(l.Number, letters.Sequence())); err != nil {
			return err
		}
		letters.FillPercent = 0.9
		if err := letters.Put(key(l.Number), value); err != nil {
			return err
		}
		if !repeatable(owner, m) {
			return nil
		}
		return i.note(tx, l, forgotten)
	}, func(err error) {
		if err != nil {
			i.memory.withdraw(owner, l)
		}
		safe(l, true, err)
	})
	return l, true, nil
}

// note remembers a letter in the journal, and forgets another.
func (i *Inbox) note(tx *bolt.Tx, l server.Letter, forgotten uint64) error {
	b := tx.Bucket(sentBucket)
	if forgotten != 0 {
		if err := b.Delete(key(forgotten)); err != nil {
			return err
		}
	}
	b.FillPercent = 0.9
	return b.Put(key(l.Number), packSent(l.Message))
}

// Undelivered implements server.Inbox.
func (i *Inbox) Undelivered(ctx context.Context, owner string, after uint64, limit int) ([]server.Letter, error) {
	return i.memory.Undelivered(ctx, owner, after, limit)
}

// Delivered implements server.Inbox. It does not wait: what a crash forgets is
// delivered once more.
func (i *Inbox) Delivered(_ context.Context, owner string, numbers ...uint64) error {
	were := i.memory.delivered(owner, numbers)
	if len(were) == 0 {
		return nil
	}
	i.outbox.post(entry{Delivered: &deliveredLetters{owner, were, time.Now()}}, func(tx *bolt.Tx, _ []byte) error {
		letters := tx.Bucket(lettersBucket)
		for _, n := range were {
			if err := letters.Delete(key(n)); err != nil {
				return err
			}
		}
		return nil
	}, func(error) {})
	return nil
}

// number is what key makes a key of.
func number(k []byte) uint64 { return binary.BigEndian.Uint64(k) }
