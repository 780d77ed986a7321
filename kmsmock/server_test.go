package kmsmock

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

func TestConfigWithoutSenseIsRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"timing":            {Timing: 7},
		"negative period":   {CollectorPeriod: -time.Second},
		"period of nothing": {CollectorPeriod: 3},
		"crossing":          {Faults: Faults{CrossMedia: 9}},
	} {
		if s, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			_ = s.Close()
		}
	}
}

// A mistake of the mock ends the connection that met it, is logged with where
// it happened, and leaves the server in order.
func TestPanicIsLogged(t *testing.T) {
	var log bytes.Buffer
	s, l := startMock(t, Config{Timing: Fast, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.mu.Lock()
	s.sessions = nil // the next request writes to it
	s.mu.Unlock()
	kms := dialTest(t, l)
	defer kms.close()
	kms.writes.Lock()
	err := kms.ws.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "create", "params": map[string]any{"type": "MediaPipeline"}})
	kms.writes.Unlock()
	must(t, err)
	kms.wg.Wait() // until the server ends the connection
	must(t, s.Close())
	if text := log.String(); !strings.Contains(text, "kms.panicked") || !strings.Contains(text, "registry.go") {
		t.Errorf("log says %q", text)
	}
}

// TestSessionsDieTwoPeriodsAfterTheirConnection follows the measured bounds:
// between one and two collection periods after the connection is gone.
func TestSessionsDieTwoPeriodsAfterTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := startMock(t, Config{Timing: Fast, CollectorPeriod: 8 * time.Second})
		silent, gone := dialTest(t, l), dialTest(t, l)
		defer silent.close()
		kept := silent.create("MediaPipeline", nil)
		time.Sleep(3 * time.Second)
		lost := gone.create("MediaPipeline", nil)
		gone.close()
		left := time.Now()
		for len(s.Left()) == 2 {
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(left); d < 8*time.Second || d > 16*time.Second {
			t.Errorf("the session lived on for %s", d)
		}
		time.Sleep(time.Minute)
		if got := s.Left(); len(got) != 1 || got[0] != kept {
			t.Errorf("%q is left, want %q; %q should be gone", got, kept, lost)
		}
	})
}

func TestCachedResponsesLast20Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startMock(t, Config{Timing: Fast})
		kms := dialTest(t, l)
		defer kms.close()
		ask := func(at time.Duration) string {
			time.Sleep(at)
			kms.mu.Lock()
			kms.id = 6
			kms.mu.Unlock()
			return kms.create("MediaPipeline", nil)
		}
		kms.create("MediaPipeline", nil)
		first := ask(0)
		if again := ask(18 * time.Second); again != first {
			t.Error("executed again after 18 s")
		}
		if again := ask(2 * time.Second); again == first {
			t.Error("still the old response after 20 s")
		}
	})
}

func TestNagleHoldsTheSecondFrame(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg      Config
		low, top time.Duration
	}{
		"recorded": {Config{}, 39 * time.Millisecond, 42 * time.Millisecond},
		"no nagle": {Config{NoNagle: true}, 50 * time.Microsecond, 500 * time.Microsecond},
		"fast":     {Config{Timing: Fast}, -100 * time.Microsecond, 100 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := startMock(t, tc.cfg)
				kms := dialTest(t, l)
				defer kms.close()
				pipe := kms.create("MediaPipeline", nil)
				a := kms.create("PassThrough", map[string]any{"mediaPipeline": pipe})
				kms.subscribe(a, "ElementConnected")
				time.Sleep(time.Second)
				kms.invoke(a, "connect", map[string]any{"sink": a})
				answered := time.Now()
				time.Sleep(time.Second)
				events := kms.seen()
				if len(events) != 3 {
					t.Fatalf("events %v", events)
				}
				if d := events[0].at.Sub(answered); d < tc.low || d > tc.top {
					t.Errorf("the event came %s after the answer", d)
				}
			})
		})
	}
}

// TestProcessOfferTakesItsTime pins the delays of the first call in a process
// and of later ones.
func TestProcessOfferTakesItsTime(t *testing.T) {
	inBubble(t, 2, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := kms.create("MediaPipeline", nil)
		var took []time.Duration
		for _, p := range peers {
			ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
			start := time.Now()
			kms.invoke(ep, "processOffer", map[string]any{"offer": p.offer()})
			took = append(took, time.Since(start))
		}
		if took[0] < 220*time.Millisecond || took[1] < 4*time.Millisecond || took[1] > 9*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestMessageSizes(t *testing.T) {
	_, l := startMock(t, Config{Timing: Fast})
	d := websocket.Dialer{NetDialContext: l.dial}
	for _, tc := range []struct {
		size int
		want string
	}{{31_000_000, `{"id":1,"jsonrpc":"2.0","result":{"value":"pong"}}`}, {32_500_000, ""}} {
		ws, _, err := d.Dial("ws://mock/kurento", nil)
		must(t, err)
		filler := strings.Repeat(" ", tc.size-60)
		go func() {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`+filler))
		}()
		_, answer, err := ws.ReadMessage()
		var ce *websocket.CloseError
		switch {
		case tc.want != "" && string(answer) != tc.want:
			t.Errorf("%d bytes: %s %v", tc.size, answer, err)
		case tc.want == "" && (!errors.As(err, &ce) || ce.Code != 1009 || ce.Text != "A message was too large"):
			t.Errorf("%d bytes: %v", tc.size, err)
		}
		_ = ws.Close()
	}
}

func TestServerTextStaysOutOfTheLog(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s, l := startMock(t, Config{Timing: Fast, Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		kms := dialTest(t, l)
		pipe := kms.create("MediaPipeline", nil)
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		kms.subscribe(ep, "Error")
		kms.invoke(ep, "setTurnUrl", map[string]any{"turnUrl": "user:hunter2@nowhere:3478"})
		kms.invoke(ep, "processOffer", map[string]any{"offer": "v=0\r\na=fingerprint:sha-256 secret\r\n"})
		kms.close()
		must(t, s.Close())
	})
	for _, secret := range []string{"hunter2", "secret", "v=0"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
	for _, kind := range []string{"kms.request", "kms.event", "kms.object.created", "kms.object.released", "kms.conn.opened"} {
		if !strings.Contains(log.String(), `"msg":"`+kind+`"`) {
			t.Errorf("the log has no %s", kind)
		}
	}
}

func TestSameSeedSameIDs(t *testing.T) {
	ids := func(seed uint64) (out string) {
		synctest.Test(t, func(t *testing.T) {
			_, l := startMock(t, Config{Timing: Fast, Seed: seed})
			kms := dialTest(t, l)
			defer kms.close()
			out = kms.create("MediaPipeline", nil)
		})
		return out
	}
	if one, again, two := ids(1), ids(1), ids(2); one != again || one == two {
		t.Errorf("seed 1 gives %s and %s, seed 2 gives %s", one, again, two)
	}
}

func TestServeOnTCP(t *testing.T) {
	s, err := New(Config{})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	kms := dialURL(t, "ws://"+l.Addr().String()+"/kurento", func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	})
	if kms.create("MediaPipeline", nil) == "" {
		t.Error("no pipeline")
	}
	must(t, s.Close())
	kms.wg.Wait()
	must(t, <-served)
}
