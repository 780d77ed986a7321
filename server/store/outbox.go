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
	deliveredAt time.Time // when its owner had it, if that is known before the database has it
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
	rest    reader        // of what was not read for the database
	bag     mailbag       // what was read and the database does not have
	noted   uint64        // the position up to which it has everything, as the journal knows
	wake    chan struct{} // of capacity 1: history was committed, or somebody is in a hurry
	mail    chan struct{} // of capacity 1: something about messages was committed
	stop    context.CancelFunc
	done    chan struct{}
	waiting atomic.Int64
	hurried atomic.Int64 // how many wait for drained
}

// errRefused is an error of apply that no repetition mends.
var errRefused = errors.New("the database refuses it")

// newOutbox makes the outbox of a journal, of which the database has everything before
// a position and lacks so many entries behind it. start begins to empty it.
func newOutbox(j *Journal, from uint64, waiting int, apply func(context.Context, []entry) error, log *slog.Logger) *outbox {
	o := &outbox{journal: j, apply: apply, log: log, rest: reader{journal: j, next: from}, noted: from,
		wake: make(chan struct{}, 1), mail: make(chan struct{}, 1), done: make(chan struct{})}
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
	record, err := encodeEntry(e)
	if err != nil {
		then(fmt.Errorf("encode %s: %w", e, err))
		return
	}
	wake := o.wake
	if e.Letter != nil || e.Delivered != nil {
		wake = o.mail
	}
	o.postRecord(record, wake, then)
}

// postRecord is post of an entry that is encoded. Then wake is told that there is
// something to be done.
func (o *outbox) postRecord(record []byte, wake chan struct{}, then func(error)) {
	o.waiting.Add(1)
	o.journal.Do(record, func(err error) {
		if err != nil {
			o.waiting.Add(-1)
		} else {
			signal(wake)
		}
		then(err)
	})
}

// signal sends to a channel of capacity 1 that may have been told already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
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

// drained returns when the outbox was empty, or else says how much is in it. Nothing
// is held back meanwhile.
func (o *outbox) drained(ctx context.Context) error {
	o.hurried.Add(1)
	defer o.hurried.Add(-1)
	for {
		n := o.waiting.Load()
		if n == 0 {
			return nil
		}
		signal(o.wake)
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
		err := o.drain(ctx)
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
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if err == nil {
			o.await(ctx)
		}
	}
}

// await returns when something may be drained: history that came, or messages after a
// while.
func (o *outbox) await(ctx context.Context) {
	if o.bag.empty() {
		select {
		case <-o.wake:
			return
		case <-o.mail:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-o.wake:
	case <-time.After(mailPause):
	case <-ctx.Done():
	}
}

// drain reads what was committed, hands on what may go, and notes how far the database
// is.
func (o *outbox) drain(ctx context.Context) error {
	for {
		records, at, behind, err := o.rest.read()
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		if err := o.take(ctx, records, at); err != nil {
			return err
		}
		o.rest.next = behind
		if err := o.send(ctx); err != nil {
			return err
		}
	}
	if err := o.send(ctx); err != nil {
		return err
	}
	position := o.bag.position(o.rest.next)
	if position > o.noted {
		o.noted = position
		o.tidy.note(position)
	}
	return o.tidy.run(ctx, position)
}

// take applies the history among records, and puts what is about messages into the bag.
// What cannot be read is set aside.
func (o *outbox) take(ctx context.Context, records [][]byte, at []uint64) error {
	var history []entry
	var mail []mailed
	var unreadable [][]byte
	for i, r := range records {
		if !isEntry(r) {
			continue
		}
		e, err := decodeEntry(r)
		switch {
		case err != nil:
			o.log.Error("outbox.unreadable", "position", at[i], "error", err.Error())
			unreadable = append(unreadable, r)
		case e.Letter != nil || e.Delivered != nil:
			mail = append(mail, mailed{entry: e, at: at[i]})
		default:
			history = append(history, e)
		}
	}
	if err := o.applyAll(ctx, history); err != nil {
		return err
	}
	for _, r := range unreadable {
		o.journal.Lazy(packRefused(r))
	}
	o.waiting.Add(-int64(len(history) + len(unreadable)))
	for _, m := range mail {
		o.bag.add(m.entry, m.at)
	}
	return nil
}

// send applies what may go of the bag.
func (o *outbox) send(ctx context.Context) error {
	for {
		n := o.bag.ripe(o.hurried.Load() > 0)
		if n == 0 && len(o.bag.late) == 0 {
			return nil
		}
		if err := o.applyAll(ctx, o.bag.next(n)); err != nil {
			return err
		}
		o.waiting.Add(-o.bag.gone(n))
	}
}

// applyAll applies entries together, or one by one if the database refuses one
// of them: that one is set aside, and must not hold up all others.
func (o *outbox) applyAll(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	err := o.apply(ctx, entries)
	if !errors.Is(err, errRefused) {
		return err
	}
	var refused [][]byte
	for _, e := range entries {
		err := o.apply(ctx, []entry{e})
		switch {
		case errors.Is(err, errRefused):
			o.log.Error("outbox.refused", "entry", e.String(), "error", err.Error())
			if record, err := encodeEntry(e); err == nil { // it was decoded before
				refused = append(refused, record)
			}
		case err != nil:
			return err
		}
	}
	for _, record := range refused {
		o.journal.Lazy(packRefused(record))
	}
	return nil
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
