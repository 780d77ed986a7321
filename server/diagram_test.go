package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

func (w *world) look(h http.Handler, path string) (int, string) {
	synctest.Wait()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Code, rec.Body.String()
}

// A live call is a sequence diagram of who said what to whom, and nothing secret
// is in it.
func TestLiveCall(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		time.Sleep(2 * time.Second)
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		in := ref
		in.Candidate = "candidate:1 1 UDP 2015364095 192.0.2.7 48619 typ host"
		alice.rtc(signaling.ActionCandidate, in)
		_, text := w.look(w.srv.Calls(), "/debug/calls")
		rest := text
		for _, want := range []string{
			"%% 1v1 room room-alice-1, call call-alice-1, active, of alice, since 2000-01-01T00:00:00Z\nsequenceDiagram\n",
			"participant p0 as alice\n", "participant p1 as bob\n", "participant p2 as server\n", "participant p3 as media server\n",
			"p0->>p2: rtc/call of bob at 0.000 s\n", "p2->>p3: create pipeline and endpoint at 0.000 s\n", "p2->>p1: rtc_invite at",
			"p1->>p2: rtc/answer at 2.", "p2->>p0: rtc/answer of bob at 2.", "p0->>p2: rtc/offer at 2.", "p2->>p3: process offer at",
			"p3->>p2: dtls connected of alice (2 times) at", "p2->>p0: rtc/answer with SDP at", "p0->>p2: rtc/candidate at", "p2->>p3: add candidates at",
		} {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("no %q in its place in\n%s", want, text)
			}
			rest = after
		}
		for _, secret := range []string{"v=0", "192.0.2.7", "ufrag", "typ host", "eyJ"} {
			if strings.Contains(text, secret) {
				t.Errorf("the diagram has %q in it", secret)
			}
		}
		var body struct {
			Rooms []struct {
				RoomID, CallID, RoomType, State string
				Steps                           []struct{ From, To, What string }
			}
		}
		_, text = w.look(w.srv.Calls(), "/debug/calls?format=json&call=call-alice-1")
		if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Rooms) != 1 || body.Rooms[0].State != "active" || body.Rooms[0].Steps[0].What != "rtc/call of bob" {
			t.Errorf("%v: %s", err, text)
		}
		if _, text = w.look(w.srv.Calls(), "/debug/calls?format=json&room=other"); text != "{\"rooms\":[]}\n" {
			t.Errorf("another room: %s", text)
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		if _, text = w.look(w.srv.Calls(), "/debug/calls"); text != "" {
			t.Errorf("a call that is over is shown:\n%s", text)
		}
	})
}

// A conference is shown too, and names cannot break the diagram.
func TestLiveConference(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		eve := w.join("eve\n    server->>server: \"#;")
		eve.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "r", RoomType: "mcu"})
		_, text := w.look(w.srv.Calls(), "/debug/calls")
		if !strings.Contains(text, "%% mcu room r, of eve_") || !strings.Contains(text, "->>p1: rtc/join at") || strings.Contains(text, "\n    server") {
			t.Errorf("it is\n%s", text)
		}
	})
}

// Whoever asks for another role, or takes somebody out, is in the diagram.
func TestLiveRoles(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		in := signaling.RTC{RoomID: "r", RoomType: "mcu"}
		alice.rtc(signaling.ActionJoin, in)
		bob.rtc(signaling.ActionJoin, in)
		bob.rtc(signaling.ActionRole, signaling.RTC{RoomID: "r", Role: "subscriber"})
		alice.rtc(signaling.ActionKick, signaling.RTC{RoomID: "r", UserID: "bob"})
		_, text := w.look(w.srv.Calls(), "/debug/calls")
		for _, want := range []string{"p1->>p2: rtc/role at", "p0->>p2: rtc/kick at"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	})
}

// What is remembered has a bound, and it is the latest.
func TestTrailIsBounded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		for range 300 {
			alice.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
			bob.send(signaling.TypeRTC, signaling.ActionRinging, ref)
			synctest.Wait()
		}
		_, text := w.look(w.srv.Calls(), "/debug/calls")
		if n := strings.Count(text, "->>"); n != 200 || strings.Contains(text, "rtc/call") || !strings.Contains(text, "earlier steps are not remembered") {
			t.Errorf("%d steps:\n%s", n, text)
		}
	})
}
