package kms

import (
	"errors"
	"sync"
	"time"

	"github.com/callbench/callbench/kurento"
)

// watcher hands the events of one object to the server, one at a time, until
// the object is released or lost.
type watcher struct {
	pipeline *pipeline
	lost     func(detail string) // tells the server that the object is gone

	mu    sync.Mutex
	ended bool
}

// tell runs f unless nothing must be told any more.
func (w *watcher) tell(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		f()
	}
}

// end is the end of telling. It returns whether there was none before.
func (w *watcher) end(last func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		last()
	}
}

// watch adds an object to those whose loss is told.
func (m *Media) watch(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = append(m.watched, w)
}

// lossesSoFar is how often all objects were lost.
func (m *Media) lossesSoFar() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

// watchSince is watch, unless all objects were lost since so many losses were
// counted.
func (m *Media) watchSince(w *watcher, losses int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost == losses {
		m.watched = append(m.watched, w)
	}
	return m.lost == losses
}

// unwatch takes out the objects that match. Nothing of theirs is told after it.
func (m *Media) unwatch(match func(*watcher) bool) {
	for _, w := range m.take(match) {
		w.end(func() {})
	}
}

// take takes out the objects that match and returns them in the order in which
// they were made.
func (m *Media) take(match func(*watcher) bool) (taken []*watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.watched[:0]
	for _, w := range m.watched {
		if match(w) {
			taken = append(taken, w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(m.watched[len(kept):])
	m.watched = kept
	return taken
}

// lose tells every object once that it is gone.
func (m *Media) lose(why string) {
	m.mu.Lock()
	m.lost++ // before any is taken: what comes in later is not in vain
	m.mu.Unlock()
	for _, w := range m.take(func(*watcher) bool { return true }) {
		w.end(func() { w.lost(why) })
	}
}

// disconnected is told that the connection is lost. The media server may be
// well, and the media flow on: it has LostAfter to come back, from its last sign
// of life.
func (m *Media) disconnected(cause error) {
	left := m.lostAfter
	if silence := new(kurento.SilenceError); errors.As(cause, &silence) {
		left = max(left-silence.For, 0)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.losses++
	loss := m.losses
	m.absence = time.AfterFunc(left, func() { m.stayedAway(loss) })
}

// stayedAway is the end of waiting for the media server.
func (m *Media) stayedAway(loss int) {
	m.mu.Lock()
	over := m.closed || m.losses != loss // or it has come back at this moment
	m.gone = m.gone || !over
	m.mu.Unlock()
	if over {
		return
	}
	m.log.Warn("media.lost", "reason", "away", "after_ms", m.lostAfter.Milliseconds())
	m.lose("the media server is away")
}

// reconnected is told that there is a connection again. If the media server has
// forgotten the session, every object is lost.
func (m *Media) reconnected(r kurento.Reconnected) {
	m.mu.Lock()
	m.absence.Stop()
	m.losses++
	m.gone = false
	m.mu.Unlock()
	if r.Resumed() {
		return
	}
	m.log.Warn("media.lost", "reason", "session", "same_server", r.SameServer)
	if !r.SameServer {
		m.mu.Lock()
		clear(m.alive)
		m.mu.Unlock()
	}
	m.lose("the media server lost the session")
}
