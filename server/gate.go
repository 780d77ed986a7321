package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Admission says how much is asked of the media server at once. A zero value
// stands for the default that its comment names.
type Admission struct {
	Operations int // creations and negotiations at a time; 10, as many threads as Kurento answers with
	Waiting    int // of them that may wait for that before nothing new may begin; 512
	Endpoints  int // of all rooms, from which on nothing new begins; Unlimited
}

// WithDefaults returns the admission with its zero values replaced, or says that one
// is negative.
func (a Admission) WithDefaults() (Admission, error) {
	if a.Operations < 0 || a.Waiting < 0 || a.Endpoints < 0 {
		return a, errors.New("server: a limit is negative")
	}
	if a.Operations == 0 {
		a.Operations = 10
	}
	if a.Waiting == 0 {
		a.Waiting = 512
	}
	if a.Endpoints == 0 {
		a.Endpoints = Unlimited
	}
	return a, nil
}

// overloadPause is how long nothing new is begun after the media server said that
// it has not the means (Kurento's 40009), and how long a client is asked to wait.
const overloadPause = 5 * time.Second

// overloadRetry is how long a room that is there waits before it asks a media
// server again that had not the means.
const overloadRetry = 250 * time.Millisecond

// gate stands before the media server. What makes or negotiates endpoints waits
// for one of few slots, in the order in which it came, but rooms that are there go
// before new ones. So an operation that was begun is quick, and a media server
// near its limit loses no call that it has.
type gate struct {
	cfg Admission

	mu      sync.Mutex
	busy    int
	waiting [2][]chan struct{} // by urgency; each is closed when its slot is there
	until   time.Time          // when something new may begin again

	endpoints atomic.Int64 // of all rooms
}

// The operations that wait for their turn, as the log and metrics name them.
const (
	createPipeline = "create pipeline"
	createEndpoint = "create endpoint"
	createCall     = "create pipeline and endpoint"
	processOffer   = "process offer"
)

// urgency is the order in which operations are done.
type urgency int

const (
	running urgency = iota // of a room that is there
	fresh                  // of one that begins
)

// errQueueFull says that too many operations wait.
var errQueueFull = fmt.Errorf("too many operations wait: %w", ErrMediaOverloaded)

// run does an operation when it is its turn. One of a room that is there is tried
// until its time is over if the media server has not the means.
func (g *gate) run(ctx context.Context, u urgency, op func(context.Context) error) error {
	for {
		if err := g.enter(ctx, u); err != nil {
			return err
		}
		err := op(ctx)
		g.leave()
		if !errors.Is(err, ErrMediaOverloaded) {
			return err
		}
		g.pause()
		if u == fresh || !sleep(ctx, overloadRetry) {
			return err
		}
	}
}

// sleep waits, and returns false if the context ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// enter takes a slot.
func (g *gate) enter(ctx context.Context, u urgency) error {
	turn, err := g.ask(u)
	if err != nil || turn == nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if g.withdraw(u, turn) {
			return fmt.Errorf("wait for the media server: %w: %w", ErrMediaOverloaded, ctx.Err())
		}
		return nil // the turn came in the same moment
	}
}

// ask takes a slot, or a place in the queue for one.
func (g *gate) ask(u urgency) (turn chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case u == fresh && time.Now().Before(g.until):
		return nil, ErrMediaOverloaded
	case g.busy < g.cfg.Operations:
		g.busy++
		return nil, nil
	case u == fresh && g.queued() >= g.cfg.Waiting:
		return nil, errQueueFull
	}
	turn = make(chan struct{})
	g.waiting[u] = append(g.waiting[u], turn)
	return turn, nil
}

// queued is how many operations wait. g.mu is held.
func (g *gate) queued() int { return len(g.waiting[running]) + len(g.waiting[fresh]) }

// withdraw leaves the queue, and returns false if the slot is there already.
func (g *gate) withdraw(u urgency, turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, t := range g.waiting[u] {
		if t == turn {
			g.waiting[u] = append(g.waiting[u][:i:i], g.waiting[u][i+1:]...)
			return true
		}
	}
	return false
}

// leave gives the slot to who waits longest among the most urgent, or back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for u := range g.waiting {
		if len(g.waiting[u]) > 0 {
			turn := g.waiting[u][0]
			g.waiting[u][0] = nil
			g.waiting[u] = g.waiting[u][1:]
			close(turn)
			return
		}
	}
	g.busy--
}

// pause keeps everything new away for a while.
func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Add(overloadPause)
}

// depth is how many operations wait and how many are under way.
func (g *gate) depth() (waiting, busy int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queued(), g.busy
}

// admit refuses something new, such as a call, when the media server has no room
// for it: before anything was made for it and before anybody was told of it.
func (g *gate) admit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch wait := time.Until(g.until); {
	case wait > 0:
		return overloaded(wait)
	case g.endpoints.Load() >= int64(g.cfg.Endpoints):
		return overloaded(overloadPause)
	}
	return nil
}

// overloaded is what a client is told; it may come again after that time.
func overloaded(wait time.Duration) *signaling.Error {
	e := signaling.Errorf(signaling.CodeOverloaded, "the media server is near its limit")
	e.RetryAfter = int((wait + time.Second - 1) / time.Second)
	return e
}
