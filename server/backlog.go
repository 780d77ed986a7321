package server

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// A long backlog is pushed in parts, each when the one before was received: all
// of it at once might be more than a session keeps for replay.
const (
	backlogPart  = 128       // letters
	backlogBytes = 256 << 10 // bytes of their content, from which on a part is long enough
)

// backlog is how far a new session is with what is stored for its user. It
// belongs to the queue of the user's postbox.
type backlog struct {
	through bool   // messages are pushed as they come
	after   uint64 // the number of the last letter that was pushed
}

// pushed is a push that waits until a new session may be told of it.
type pushed struct {
	frame signaling.Frame
	acked func()
}

// begin gives a new session what is stored for its user, and then everything
// else: what was pushed meanwhile, and who of its contacts is there.
func (u *session) begin() {
	b := u.srv.postbox(u.user)
	b.queue.Do(func() {
		if u.srv.cfg.Inbox != nil {
			b.pump(u)
		}
		u.release()
		u.srv.introduce(u)
	})
}

// pump pushes the next part of a session's backlog.
func (b *postbox) pump(u *session) {
	ctx, cancel := b.srv.storing()
	defer cancel()
	letters, err := b.srv.cfg.Inbox.Undelivered(ctx, u.user, u.backlog.after, backlogPart)
	if err != nil {
		b.failed("undelivered", u.user, err)
		b.later(u)
		return
	}
	part := firstPart(letters)
	u.backlog.through = len(part) < backlogPart && len(part) == len(letters)
	for i, l := range part {
		u.backlog.after = l.Number
		last := i == len(part)-1 && !u.backlog.through
		u.pushStored(l.Message, func() {
			b.got(u.user, l.Number)
			if last {
				b.queue.Do(func() { b.pump(u) })
			}
		})
	}
}

// later tries again, as long as the session is there: until then its user's
// messages are stored, so that none overtakes another.
func (b *postbox) later(u *session) {
	time.AfterFunc(b.srv.cfg.StoreTimeout, func() {
		if u.srv.users.session(u.id) == u {
			b.queue.Do(func() { b.pump(u) })
		}
	})
}

func firstPart(letters []Letter) []Letter {
	bytes := 0
	for i, l := range letters {
		if bytes += len(l.Message.Content); bytes >= backlogBytes {
			return letters[:i+1]
		}
	}
	return letters
}

// pushStored pushes a letter of the backlog, before what is held back.
func (u *session) pushStored(m signaling.Message, acked func()) {
	f, err := signaling.New(signaling.TypeMessage, "", m)
	if err != nil { // a message always can be encoded
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.emit(f, acked)
}

// release pushes what was held back.
func (u *session) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	held := u.held
	u.held, u.released = nil, true
	for _, p := range held {
		u.emit(p.frame, p.acked)
	}
	u.retell()
}
