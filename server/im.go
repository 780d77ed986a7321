package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// Limits of a message, in bytes, from docs/protocol.md.
const (
	maxMessageID = 64
	maxContent   = 16 << 10
)

// spread is how many queues the work for users is spread over: enough that two
// users seldom wait for each other's stores, and no more than cost nothing while
// they are idle.
const spread = 64

// place is the queue, of spread, that belongs to a user, the same in every run.
// It is FNV-1a, which hash/fnv cannot do without allocating.
func place(user string) int {
	h := uint32(2166136261)
	for i := range len(user) {
		h = (h ^ uint32(user[i])) * 16777619
	}
	return int(h % spread)
}

// postbox takes the messages of the users that belong to it. All that is done
// with a user's messages is done on its queue: storing one, delivering it, and
// giving a new session what is stored. So the order in which messages come out
// is the order in which they went in, for stored and live ones alike, and none
// is given to a session twice.
type postbox struct {
	srv   *Server
	queue serial.Queue

	mu       sync.Mutex
	received []receivedLetter // not yet told to the Inbox
}

type receivedLetter struct {
	owner  string
	number uint64
}

func (s *Server) postbox(user string) *postbox { return &s.mail[place(user)] }

// handleMessage takes a message for another user. Who it is from and when it
// was sent is the server's to say.
func handleMessage(r request) error {
	var m signaling.Message
	if err := r.frame.Into(&m); err != nil {
		return err
	}
	if err := r.admit(&m); err != nil {
		return err
	}
	if err := r.srv.admitMessage(r.user); err != nil {
		return err
	}
	if m.MessageID == "" {
		m.MessageID = r.srv.cfg.NewID("message", r.user)
	}
	m.From, m.Call, m.Timestamp = r.user, nil, time.Now().UnixMilli()
	p, err := wrap(m)
	if err == nil && r.frame.ID != "" {
		p.ack, err = encodeData(answerTo(m))
	}
	if err != nil {
		return err
	}
	b := r.srv.postbox(m.To)
	do := b.queue.Do
	if b.quick(p) {
		do = b.queue.Here
	}
	if !do(func() { b.take(r, p) }) {
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	return nil
}

// quick reports whether taking the message waits for nothing, so that the
// connection's own goroutine can do it: that of a queue would have to be woken.
func (b *postbox) quick(p parcel) bool {
	_, eager := b.srv.cfg.Inbox.(EagerInbox)
	return (eager || b.srv.cfg.Inbox == nil) && p.To != p.From
}

// parcel is a message on its way to sessions, encoded once for all of them and
// by whoever brings it: the queue's goroutine lives for a moment, and would have
// to grow its stack for it.
type parcel struct {
	signaling.Message
	data json.RawMessage
	ack  json.RawMessage // what the sender is told; nil if it does not ask
}

func wrap(m signaling.Message) (parcel, error) {
	data, err := encodeData(m)
	return parcel{Message: m, data: data}, err
}

// answerTo is what the sender of a message is told.
func answerTo(m signaling.Message) signaling.Message {
	return signaling.Message{MessageID: m.MessageID, From: m.From, To: m.To, Timestamp: m.Timestamp}
}

func encodeData(m signaling.Message) (json.RawMessage, error) {
	f, err := signaling.New(signaling.TypeMessage, "", m)
	return f.Data, err
}

// admit refuses a message that may not be sent.
func (r request) admit(m *signaling.Message) error {
	switch {
	case m.From != "" && m.From != r.user:
		return signaling.Errorf(signaling.CodeForbidden, "from is not the user of this connection")
	case m.To == "":
		return signaling.Errorf(signaling.CodeBadData, "to is missing")
	case len(m.To) > maxUser:
		return signaling.Errorf(signaling.CodeBadData, "to is longer than %d bytes", maxUser)
	case len(m.MessageID) > maxMessageID:
		return signaling.Errorf(signaling.CodeBadData, "messageId is longer than %d bytes", maxMessageID)
	case len(m.Content) > maxContent:
		return signaling.Errorf(signaling.CodeBadData, "content is longer than %d bytes", maxContent)
	}
	return r.reach(m.To)
}

// take stores a message, says so to the sender, and delivers it to both users'
// sessions. It runs on the queue of the recipient's postbox.
func (b *postbox) take(r request, p parcel) {
	answer := func(l Letter, fresh bool, err error) { r.answerMessage(p, l, fresh, err) }
	l, fresh, err := b.keepThen(p.To, p.Message, answer)
	if err != nil || !fresh {
		return
	}
	b.deliver(p.To, l.Number, p.data)
	if p.To == p.From {
		return
	}
	for _, u := range b.srv.users.others(r.session) {
		u.push(signaling.TypeMessage, "", p.data)
	}
}

// answerMessage tells the sender of a message what became of it.
func (r request) answerMessage(p parcel, l Letter, fresh bool, err error) {
	switch {
	case err != nil:
		r.fail(err)
	case !fresh:
		r.ack(answerTo(l.Message))
	default:
		r.ack(p.ack)
	}
}

// keepThen is keep, and tells when the message is safe. A message to oneself waits
// for that: its answer leaves before its push.
func (b *postbox) keepThen(owner string, m signaling.Message, then func(Letter, bool, error)) (Letter, bool, error) {
	inbox, eager := b.srv.cfg.Inbox.(EagerInbox)
	if !eager || m.From == owner {
		l, fresh, err := b.keep(owner, m)
		then(l, fresh, err)
		return l, fresh, err
	}
	l, fresh, err := inbox.PutThen(b.srv.life, owner, m, func(l Letter, fresh bool, err error) { then(l, fresh, b.refusal(owner, err)) })
	if err != nil {
		then(l, false, b.refusal(owner, err))
	}
	return l, fresh, err
}

// keep stores a message. Without an Inbox it is as good as stored if somebody
// is there to get it.
func (b *postbox) keep(owner string, m signaling.Message) (Letter, bool, error) {
	inbox := b.srv.cfg.Inbox
	if inbox == nil {
		if len(b.srv.users.sessions(owner)) == 0 {
			return Letter{}, false, unavailable()
		}
		return Letter{Message: m}, true, nil
	}
	ctx, cancel := b.srv.storing()
	defer cancel()
	l, fresh, err := inbox.Put(ctx, owner, m)
	return l, fresh, b.refusal(owner, err)
}

// refusal is what a sender is told of an Inbox's error.
func (b *postbox) refusal(owner string, err error) error {
	switch {
	case errors.Is(err, ErrInboxFull):
		return signaling.Errorf(signaling.CodeLimitExceeded, "%d messages wait for the user", MaxUndelivered)
	case err != nil:
		b.failed("put", owner, err)
		return signaling.Errorf(signaling.CodeInternal, "the message could not be stored")
	}
	return nil
}

// deliver pushes the letter with this number to the owner's sessions. One that
// is not through with what is stored finds the letter there.
func (b *postbox) deliver(owner string, number uint64, data json.RawMessage) {
	for _, u := range b.srv.users.sessions(owner) {
		switch {
		case b.srv.cfg.Inbox == nil:
			u.push(signaling.TypeMessage, "", data)
		case u.backlog.through:
			u.pushThen(signaling.TypeMessage, "", data, func() { b.got(owner, number) })
		}
	}
}

// got notes that a session has a letter. It may be called by anybody.
func (b *postbox) got(owner string, number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received = append(b.received, receivedLetter{owner, number})
	if len(b.received) == 1 {
		b.queue.Do(b.settle)
	}
}

// settle tells the Inbox of all the letters that were received by now.
func (b *postbox) settle() {
	b.mu.Lock()
	all := b.received
	b.received = nil
	b.mu.Unlock()
	for len(all) > 0 {
		owner := all[0].owner
		var numbers []uint64
		for len(all) > 0 && all[0].owner == owner {
			numbers, all = append(numbers, all[0].number), all[1:]
		}
		ctx, cancel := b.srv.storing()
		err := b.srv.cfg.Inbox.Delivered(ctx, owner, numbers...)
		cancel()
		if err != nil { // they come once more
			b.failed("delivered", owner, err)
		}
	}
}

func (b *postbox) failed(operation, owner string, err error) {
	b.srv.metrics.lost.WithLabelValues(operation + " message").Inc()
	b.srv.log.LogAttrs(context.Background(), slog.LevelError, "inbox.failed", slog.String("operation", operation),
		slog.String("user", owner), slog.String("error", err.Error()))
}

// post sends a message of the server's own making, such as what became of a
// call, from m.From to m.To. It is stored for and delivered to both, in order
// with all others, and nobody waits for it.
func (s *Server) post(m signaling.Message) { s.postTo(m, m.To, m.From) }

// postTo is post with the message going to these users only.
func (s *Server) postTo(m signaling.Message, owners ...string) {
	if m.MessageID == "" {
		m.MessageID = s.cfg.NewID("message", m.From)
	}
	if m.Timestamp == 0 {
		m.Timestamp = time.Now().UnixMilli()
	}
	p, err := wrap(m)
	if err != nil {
		s.log.Error("message.lost", "message", m.MessageID, "user", m.To, "error", err.Error())
		return
	}
	for _, owner := range owners {
		b := s.postbox(owner)
		b.queue.Do(func() {
			l, fresh, err := b.keep(owner, m)
			if err != nil {
				s.log.Warn("message.lost", "message", m.MessageID, "user", owner, "error", err.Error())
			} else if fresh {
				b.deliver(owner, l.Number, p.data)
			}
		})
	}
}

// storing is the time that one operation of a store may take.
func (s *Server) storing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.life, s.cfg.StoreTimeout)
}
