package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/callbench/callbench/server"
)

// The journal's buckets. Keys of outbox and refused count up in the order of the
// writes; those of letters and sent are the letters' numbers.
var (
	outboxBucket  = []byte("outbox")  // what the database has not been told
	refusedBucket = []byte("refused") // what it did not take
	lettersBucket = []byte("letters") // what waits for its owner
	sentBucket    = []byte("sent")    // the last messages of each sender, without content
)

// How the outbox is emptied.
const (
	drainEntries = 512                    // entries at most in one transaction
	drainBytes   = 1 << 20                // of entries, from which on a transaction is large enough
	drainPause   = 25 * time.Millisecond  // least time between transactions, so that entries gather
	firstRetry   = 100 * time.Millisecond // after a failure; twice as long after the next
	lastRetry    = 3 * time.Second
)

// entry is a write that waits in the outbox: one of its members.
type entry struct {
	Room      *server.RoomHistory      `json:"room,omitempty"`
	Member    *server.MemberHistory    `json:"member,omitempty"`
	Call      *server.CallHistory      `json:"call,omitempty"`
	Recording *server.RecordingHistory `json:"recording,omitempty"`
	Letter    *ownedLetter             `json:"letter,omitempty"`
	Delivered *deliveredLetters        `json:"delivered,omitempty"`
	Sweep     *sweep                   `json:"sweep,omitempty"`
}

// ownedLetter is a message that waits for its owner.
type ownedLetter struct {
	Owner string `json:"owner"`
	server.Letter
}

// deliveredLetters are letters that their owner has.
type deliveredLetters struct {
	Owner   string    `json:"owner"`
	Numbers []uint64  `json:"numbers"`
	At      time.Time `json:"at"`
}

// outbox are writes to a database that are safe in a journal until the database
// has them. They are applied in their order; after a crash some may be applied
// again, which must change nothing.
type outbox struct {
	journal *Journal
	apply   func(ctx context.Context, entries []entry) error
	log     *slog.Logger
	wake    chan struct{} // of capacity 1: something was committed
	stop    context.CancelFunc
	done    chan struct{}
	waiting atomic.Int64
}

// errRefused is an error of apply that no repetition mends.
var errRefused = errors.New("the database refuses it")

