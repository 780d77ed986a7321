package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/server"
)

// How the outbox is emptied.
const (
	drainPause = 25 * time.Millisecond  // least time between transactions, so that entries gather
	firstRetry = 100 * time.Millisecond // after a failure; twice as long after the next
	lastRetry  = 3 * time.Second
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
	tidy    tidier
	rest    reader        // of what the database does not have
	wake    chan struct{} // of capacity 1: something was committed
	stop    context.CancelFunc
	done    chan struct{}
	waiting atomic.Int64
}

// errRefused is an error of apply that no repetition mends.
var errRefused = errors.New("the database refuses it")

// newOutbox makes the outbox of a journal, of which the database has everything before
// a position and lacks so many entries behind it. start begins to empty it.
func newOutbox(j *Journal, from uint64, waiting int, apply func(context.Context, []entry) error, log *slog.Logger) *outbox {
	o := &outbox{journal: j, apply: apply, log: log, rest: reader{journal: j, next: from}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	o.tidy = tidier{journal: j, least: leastJournal, limit: leastJournal}
	o.waiting.Store(int64(waiting))
	return o
}

// start goes on with the outbox. Of records that the journal forgets, the keeper, which
// may be nil, keeps what it still needs.
func (o *outbox) start(k keeper) {
	ctx, cancel := context.WithCancel(context.Background())
	o.stop, o.tidy.keeper = cancel, k
	go o.run(ctx)
}

// post has an entry written to the journal and returns at once. then is told when it
// is safe, or why it is not.
func (o *outbox) post(e entry, then func(error)) {
	value, err := encodeEntry(e)
	if err != nil {
		then(fmt.Errorf("encode %s: %w", e, err))
		return
	}
	o.waiting.Add(1)
	o.journal.Do(value, func(err error) {
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

// write puts an entry into the outbox and returns when it is safe there.
func (o *outbox) write(ctx context.Context, e entry) error {
	done := make(chan error, 1)
	o.post(e, func(err error) { done <- err })
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
	if o.stop != nil {
		o.stop()
		<-o.done
	}
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

// drain applies the oldest entries, and notes that the database has them. It returns
// how many they were.
func (o *outbox) drain(ctx context.Context) (int, error) {
	for {
		records, at, behind, err := o.rest.read()
		if err != nil || len(records) == 0 {
			return 0, err
		}
		n, err := o.settle(ctx, records, at)
		if err != nil {
			return 0, err
		}
		o.rest.next = behind
		if n > 0 {
			o.waiting.Add(-int64(n))
			o.tidy.note(behind)
			return n, o.tidy.run(ctx, behind)
		}
	}
}

// settle applies the entries among records, and returns how many they were. Those that
// cannot be read, and those that the database refuses, are set aside.
func (o *outbox) settle(ctx context.Context, records [][]byte, at []uint64) (n int, err error) {
	var entries []entry
	var of []int // the records that they are
	for i, r := range records {
		if !isEntry(r) {
			continue
		}
		n++
		e, err := decodeEntry(r)
		if err != nil {
			o.log.Error("outbox.unreadable", "position", at[i], "error", err.Error())
			o.journal.Lazy(packRefused(r))
			continue
		}
		entries, of = append(entries, e), append(of, i)
	}
	refused, err := o.applyAll(ctx, entries)
	if err != nil {
		return 0, err
	}
	for i := range refused {
		o.journal.Lazy(packRefused(records[of[i]]))
	}
	return n, nil
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
