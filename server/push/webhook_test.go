package push_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/push"
	"github.com/callbench/callbench/signaling"
)

const secret = "a secret of at least 24 bytes"

// hook is a webhook in a bubble. It answers one request after the other with the
// next of its answers, and all that follow with the last.
type hook struct {
	t       *testing.T
	push    *push.Webhook
	start   time.Time
	logs    *bytes.Buffer
	answers []int
	header  http.Header
	slow    time.Duration

	mu     sync.Mutex
	at     []time.Duration // of each request
	bodies []string
	ids    []string
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	signer, err := push.NewSigner(secret)
	if err != nil {
		h.t.Error(err)
	}
	if err := signer.Verify(r.Header, body, time.Now()); err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	n := len(h.at)
	h.at, h.bodies, h.ids = append(h.at, time.Since(h.start)), append(h.bodies, string(body)), append(h.ids, r.Header.Get(push.HeaderID))
	h.mu.Unlock()
	select {
	case <-time.After(h.slow):
	case <-r.Context().Done():
		return
	}
	for k, v := range h.header {
		w.Header()[k] = v
	}
	w.WriteHeader(h.answers[min(n, len(h.answers)-1)])
}

// with runs a test against a webhook that answers so.
func with(t *testing.T, answers []int, tune func(*push.Config, *hook), test func(t *testing.T, h *hook)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		streams := netsim.NewStreams(0)
		streams.AddHost("hook", netip.MustParseAddr("10.1.0.1"), nil)
		link := netsim.NewLink(netsim.LinkConfig{})
		streams.AddHost("server", netip.MustParseAddr("10.1.0.2"), link)
		ln, err := streams.Listen("hook:80")
		if err != nil {
			t.Fatal(err)
		}
		h := &hook{t: t, start: time.Now(), logs: &bytes.Buffer{}, answers: answers}
		cfg := push.Config{URL: "http://hook/calls?key=of-the-product", Secret: secret, Log: slog.New(slog.NewTextHandler(h.logs, nil)),
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return streams.Dial(ctx, link, "hook:80") }}
		if tune != nil {
			tune(&cfg, h)
		}
		if h.push, err = push.New(cfg); err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: h}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		test(t, h)
		if err := errors.Join(h.push.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
		<-served
		if strings.Contains(h.logs.String(), "of-the-product") || strings.Contains(h.logs.String(), secret) {
			t.Errorf("the log has a secret: %s", h.logs)
		}
	})
}

// invite is a notification of a call that rings for 20 s.
func invite() server.Notification {
	return server.Notification{Type: server.NotifyInvite, CallID: "c-1", RoomID: "r-1", From: "alice", To: "bob", Expires: time.Now().Add(20 * time.Second)}
}

func TestNotify(t *testing.T) {
	with(t, []int{204}, nil, func(t *testing.T, h *hook) {
		if err := h.push.Notify(t.Context(), invite()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		n := invite()
		n.Type, n.Reason, n.Expires = server.NotifyCancel, signaling.ReasonCancelled, n.Expires.Add(-5*time.Second)
		if err := h.push.Notify(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		want := []string{`{"type":"invite","callId":"c-1","roomId":"r-1","from":"alice","to":"bob","expire":20}`,
			`{"type":"cancel","callId":"c-1","roomId":"r-1","from":"alice","to":"bob","expire":15,"reason":"cancelled"}`}
		if !slices.Equal(h.bodies, want) || !slices.Equal(h.ids, []string{"c-1.invite", "c-1.cancel"}) {
			t.Errorf("the webhook was told %q as %q", h.bodies, h.ids)
		}
		if h.logs.Len() != 0 {
			t.Errorf("the log says %s", h.logs)
		}
	})
}

// TestRetries tries again what may do better then: later and later, never
// beyond the time that the call rings.
func TestRetries(t *testing.T) {
	with(t, []int{503, 500, 429, 408, 200}, nil, func(t *testing.T, h *hook) {
		if err := h.push.Notify(t.Context(), invite()); err != nil {
			t.Fatal(err)
		}
		for i, gap := range gaps(h.at) {
			if least := 250 * time.Millisecond << i; gap < least || gap > least*3/2 {
				t.Errorf("attempt %d came %v after the one before", i+2, gap)
			}
		}
		if len(h.at) != 5 || len(slices.Compact(h.ids)) != 1 {
			t.Errorf("attempts at %v as %q", h.at, h.ids)
		}
	})
}

func gaps(at []time.Duration) (gaps []time.Duration) {
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	return gaps
}

func TestRetriesEndWithTheRinging(t *testing.T) {
	with(t, []int{503}, nil, func(t *testing.T, h *hook) {
		err := h.push.Notify(t.Context(), invite())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(h.start) != 20*time.Second {
			t.Errorf("after %v: %v", time.Since(h.start), err)
		}
		if n := len(h.at); n < 5 || h.at[n-1] >= 20*time.Second {
			t.Errorf("attempts at %v", h.at)
		}
		if last := h.bodies[len(h.bodies)-1]; strings.Contains(last, `"expire":20`) {
			t.Errorf("the last attempt says %s", last)
		}
	})
}

func TestRetriesEndWithTheCall(t *testing.T) {
	with(t, []int{503}, nil, func(t *testing.T, h *hook) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := h.push.Notify(ctx, invite()); err == nil || time.Since(h.start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(h.start), err)
		}
	})
}

