package server_test

import (
	"context"
	"log/slog"
	"time"

	"github.com/callbench/callbench/scenarios/invariants"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// tie gives a server's config a life that can end, as that of a process that is
// killed: then nothing passes any more to what is around it.
func (m *model) tie(cfg server.Config) server.Config {
	m.life = &life{}
	cfg.State = slowRooms{fickle(cfg.State, &m.mood, m.life), 8100 * time.Microsecond, 13300 * time.Microsecond}
	cfg.Media, cfg.History, cfg.Inbox = mortalMedia{cfg.Media, m.life}, mortalHistory{cfg.History, m.life}, mortalInbox{cfg.Inbox, m.life}
	return cfg
}

// kill ends the server as kill -9 does, and starts another one some time later. From
// then on its clients know less than before: what was pushed or answered to them may be
// lost with the server, so what is checked is what is kept and what is left, and that
// nobody was told anything before that is not so.
func (m *model) kill() {
	if m.upsetState { // nobody else knows what a server knew whose State was away
		m.mood.set("")
		time.Sleep(10 * time.Second)
		m.settle()
	}
	m.life.over.Store(true)
	for _, c := range m.w.clients {
		c.raw.Close()
	}
	m.w.stop()
	<-m.w.stopped
	m.settle()
	m.killed = true
	for _, s := range m.seats {
		m.forget(s)
	}
	time.Sleep(3 * time.Second)
	m.start()
}

// forget takes what a client knew when the server was killed for over.
func (m *model) forget(s *seat) {
	for _, a := range s.open() {
		if a.action == signaling.ActionCall {
			m.book.Unanswered(s.user)
		}
	}
	clear(s.asks)
	for _, ref := range s.refs {
		if !s.over[ref] {
			s.over[ref] = true
			m.book.Ended(s.who, ref, invariants.End{Guess: true})
		}
	}
	m.outOfRoom(s, s.room, invariants.End{Guess: true})
	m.book.Online(s.user, false)
}

// start starts a server on what there is.
func (m *model) start() {
	m.mood.set("")
	m.w.media.set(func(f *fakeMedia) { f.usual() })
	cfg := m.tie(m.cfg)
	m.w.logs = &logBuffer{} // of the one that was killed, the last lines are not true
	cfg.Log = slog.New(slog.NewTextHandler(m.w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if m.w.srv, err = server.New(cfg); err == nil {
		err = m.w.srv.Restore(m.w.t.Context())
	}
	if err != nil {
		m.w.t.Fatalf("restart: %v", err)
	}
	ln, err := m.w.streams.Listen("server:80")
	if err != nil {
		m.w.t.Fatalf("restart: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.w.stop, m.w.stopped = cancel, make(chan struct{})
	go func() {
		defer close(m.w.stopped)
		if err := m.w.srv.Run(ctx, ln); err != nil {
			m.w.t.Errorf("Run: %v", err)
		}
	}()
}
