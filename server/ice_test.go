package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// Each welcome and each answer to turn has credentials of its own, made for the
// session's user at that moment.
func TestICEServers(t *testing.T) {
	n := 0
	issue := func(user string) ([]signaling.ICEServer, time.Duration) {
		n++
		return []signaling.ICEServer{{URLs: []string{"turn:192.0.2.1"}, Username: user, Credential: fmt.Sprint("secret-", n)}}, 5 * time.Minute
	}
	want := func(n int) []signaling.ICEServer {
		return []signaling.ICEServer{{URLs: []string{"turn:192.0.2.1"}, Username: "alice", Credential: fmt.Sprint("secret-", n)}}
	}
	bubble(t, func(c *server.Config) { c.ICE = issue }, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		if diff := cmp.Diff(want(1), welcome.ICEServers); diff != "" || welcome.ICETTL != 300 || !slices.Contains(welcome.Features, signaling.FeatureTURN) {
			t.Errorf("welcome is %+v: %s", welcome, diff)
		}
		var fresh signaling.TURN
		if err := alice.request(signaling.TypeTURN, "", nil).Into(&fresh); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(signaling.TURN{ICEServers: want(2), TTL: 300}, fresh); diff != "" {
			t.Error(diff)
		}
		alice.drop()
		_, back := w.rejoin(alice, welcome.ResumeToken)
		if diff := cmp.Diff(want(3), back.ICEServers); diff != "" || !back.Resumed || back.ICETTL != 300 {
			t.Errorf("welcome back is %+v: %s", back, diff)
		}
		if log := w.logs.String(); strings.Contains(log, "secret-") {
			t.Errorf("the log holds credentials:\n%s", log)
		}
	})
}

// A server without ICE servers does not know the request.
func TestNoICEServers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		if welcome.ICEServers != nil || welcome.ICETTL != 0 || slices.Contains(welcome.Features, signaling.FeatureTURN) {
			t.Errorf("welcome is %+v", welcome)
		}
		alice.isError(signaling.CodeUnknownType, alice.request(signaling.TypeTURN, "", nil))
	})
}
