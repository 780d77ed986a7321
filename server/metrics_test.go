package server_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// scrape reads what a Prometheus would.
func scrape(w *world) string {
	rec := httptest.NewRecorder()
	w.srv.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

// counts fails unless the metrics have these lines.
func counts(t *testing.T, w *world, lines ...string) {
	t.Helper()
	all := scrape(w)
	for _, l := range lines {
		if !strings.Contains(all, l+"\n") {
			t.Errorf("no %q in:\n%s", l, all)
		}
	}
}

func TestMetricsFollowACall(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		synctest.Wait()
		counts(t, w, "callbench_connections 2", `callbench_sessions{attached="true"} 2`, `callbench_calls{state="ringing"} 1`,
			`callbench_sessions_opened_total{how="new"} 2`)
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		synctest.Wait()
		counts(t, w, `callbench_calls{state="active"} 1`, `callbench_calls{state="ringing"} 0`, "callbench_call_setup_seconds_count 1",
			`callbench_media_operation_seconds_count{operation="process offer",outcome="ok"} 2`)
		alice.refused(signaling.CodeForbidden, signaling.ActionLeave, signaling.RTC{UserID: "bob"})
		bob.drop()
		synctest.Wait()
		counts(t, w, `callbench_sessions{attached="false"} 1`, `callbench_requests_refused_total{code="forbidden"} 1`)
		alice.rtc(signaling.ActionLeave, ref)
		time.Sleep(10 * time.Second) // bob confirms nothing
		counts(t, w, `callbench_calls_ended_total{reason="hangup"} 1`, `callbench_calls{state="active"} 0`)
	})
}

// A frame is refused wherever it is found wrong, and a write is lost whoever wrote.
func TestMetricsCountWhatGoesWrong(t *testing.T) {
	bubble(t, func(cfg *server.Config) { cfg.State = noPresence{cfg.State} }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.sendRaw("no JSON")
		alice.sendID(strings.Repeat("x", 65), signaling.TypeRTC, signaling.ActionLeave, nil)
		synctest.Wait()
		counts(t, w, `callbench_requests_refused_total{code="bad_frame"} 2`, `callbench_state_failures_total{operation="put presence"} 1`)
	})
}

// noPresence is a State that cannot store a presence.
type noPresence struct{ server.State }

func (noPresence) PutPresence(context.Context, signaling.State) (uint64, error) {
	return 0, errors.New("out of order")
}

// Phases, resumes and queues are counted as they happen.
func TestMetricsOfPhasesResumesAndQueues(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Limits.SessionsPerUser = 100; c.Limits.ConnectionsPerUser = 100 }, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		time.Sleep(3 * time.Second)
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		carol, welcome := w.enter("carol")
		carol.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "r", RoomType: "mcu"})
		time.Sleep(2 * time.Second)
		carol.rtc(signaling.ActionOffer, signaling.RTC{RoomID: "r", SDP: sdpOffer})
		counts(t, w, `callbench_phase_seconds_sum{phase="ring"} 3`, `callbench_phase_seconds_sum{phase="join"} 2`, `callbench_phase_seconds_count{phase="leg"} 3`,
			`callbench_rooms{type="mcu"} 1`, `callbench_rooms{type="1v1"} 1`, `callbench_queued{queue="connections"} 0`)

		try := func(h signaling.Hello) {
			c := w.dial("carol", nil)
			h.Version = 1
			c.request(signaling.TypeHello, "", h)
		}
		carol.drop()
		try(signaling.Hello{Resume: "nobody.x"})
		try(signaling.Hello{Resume: "session-carol-1.x"})
		try(signaling.Hello{Resume: welcome.ResumeToken, LastSeq: 99})
		try(signaling.Hello{Resume: welcome.ResumeToken, Token: token(t, "dave")})
		w.rejoin(carol, welcome.ResumeToken)
		counts(t, w, `callbench_resumes_total{outcome="unknown"} 1`, `callbench_resumes_total{outcome="spent"} 1`, `callbench_resumes_total{outcome="missed"} 1`,
			`callbench_resumes_total{outcome="token"} 1`, `callbench_resumes_total{outcome="resumed"} 1`)

		dave := w.join("dave")
		defer close(dave.freeze())
		dave.link.Cut()
		for range 40 {
			if f := alice.request(signaling.TypeMessage, "", signaling.Message{To: "dave", Content: strings.Repeat("x", 16<<10)}); f.Type != signaling.TypeAck {
				t.Fatal(string(f.Data))
			}
		}
		if text := scrape(w); strings.Contains(text, `callbench_queued{queue="connections"} 0`) || strings.Contains(text, `callbench_queue_longest{queue="connections"} 0`) {
			t.Errorf("nothing waits for dave, who does not read:\n%s", text)
		}
	})
}

func TestHealth(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		look := func() int {
			rec := httptest.NewRecorder()
			w.srv.Health().ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
			return rec.Code
		}
		if code := look(); code != 200 {
			t.Errorf("healthy: %d", code)
		}
		w.close()
		if code := look(); code != 503 {
			t.Errorf("closed: %d", code)
		}
	})
}

// docs/serve.md names every metric, and no other.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/serve.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(callbench_[a-z0-9_]+)` \\| ([^|]*)\\|").FindAllStringSubmatch(string(page)+"\n", -1) {
		documented[m[1]] = strings.ReplaceAll(strings.ReplaceAll(m[2], "`", ""), " ", "")
	}
	for name, labels := range server.MetricLabels() {
		if got, ok := documented[name]; !ok || got != labels {
			t.Errorf("the page says of %s that its labels are %q, they are %q", name, got, labels)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("there is no %s", name)
	}
}
