package simclient

import (
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/callbench/callbench/simclient/media"
)

// TestLoop is a call on real sockets, in real time, that leaves nothing behind.
func TestLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("takes real time")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	srv := newFake(t)
	srv.hub = newHub(t, nil)
	web := httptest.NewServer(srv)
	pacer := media.NewPacer(media.PacerConfig{})
	client := func(user string) (*Client, *signals) {
		seen := &signals{recorder: newRecorder(), events: make(chan event, 1000)}
		c, err := New(Config{User: user, URL: strings.Replace(web.URL, "http", "ws", 1), Pacer: pacer,
			Token: func(context.Context) (string, error) { return user, nil },
			Log:   slog.New(seen), Loopback: true, IPFilter: net.IP.IsLoopback, Interceptors: NACK})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c, seen
	}
	alice, seenByAlice := client("alice")
	bob, seenByBob := client("bob")
	if err := alice.Call(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	seenByBob.await(t, eventIncoming)
	if err := bob.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	seenByAlice.await(t, eventFlow, "media=video", "state=flowing", "from=bob")
	seenByBob.await(t, eventFlow, "media=video", "state=flowing", "from=alice")
	bob.Drop()
	seenByBob.await(t, eventResumed)
	bob.Sleep(200 * time.Millisecond)
	seenByBob.await(t, eventWake)
	bob.Background()
	bob.Foreground()
	seenByBob.await(t, eventForeground)
	if err := bob.Hangup(t.Context()); err != nil {
		t.Fatal(err)
	}
	seenByAlice.await(t, eventCallEnded, "by=bob")
	for _, c := range []*Client{alice, bob} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	pacer.Close()
	web.Close()
	srv.conns.Wait()
	srv.hub.close()
	for _, seen := range []*signals{seenByAlice, seenByBob} {
		seen.none(t, eventViolation)
		seen.none(t, eventFailure)
	}
}

// signals is a recorder whose events can be waited for in real time.
type signals struct {
	*recorder
	events chan event
}

func (s *signals) WithAttrs(attrs []slog.Attr) slog.Handler { return s.recorder.WithAttrs(attrs) }

func (s *signals) Handle(ctx context.Context, rec slog.Record) error {
	if err := s.recorder.Handle(ctx, rec); err != nil {
		return err
	}
	all := s.all()
	s.events <- all[len(all)-1]
	return nil
}

func (s *signals) await(t *testing.T, kind string, attrs ...string) {
	t.Helper()
	guard := time.After(20 * time.Second)
	for {
		select {
		case e := <-s.events:
			if e.kind == kind && e.has(attrs...) {
				return
			}
		case <-guard:
			t.Fatalf("no %s %v:\n%s", kind, attrs, s.dump())
		}
	}
}
