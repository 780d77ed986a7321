package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// ear is the log of a client, of which it keeps what the table is about.
type ear struct {
	mu      sync.Mutex
	ended   map[string]string // why calls ended, by call
	flows   string            // the state of the audio that arrives
	changed time.Time         // when something of its call, connection or media changed
	odd     []string          // violations of the protocol
}

// Enabled implements slog.Handler.
func (e *ear) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (e *ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements slog.Handler.
func (e *ear) WithGroup(string) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *ear) Handle(_ context.Context, r slog.Record) error {
	said := map[string]string{}
	r.Attrs(func(a slog.Attr) bool { said[a.Key] = a.Value.String(); return true })
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r.Message {
	case "call.ended":
		e.ended[said["call"]] = said["reason"]
		e.flows, e.changed = "", r.Time
	case "media.flow":
		e.flows, e.changed = said["state"], r.Time
	case "call.negotiate", "session.resumed", "session.reconnecting", "call.reconnecting", "call.reconnected", "call.connected":
		e.changed = r.Time
	case "protocol.violation":
		e.odd = append(e.odd, fmt.Sprint(said))
	}
	return nil
}

func (e *ear) hears() (flows string, changed time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flows, e.changed
}

func (e *ear) reason(call string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended[call]
}

// caller is a client with its ear.
type caller struct {
	*simclient.Client
	user string
	ear  *ear
}

// couple are two who call each other, again and again.
type couple struct {
	a, b *caller
	call string // the one that they should be in
}

// crowd makes so many couples, connected; with changes how.
func crowd(t *testing.T, addr, secret string, n int, with ...func(*simclient.Config)) (couples []*couple) {
	t.Helper()
	pacer := media.NewPacer(media.PacerConfig{})
	t.Cleanup(func() { _ = pacer.Close() })
	opus, err := media.Load(media.ClipOpus)
	if err != nil {
		t.Fatal(err)
	}
	enter := func(user string) *caller {
		ear := &ear{ended: map[string]string{}}
		cfg := simclient.Config{User: user, Device: "one", URL: "ws://" + addr + "/ws", Log: slog.New(ear), Pacer: pacer,
			Clips: []*media.Clip{opus}, NoCamera: true, Loopback: true, Batch: 20 * time.Millisecond,
			Token: func(context.Context) (string, error) {
				claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
				return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
			}}
		for _, change := range with {
			change(&cfg)
		}
		c, err := simclient.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return &caller{c, user, ear}
	}
	for i := range n {
		couples = append(couples, &couple{a: enter(fmt.Sprint("a", i)), b: enter(fmt.Sprint("b", i))})
	}
	return couples
}

// talk has the couple call each other, and returns when audio flows both ways.
func (k *couple) talk(ctx context.Context) error {
	if err := k.a.Call(ctx, k.b.user); err != nil {
		return err
	}
	if err := wait(ctx, "the callee rings", func() bool { return k.b.State().CallState == "incoming" }); err != nil {
		return err
	}
	if err := k.b.Accept(ctx); err != nil {
		return err
	}
	k.call = k.a.State().Call
	return wait(ctx, "audio flows both ways", k.talks)
}

// talks reports whether both are in the call, connected, and hear each other.
func (k *couple) talks() bool {
	for _, c := range []*caller{k.a, k.b} {
		s := c.State()
		flows, _ := c.ear.hears()
		if s.Link != "up" || s.Call != k.call || s.CallState != "connected" || flows != "flowing" {
			return false
		}
	}
	return true
}

// over reports whether the call has ended at both, and why.
func (k *couple) over() (reason string, over bool) {
	for _, c := range []*caller{k.a, k.b} {
		if c.State().Call == k.call {
			return "", false
		}
	}
	return strings.Trim(k.a.ear.reason(k.call)+"/"+k.b.ear.reason(k.call), "/"), true
}

// answered reports whether the server answers both: the connection is not only
// open.
func (k *couple) answered(ctx context.Context) bool {
	for _, c := range []*caller{k.a, k.b} {
		if _, err := c.Request(ctx, signaling.TypeState, "", signaling.State{UserID: c.user}); err != nil {
			return false
		}
	}
	return true
}

func (k *couple) describe() string {
	var all []string
	for _, c := range []*caller{k.a, k.b} {
		s := c.State()
		flows, _ := c.ear.hears()
		all = append(all, fmt.Sprintf("%s: link %s, call %q %s, leg %d, audio %q", c.user, s.Link, s.Call, s.CallState, s.Leg, flows))
	}
	return k.call + ": " + strings.Join(all, "; ")
}

func wait(ctx context.Context, what string, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not happen: %s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
