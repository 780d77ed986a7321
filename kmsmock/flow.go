package kmsmock

import (
	"sync/atomic"
	"time"
)

// A flow is the state of one medium in one direction of an element: flowing
// since a packet came, until a whole period has passed without one. The periods
// follow each other from the first packet on, or from when the element was
// first ready for one.
type flow struct {
	on    atomic.Bool
	last  atomic.Int64 // time of the last packet, ns since 1970
	since time.Time    // when the periods began
	timer *time.Timer
}

// flowSpacing is between the periods of an element's media. Those of a real server
// begin within 25 ms of each other.
const flowSpacing = 5 * time.Millisecond

// rest is what is left of the present period.
func (f *flow) rest(now time.Time, period time.Duration) time.Duration {
	return period - now.Sub(f.since)%period
}

func (f *flow) stop() {
	if f.timer != nil {
		f.timer.Stop()
	}
}

// notice tells a flow of a packet. Only the first after a silence takes the
// server's lock.
func (e *element) notice(f *flow, eventType string, k mediaKind, now time.Time) {
	f.last.Store(now.UnixNano())
	if !f.on.Load() {
		e.startFlow(f, eventType, k)
	}
}

func (e *element) startFlow(f *flow, eventType string, k mediaKind) {
	s := e.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	e.flowing(f, eventType, k, time.Unix(0, f.last.Load()))
}

// flowing is notice with the server's lock held.
func (e *element) flowing(f *flow, eventType string, k mediaKind, now time.Time) {
	f.last.Store(now.UnixNano())
	if e.closed || f.on.Load() {
		return
	}
	f.on.Store(true)
	e.reportFlow(eventType, k, "FLOWING")
	if f.since.IsZero() {
		f.since = time.Now().Add(time.Duration(k) * flowSpacing)
	}
	rest := f.rest(time.Now(), e.obj.srv.pace.flowPeriod)
	f.timer = time.AfterFunc(rest, func() { e.checkFlow(f, eventType, k) })
}

func (e *element) checkFlow(f *flow, eventType string, k mediaKind) {
	s := e.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closed || !f.on.Load() {
		return
	}
	now := time.Now()
	if idle := now.Sub(time.Unix(0, f.last.Load())); idle < s.pace.flowPeriod {
		f.timer.Reset(f.rest(now, s.pace.flowPeriod))
		return
	}
	f.on.Store(false)
	e.reportFlow(eventType, k, "NOT_FLOWING")
}

func (e *element) reportFlow(eventType string, k mediaKind, state string) {
	e.obj.srv.emit(e.obj, eventType, object{"mediaType": k.String(), "padName": "default", "state": state})
}

func isFlowingIn(c *call) (value, error) {
	return flowState(c, "MediaFlowingIn", "sinkMediaDescription", func(e *element, k mediaKind) bool { return e.in[k].on.Load() })
}

func isFlowingOut(c *call) (value, error) {
	return flowState(c, "MediaFlowingOut", "sourceMediaDescription", func(e *element, k mediaKind) bool { return e.out[k].on.Load() })
}

// isTranscoding answers false without a bin name, which is what Kurento was
// recorded to do even while it transcoded.
func isTranscoding(c *call) (value, error) {
	return flowState(c, "MediaTranscoding", "binName", func(*element, mediaKind) bool { return false })
}

// flowState answers about the only flow of a medium, which is called default.
func flowState(c *call, what, name string, of func(*element, mediaKind) bool) (value, error) {
	k := kindNamed(c.str("mediaType"))
	if k == kindData {
		return nil, failf(40107, "MEDIA_OBJECT_ILLEGAL_PARAM_ERROR", "Media type DATA is not supported for %s", what)
	}
	return c.str(name) == "default" && of(elementOf(c.obj), k), nil
}
