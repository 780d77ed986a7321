package server_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/callbench/callbench/server"
)

// mood is what a State does with what it is asked for: "" does it.
type mood struct {
	mu  sync.Mutex
	now string
}

// moods are those that are not good ones. A request takes StoreTimeout, 2 s, at most.
var moods = []string{"fails", "loses its answers", "is slow", "hangs"}

func (m *mood) set(to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = to
}

func (m *mood) get() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

var errFickle = errors.New("the state does not want to")

// fickle is a State that does things in its mood, and that a server that was killed
// cannot reach any more.
func fickle(state server.State, m *mood, l *life) server.State {
	return guardedState{state, func(ctx context.Context, f func() error) error {
		if err := l.err(); err != nil {
			return err
		}
		switch m.get() {
		case "fails":
			return errFickle
		case "loses its answers":
			if err := f(); err != nil {
				return err
			}
			return errFickle
		case "is slow":
			time.Sleep(900 * time.Millisecond)
		case "hangs":
			<-ctx.Done()
			return ctx.Err()
		}
		if err := errors.Join(ctx.Err(), l.err()); err != nil { // while it was slow
			return err
		}
		return f()
	}}
}