// TestRetryAfter leaves a webhook in peace for as long as it asks.
func TestRetryAfter(t *testing.T) {
	tune := func(_ *push.Config, h *hook) { h.header = http.Header{"Retry-After": {"7"}} }
	with(t, []int{429, 200}, tune, func(t *testing.T, h *hook) {
		if err := h.push.Notify(t.Context(), invite()); err != nil || len(h.at) != 2 || h.at[1]-h.at[0] != 7*time.Second {
			t.Errorf("attempts at %v: %v", h.at, err)
		}
	})
}

// TestRefusedForGood does not ask again what will be answered alike.
func TestRefusedForGood(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 410, 301, 302, 307} {
		tune := func(_ *push.Config, h *hook) { h.header = http.Header{"Location": {"http://hook/elsewhere"}} }
		with(t, []int{code}, tune, func(t *testing.T, h *hook) {
			err := h.push.Notify(t.Context(), invite())
			if err == nil || len(h.at) != 1 || errors.Is(err, server.ErrPushGone) != (code == 410) {
				t.Errorf("%d after %d requests: %v", code, len(h.at), err)
			}
		})
	}
}

// TestTimeout gives up an attempt that is not answered, and makes another.
func TestTimeout(t *testing.T) {
	with(t, []int{200}, func(_ *push.Config, h *hook) { h.slow = time.Minute }, func(t *testing.T, h *hook) {
		err := h.push.Notify(t.Context(), invite())
		synctest.Wait()
		h.mu.Lock() // which orders this behind the requests that were given up
		defer h.mu.Unlock()
		if err == nil || len(h.at) != 4 || h.at[1]-h.at[0] < 5*time.Second {
			t.Errorf("attempts at %v: %v", h.at, err)
		}
	})
}

// TestInFlight has as many attempts at a time as is allowed, and the others wait.
func TestInFlight(t *testing.T) {
	tune := func(c *push.Config, h *hook) { c.InFlight, h.slow = 2, time.Second }
	with(t, []int{200}, tune, func(t *testing.T, h *hook) {
		var wait sync.WaitGroup
		for range 6 {
			wait.Go(func() {
				if err := h.push.Notify(t.Context(), invite()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		var whole []time.Duration
		for _, at := range h.at {
			whole = append(whole, at.Truncate(time.Second))
		}
		if want := []time.Duration{0, 0, time.Second, time.Second, 2 * time.Second, 2 * time.Second}; !slices.Equal(whole, want) {
			t.Errorf("requests at %v", h.at)
		}
	})
}

// TestOverASocket is a webhook as it is run.
func TestOverASocket(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/wake" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked for %s %s as %q", r.Method, r.URL, r.Header)
		}
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer srv.Close()
	w, err := push.New(push.Config{URL: srv.URL + "/wake", Secret: secret, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Notify(t.Context(), invite()); err != nil || asked.Load() != 2 {
		t.Errorf("%d requests: %v", asked.Load(), err)
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	w, err := push.New(push.Config{URL: "http://" + ln.Addr().String() + "/?key=hidden", Secret: secret, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n := invite()
	n.Expires = time.Now().Add(50 * time.Millisecond)
	if err := w.Notify(t.Context(), n); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error is %v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []push.Config{
		{Secret: secret}, {URL: "ftp://host/", Secret: secret}, {URL: "hook", Secret: secret}, {URL: "http://hook"},
		{URL: "http://hook", Secret: "short"}, {URL: "http://hook", Secret: "whsec_!"}, {URL: "http://hook", Secret: secret, Timeout: -1},
	} {
		if _, err := push.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
