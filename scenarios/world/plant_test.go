package world

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
)

// meddle changes what the server writes to its clients: f gives what is written
// in the place of each write, which is one WebSocket frame.
func meddle(f func(frame []byte) [][]byte) func(http.Handler) http.Handler {
	return func(server http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			server.ServeHTTP(meddledWriter{w, f}, r)
		})
	}
}

type meddledWriter struct {
	http.ResponseWriter
	f func([]byte) [][]byte
}

func (m meddledWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := m.ResponseWriter.(http.Hijacker).Hijack()
	return meddledConn{c, m.f}, rw, err
}

type meddledConn struct {
	net.Conn
	f func([]byte) [][]byte
}

func (m meddledConn) Write(b []byte) (int, error) {
	for _, frame := range m.f(b) {
		if _, err := m.Conn.Write(frame); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// twice doubles the pushes that hold a text; the second has the next number.
func twice(text string) func([]byte) [][]byte {
	number := regexp.MustCompile(`"seq":([0-9]+)`)
	return func(b []byte) [][]byte {
		if !bytes.Contains(b, []byte(text)) {
			return [][]byte{b}
		}
		again := number.ReplaceAllFunc(b, func(m []byte) []byte {
			n, _ := strconv.Atoi(string(m[len(`"seq":`):]))
			return fmt.Appendf(nil, `"seq":%d`, n+1)
		})
		if len(again) != len(b) {
			panic("the next number has another length, and the frame's header with it")
		}
		return [][]byte{b, again}
	}
}

// without swallows the frames that hold a text.
func without(text string) func([]byte) [][]byte {
	return func(b []byte) [][]byte {
		if bytes.Contains(b, []byte(text)) {
			return nil
		}
		return [][]byte{b}
	}
}

// Known faults, planted on purpose: each must be found, and by its name.
func TestPlantedFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		plant Plant
		check string // the rule that must find it
		say   string // what a failure must say
	}{
		"everybody hears himself":            {Plant{KMS: kmsmock.Faults{CrossMedia: kmsmock.CrossOwn}}, "wrong-origin", "not the other party"},
		"the media server loses a candidate": {Plant{KMS: kmsmock.Faults{DropCandidates: []int{1}}}, "candidate-lost", "alice"},
		"a released endpoint stays":          {Plant{KMS: kmsmock.Faults{KeepReleased: true}}, "expect", "WebRtcEndpoint"},
		"the end is told twice":              {Plant{Front: meddle(twice(`"action":"ended"`))}, "ended-twice", "bob"},
		"a candidate is lost on its way":     {Plant{Front: meddle(without(`"seq":6,`))}, "sequence", "alice"},
		"the history has another reason":     {Plant{History: misremember(func(r *server.RoomHistory) { r.Reason = "declined" })}, "history-differs", "ended with hangup; the history says declined"},
		"the history lacks the end":          {Plant{History: func(h server.History) server.History { return forgetful{h} }}, "history-differs", "is active in the history"},
		"the history lacks the callee":       {Plant{History: func(h server.History) server.History { return lonely{h} }}, "history-differs", "has the members alice"},
		"the row of the call lacks the end":  {Plant{History: miscount(func(r *server.CallHistory) { r.EndedAt = time.Time{} })}, "rows-differ", "its row in the history has no end"},
		"the row of the call is shorter":     {Plant{History: miscount(func(r *server.CallHistory) { r.AnsweredAt = r.EndedAt })}, "rows-differ", "for 0s"},
		"the history has another room":       {Plant{History: misremember(func(r *server.RoomHistory) { r.RoomID, r.CallID = "r-9", "c-9" })}, "history-differs", "no client saw"},
		"nobody rings":                       {Plant{Front: meddle(without(`"action":"ringing"`))}, "expect", "alice lacks ringing"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := scenarios.Load("call")
			if err != nil {
				t.Fatal(err)
			}
			if c.check == "history-differs" || c.check == "rows-differ" { // the script must not find it first
				s = withoutWorld(s)
			}
			r, _ := sim(t, s, 1, c.plant)
			if r.Verdict != reports.Fail {
				t.Fatalf("%s: %s", r.Verdict, r.Reason)
			}
			for _, f := range r.Failures {
				if f.Check == c.check && strings.Contains(f.Message+f.Detail, c.say) {
					return
				}
			}
			t.Errorf("no failure of %s says %q:\n%s", c.check, c.say, explain(r))
		})
	}
}

// misremember changes the rows of rooms.
func misremember(change func(*server.RoomHistory)) func(server.History) server.History {
	return func(h server.History) server.History { return misremembering{h, change} }
}

type misremembering struct {
	server.History
	change func(*server.RoomHistory)
}

func (m misremembering) RoomStarted(ctx context.Context, r server.RoomHistory) error {
	m.change(&r)
	return m.History.RoomStarted(ctx, r)
}

func (m misremembering) RoomEnded(ctx context.Context, r server.RoomHistory) error {
	m.change(&r)
	return m.History.RoomEnded(ctx, r)
}

// miscount changes the rows of calls.
func miscount(change func(*server.CallHistory)) func(server.History) server.History {
	return func(h server.History) server.History { return miscounting{h, change} }
}

type miscounting struct {
	server.History
	change func(*server.CallHistory)
}

func (m miscounting) CallChanged(ctx context.Context, r server.CallHistory) error {
	m.change(&r)
	return m.History.CallChanged(ctx, r)
}

// forgetful does not write that rooms end.
type forgetful struct{ server.History }

func (forgetful) RoomEnded(context.Context, server.RoomHistory) error { return nil }

// lonely writes the first member of a room only.
type lonely struct{ server.History }

func (l lonely) MemberJoined(ctx context.Context, m server.MemberHistory) error {
	if m.UserID != "alice" {
		return nil
	}
	return l.History.MemberJoined(ctx, m)
}

func (l lonely) MemberLeft(ctx context.Context, m server.MemberHistory) error {
	if m.UserID != "alice" {
		return nil
	}
	return l.History.MemberLeft(ctx, m)
}

// withoutWorld is a scenario without what it expects of the world.
func withoutWorld(s *scenarios.Scenario) *scenarios.Scenario {
	one := *s
	one.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(st scenarios.Step) bool {
		return st.Kind == scenarios.Expect && len(st.Actors) == 0
	})
	return &one
}

// A leg whose DTLS never finishes is noticed, named and made anew.
func TestStalledDTLSIsMadeAnew(t *testing.T) {
	s, err := scenarios.Parse("stall.call", `
need    media
clients alice=electron bob=electron
alice   call bob
expect  bob incoming from=alice
bob     accept
expect  alice,bob media audio,video within=15s
`)
	if err != nil {
		t.Fatal(err)
	}
	r, events := sim(t, s, 1, Plant{KMS: kmsmock.Faults{StallDTLS: 1}})
	passed(t, r, events)
	for _, e := range events {
		if e.Kind == "call.negotiate" && e.Get("reason") == "dtls_timeout" {
			return
		}
	}
	t.Error("no client was asked to negotiate anew because of dtls_timeout")
}
