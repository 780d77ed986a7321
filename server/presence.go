package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// roll keeps the presence of the users that belong to it. A user's changes are
// stored, published and pushed on its queue, one after the other, so that all
// who hear of them hear of them in the same order.
type roll struct {
	srv   *Server
	queue serial.Queue
	there map[string]*standing // of users that have a session; on the queue only
}

// standing is the presence of a user that has a session.
type standing struct {
	hidden bool
	shown  signaling.State // what others see
}

func (s *Server) roll(user string) *roll { return &s.rolls[place(user)] }

// came is told that a user has its first session, and went that its last one
// ended. The directory tells, under its lock, so that the two cannot cross.
func (s *Server) came(user string, at time.Time) {
	p := s.roll(user)
	p.queue.Do(func() {
		st := &standing{}
		p.there[user] = st
		p.show(st, signaling.State{UserID: user, Status: signaling.Online, LastSeen: at.UnixMilli()})
	})
}

func (s *Server) went(user string, at time.Time) {
	p := s.roll(user)
	p.queue.Do(func() {
		st := p.there[user]
		delete(p.there, user)
		if !st.hidden {
			p.show(st, signaling.State{UserID: user, Status: signaling.Offline, LastSeen: at.UnixMilli()})
		}
	})
}

// show stores and publishes a change and tells the user's contacts. If it could
// not be stored it has no version, and is told all the same.
func (p *roll) show(st *standing, now signaling.State) {
	ctx, cancel := p.srv.storing()
	defer cancel()
	now.Version = st.shown.Version
	version, err := p.srv.cfg.State.PutPresence(ctx, now)
	if err != nil {
		p.srv.metrics.lost.WithLabelValues("put presence").Inc()
		p.failed("put presence", now.UserID, err)
		p.srv.ails()
		version = 0
	}
	now.Version = version
	st.shown = now
	p.srv.log.LogAttrs(context.Background(), slog.LevelInfo, "presence.changed", slog.String("user", now.UserID),
		slog.String("status", string(now.Status)), slog.Uint64("version", version))
	relations := p.srv.cfg.Relations
	for _, contact := range relations.Contacts(now.UserID) {
		if !relations.Reaches(contact, now.UserID) {
			continue
		}
		for _, u := range p.srv.users.sessions(contact) {
			u.tell(now)
		}
	}
}

// introduce tells a new session which contacts of its user are online.
func (s *Server) introduce(u *session) {
	for _, contact := range s.cfg.Relations.Contacts(u.user) {
		p := s.roll(contact)
		p.queue.Do(func() {
			st := p.there[contact]
			if st != nil && st.shown.Status == signaling.Online && s.cfg.Relations.Reaches(u.user, contact) {
				u.tell(st.shown)
			}
		})
	}
}

// handleState shows or hides the user, or asks for the presence of another.
func handleState(r request) error {
	var in signaling.State
	if err := r.frame.Into(&in); err != nil {
		return err
	}
	switch {
	case in.Status == "" && in.UserID == "":
		return signaling.Errorf(signaling.CodeBadData, "neither userId nor status is there")
	case in.Status == "":
		return r.askState(in.UserID)
	case in.UserID != "" && in.UserID != r.user:
		return signaling.Errorf(signaling.CodeForbidden, "userId is not the user of this connection")
	case in.Status != signaling.Online && in.Status != signaling.Offline:
		return signaling.Errorf(signaling.CodeBadData, "status is neither %s nor %s", signaling.Online, signaling.Offline)
	}
	return r.at(r.user, func(p *roll) { p.hide(r, in.Status == signaling.Offline) })
}

// at hands the user's roll something to do.
func (r request) at(user string, f func(*roll)) error {
	p := r.srv.roll(user)
	if !p.queue.Do(func() { f(p) }) {
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	return nil
}

// hide has others see the user as offline, or as it is again.
func (p *roll) hide(r request, hidden bool) {
	st := p.there[r.user]
	if st == nil { // its last session ended a moment ago
		return
	}
	if st.hidden != hidden {
		st.hidden = hidden
		status := signaling.Online
		if hidden {
			status = signaling.Offline
		}
		p.show(st, signaling.State{UserID: r.user, Status: status, LastSeen: time.Now().UnixMilli()})
	}
	r.ack(st.shown)
}

// askState answers with the presence of a user. What is not known here may be
// known to another instance.
func (r request) askState(user string) error {
	if len(user) > maxUser {
		return signaling.Errorf(signaling.CodeBadData, "userId is longer than %d bytes", maxUser)
	}
	if err := r.session.reach(user); err != nil {
		return err
	}
	return r.at(user, func(p *roll) {
		if st := p.there[user]; st != nil {
			r.ack(st.shown)
			return
		}
		ctx, cancel := p.srv.storing()
		defer cancel()
		stored, err := p.srv.cfg.State.GetPresence(ctx, user)
		if err != nil {
			p.failed("get presence", user, err)
			r.fail(signaling.Errorf(signaling.CodeInternal, "the presence could not be read"))
			return
		}
		r.ack(stored)
	})
}

func (p *roll) failed(operation, user string, err error) {
	p.srv.log.LogAttrs(context.Background(), slog.LevelError, "state.failed", slog.String("operation", operation),
		slog.String("user", user), slog.String("error", err.Error()))
}
