package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrStateLost says that State had lost a record that it was given before. It has
// it again.
var ErrStateLost = errors.New("state had lost the record")

// maxDebts is how many removals are remembered while State is away. What is forgotten
// is counted, and stays there until its time to live has run out, if it has one.
const maxDebts = 100_000

// mender sees to it that State, which was away, slow or lost what it had, says what
// is: what should have been removed meanwhile is removed, and what is there is
// written again. The zero value is ready to use.
type mender struct {
	mu    sync.Mutex
	timer *time.Timer // until the next try; nil while all is well
	debts []debt
	dead  map[string]struct{} // sessions that have ended, and that State may have still
	trial chan struct{}       // the last try, closed when it is over; nil before the first
	last  bool                // the server ends: nothing is tried any more but once
	full  bool                // removals are not remembered because there are too many
}

// debt is a removal that State has not done.
type debt struct {
	what string
	pay  func(context.Context) error
}

// ails is told that State did not do as it should.
func (s *Server) ails() { s.owes(debt{}) }

// owes is ails for a removal, which is done later, unless there are too many.
func (s *Server) owes(d debt) (will bool) {
	m := &s.mender
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case d.pay == nil:
	case len(m.debts) < maxDebts:
		m.debts = append(m.debts, d)
		will = true
	default:
		s.metrics.forgotten.Inc()
		if !m.full {
			s.log.Error("state.forgotten", "operation", d.what, "remembered", maxDebts)
		}
		m.full = true
	}
	if m.timer == nil && s.life.Err() == nil {
		m.timer = time.AfterFunc(s.cfg.StoreTimeout, s.mend)
	}
	return will
}

// buries is told that a session has ended and is being removed from State, and buried
// that it is: in between nobody may have it restored.
func (m *mender) buries(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead == nil {
		m.dead = make(map[string]struct{})
	}
	m.dead[session] = struct{}{}
}

func (m *mender) buried(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.dead, session)
}

// isDead reports whether a session has ended, whatever State says of it.
func (m *mender) isDead(session string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, dead := m.dead[session]
	return dead
}

// mend tries whether State is well again, and if so mends it.
func (s *Server) mend() {
	m := &s.mender
	over, ok := m.begin()
	if !ok {
		return
	}
	defer close(over)
	err := s.payDebts()
	m.mu.Lock()
	if s.life.Err() != nil || m.last {
		m.mu.Unlock()
		return
	}
	if err != nil || len(m.debts) > 0 { // one may have come after the last was paid
		m.timer.Reset(s.cfg.StoreTimeout)
		m.mu.Unlock()
		return
	}
	m.timer = nil
	m.mu.Unlock()
	s.log.Info("state.back")
	s.rewrite()
}

// payDebts does the removals that are due, and asks State at least once whether it is
// there.
func (s *Server) payDebts() error {
	due := debt{"get presence", func(ctx context.Context) error {
		_, err := s.cfg.State.GetPresence(ctx, "")
		return err
	}}
	for {
		ctx, cancel := s.storing()
		err := due.pay(ctx)
		cancel()
		if err != nil {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "state.away", slog.String("operation", due.what), slog.String("error", err.Error()))
			return err
		}
		var more bool
		if due, more = s.mender.next(due); !more {
			return nil
		}
	}
}

// begin is the beginning of a try, if there is to be one.
func (m *mender) begin() (over chan struct{}, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last {
		return nil, false
	}
	m.trial = make(chan struct{})
	return m.trial, true
}

// settleDebts tries once more to remove what State should not have any more, before the
// server is gone. One that is still away forgets it when its time has run out.
func (s *Server) settleDebts() {
	m := &s.mender
	m.mu.Lock()
	m.last = true
	trial := m.trial
	m.mu.Unlock()
	if trial != nil {
		<-trial
	}
	m.mu.Lock()
	owes := len(m.debts) > 0
	m.mu.Unlock()
	if owes {
		_ = s.payDebts() // which has logged it
	}
}

// next is the removal that is due after one that was done.
func (m *mender) next(done debt) (due debt, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done.what != "get presence" {
		m.debts = m.debts[1:]
	}
	if len(m.debts) == 0 {
		m.debts, m.full = nil, false
		return debt{}, false
	}
	return m.debts[0], true
}

// stop ends the mending when the server ends.
func (m *mender) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
}

// rewrite writes all again that there is.
func (s *Server) rewrite() {
	sessions, rooms := s.users.everybody()
	for _, u := range sessions {
		u.put(u.heardAt())
	}
	for _, r := range rooms {
		r.queue.Do(r.mend)
	}
	for i := range spread {
		p := &s.rolls[i]
		p.queue.Do(p.mend)
	}
}

// heardAt is when the session's client was last heard.
func (u *session) heardAt() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		return u.since
	}
	return u.last.heardAt()
}

func (c *conn) heardAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// mend writes the room again as it is.
func (r *room) mend() {
	if !r.opened {
		return
	}
	s := r.host.snapshot()
	r.write("mend room", func(ctx context.Context) error { return r.srv.cfg.State.MendRoom(ctx, s) }, nil)
	for _, m := range r.within() {
		switch {
		case r.kept(m.session) == nil:
		case r.kind == Room1v1: // it holds who is called, too
			r.rewrite(m.session)
		default: // the room and what holds its members was written just now
			leg := m.leg.record()
			r.write("save leg", func(ctx context.Context) error { return r.srv.cfg.State.SaveLeg(ctx, leg) }, nil)
		}
	}
}

// mend writes presences again that State has lost. Their versions go on from those
// that were told.
func (p *roll) mend() {
	users := make([]string, 0, len(p.there))
	for user := range p.there {
		users = append(users, user)
	}
	slices.SortFunc(users, strings.Compare)
	for _, user := range users {
		st := p.there[user]
		ctx, cancel := p.srv.storing()
		stored, err := p.srv.cfg.State.GetPresence(ctx, user)
		if err == nil && (stored.Version < st.shown.Version || st.shown.Version == 0) {
			st.shown.Version, err = p.srv.cfg.State.PutPresence(ctx, st.shown)
		}
		cancel()
		if err != nil {
			p.failed("put presence", user, err)
			p.srv.ails()
			return
		}
	}
}
