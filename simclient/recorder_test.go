package simclient

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// event is one log record, as tests look at it.
type event struct {
	at    time.Duration
	kind  string
	level slog.Level
	attrs []slog.Attr
}

func (e event) get(key string) string {
	for _, a := range e.attrs {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

func (e event) int(key string) int64 {
	for _, a := range e.attrs {
		if a.Key == key {
			switch a.Value.Kind() {
			case slog.KindInt64:
				return a.Value.Int64()
			case slog.KindUint64:
				return int64(a.Value.Uint64())
			}
		}
	}
	return 0
}

func (e event) duration(key string) time.Duration {
	for _, a := range e.attrs {
		if a.Key == key && a.Value.Kind() == slog.KindDuration {
			return a.Value.Duration()
		}
	}
	return 0
}

// has tells whether the event has all of the attributes, given as key=value.
func (e event) has(attrs ...string) bool {
	return !slices.ContainsFunc(attrs, func(a string) bool {
		key, value, _ := strings.Cut(a, "=")
		return e.get(key) != value
	})
}

func (e event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", e.at, e.kind)
	for _, a := range e.attrs {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
	}
	return b.String()
}

// recorder is a slog.Handler that keeps everything.
type recorder struct {
	mu     *sync.Mutex
	start  time.Time
	events *[]event
	attrs  []slog.Attr
}

func newRecorder() *recorder {
	return &recorder{mu: new(sync.Mutex), start: time.Now(), events: new([]event)}
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	e := event{at: time.Since(r.start), kind: rec.Message, level: rec.Level, attrs: slices.Clone(r.attrs)}
	rec.Attrs(func(a slog.Attr) bool {
		e.attrs = append(e.attrs, a)
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.events = append(*r.events, e)
	return nil
}

func (r *recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *r
	c.attrs = append(slices.Clone(r.attrs), attrs...)
	return &c
}

func (r *recorder) WithGroup(string) slog.Handler { panic("the client does not group") }

// all returns everything so far.
func (r *recorder) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*r.events)
}

// find returns the events of a kind that have the attributes.
func (r *recorder) find(kind string, attrs ...string) []event {
	var found []event
	for _, e := range r.all() {
		if e.kind == kind && e.has(attrs...) {
			found = append(found, e)
		}
	}
	return found
}

// one returns the only event of a kind with the attributes.
func (r *recorder) one(t *testing.T, kind string, attrs ...string) event {
	t.Helper()
	found := r.find(kind, attrs...)
	if len(found) != 1 {
		t.Fatalf("%d events %s %v, want 1:\n%s", len(found), kind, attrs, r.dump())
	}
	return found[0]
}

// none fails if there is an event of the kind with the attributes.
func (r *recorder) none(t *testing.T, kind string, attrs ...string) {
	t.Helper()
	if found := r.find(kind, attrs...); len(found) > 0 {
		t.Errorf("unexpected %v in:\n%s", found, r.dump())
	}
}

// order fails unless the kinds happened in this order, other events between
// them aside. "kind key=value" asks for an attribute as well.
func (r *recorder) order(t *testing.T, kinds ...string) {
	t.Helper()
	rest := kinds
	for _, e := range r.all() {
		if len(rest) == 0 {
			break
		}
		if want := strings.Fields(rest[0]); e.kind == want[0] && e.has(want[1:]...) {
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		t.Fatalf("missing in order: %q of %q in:\n%s", rest, kinds, r.dump())
	}
}

// dump lists what happened, without the media windows.
func (r *recorder) dump() string {
	var b strings.Builder
	for _, e := range r.all() {
		if e.kind != eventWindow {
			fmt.Fprintln(&b, e)
		}
	}
	return b.String()
}

// wait lets time pass until the event is there, at most for d.
func (r *recorder) wait(t *testing.T, d time.Duration, kind string, attrs ...string) event {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		synctest.Wait()
		if found := r.find(kind, attrs...); len(found) > 0 {
			return found[len(found)-1]
		}
		if time.Now().After(end) {
			t.Fatalf("no %s %v within %v:\n%s", kind, attrs, d, r.dump())
		}
	}
}