// newOutbox goes on with the outbox of a journal.
func newOutbox(j *Journal, apply func(context.Context, []entry) error, log *slog.Logger) (*outbox, error) {
	o := &outbox{journal: j, apply: apply, log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
	err := j.Write(context.Background(), func(tx *bolt.Tx) error {
		for _, name := range [][]byte{outboxBucket, refusedBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		o.waiting.Store(int64(tx.Bucket(outboxBucket).Stats().KeyN))
		return nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = cancel
	go o.run(ctx)
	return o, nil
}

// post has an entry committed, along with what else is to be written in the same
// step (nil: nothing), and returns at once. then is told when it is safe, or why
// it is not.
func (o *outbox) post(e entry, also func(*bolt.Tx, []byte) error, then func(error)) {
	value, err := encodeEntry(e)
	if err != nil {
		then(fmt.Errorf("encode %s: %w", e, err))
		return
	}
	o.waiting.Add(1)
	o.journal.Do(func(tx *bolt.Tx) error {
		if also != nil {
			if err := also(tx, value); err != nil {
				return err
			}
		}
		return appendTo(tx.Bucket(outboxBucket), value)
	}, func(err error) {
		o.committed(err)
		then(err)
	})
}

// committed counts an entry out that could not be written, and has one that
// could be applied.
func (o *outbox) committed(err error) {
	if err != nil {
		o.waiting.Add(-1)
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// appendTo puts a value behind all others of a bucket.
func appendTo(b *bolt.Bucket, value []byte) error {
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	b.FillPercent = 0.9 // keys only ever come at the end
	return b.Put(key(n), value)
}

// write puts an entry into the outbox and returns when it is safe there.
func (o *outbox) write(ctx context.Context, e entry) error {
	done := make(chan error, 1)
	o.post(e, nil, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drained returns when the outbox was empty, or else says how much is in it.
func (o *outbox) drained(ctx context.Context) error {
	for {
		n := o.waiting.Load()
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d writes wait for the database: %w", n, ctx.Err())
		case <-time.After(drainPause):
		}
	}
}

// close stops emptying the outbox. What is left waits in the journal.
func (o *outbox) close() {
	o.stop()
	<-o.done
}

// run empties the outbox until it is closed.
func (o *outbox) run(ctx context.Context) {
	defer close(o.done)
	retry, failing := firstRetry, time.Time{}
	for {
		n, err := o.drain(ctx)
		pause := drainPause
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failing.IsZero() {
				failing = time.Now()
				o.log.Error("outbox.failing", "waiting", o.waiting.Load(), "error", err.Error())
			}
			pause, retry = retry, min(2*retry, lastRetry)
		case !failing.IsZero():
			o.log.Warn("outbox.recovered", "waiting", o.waiting.Load(), "after", time.Since(failing).String())
			retry, failing = firstRetry, time.Time{}
		case n == 0:
			select {
			case <-o.wake:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// drain applies the oldest entries and forgets them. It returns how many they
// were.
func (o *outbox) drain(ctx context.Context) (int, error) {
	keys, values, err := o.oldest()
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	aside, err := o.settle(ctx, keys, values)
	if err != nil {
		return 0, err
	}
	err = o.journal.Write(ctx, func(tx *bolt.Tx) error {
		for i, k := range keys {
			if aside[i] {
				if err := appendTo(tx.Bucket(refusedBucket), values[i]); err != nil {
					return err
				}
			}
			if err := tx.Bucket(outboxBucket).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	o.waiting.Add(-int64(len(keys)))
	return len(keys), nil
}

// settle applies what can be read, and returns which are to be set aside: those that
// cannot, and those that the database refuses.
func (o *outbox) settle(ctx context.Context, keys, values [][]byte) (aside map[int]bool, err error) {
	aside = make(map[int]bool)
	var entries []entry
	var at []int
	for i, v := range values {
		e, err := decodeEntry(v)
		if err != nil {
			aside[i] = true
			o.log.Error("outbox.unreadable", "entry", fmt.Sprintf("%x", keys[i]), "error", err.Error())
			continue
		}
		entries, at = append(entries, e), append(at, i)
	}
	refused, err := o.applyAll(ctx, entries)
	for n := range refused {
		aside[at[n]] = true
	}
	return aside, err
}

// oldest reads the entries that come next.
func (o *outbox) oldest() (keys, values [][]byte, err error) {
	err = o.journal.View(func(tx *bolt.Tx) error {
		size := 0
		c := tx.Bucket(outboxBucket).Cursor()
		for k, v := c.First(); k != nil && len(keys) < drainEntries && size < drainBytes; k, v = c.Next() {
			keys, values = append(keys, append([]byte(nil), k...)), append(values, append([]byte(nil), v...))
			size += len(v)
		}
		return nil
	})
	return keys, values, err
}

// applyAll applies entries together, or one by one if the database refuses one
// of them: that one must not hold up all others.
func (o *outbox) applyAll(ctx context.Context, entries []entry) (refused map[int]bool, err error) {
	if len(entries) == 0 {
		return nil, nil
	}
	err = o.apply(ctx, entries)
	if !errors.Is(err, errRefused) {
		return nil, err
	}
	refused = make(map[int]bool)
	for i := range entries {
		err := o.apply(ctx, entries[i:i+1])
		switch {
		case errors.Is(err, errRefused):
			refused[i] = true
			o.log.Error("outbox.refused", "entry", entries[i].String(), "error", err.Error())
		case err != nil:
			return nil, err
		}
	}
	return refused, nil
}

// String names what the entry is about.
func (e entry) String() string {
	switch {
	case e.Room != nil:
		return "room " + e.Room.RoomID
	case e.Member != nil:
		return "member " + e.Member.UserID + " of room " + e.Member.RoomID
	case e.Call != nil:
		return "call " + e.Call.CallID
	case e.Recording != nil:
		return "recording " + e.Recording.RecordingID
	case e.Letter != nil:
		return "message " + e.Letter.Message.MessageID + " for " + e.Letter.Owner
	case e.Delivered != nil:
		return "delivery to " + e.Delivered.Owner
	case e.Sweep != nil:
		return "sweep of node " + e.Sweep.Node
	}
	return "nothing"
}

// key is a number as a key that sorts as it does.
func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
