package kurento_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/kurento"
)

// callKMS is a script: a transaction is answered after a while with these members,
// and released gets what is released. An event of the endpoint overtakes the answer.
func callKMS(members []string, after time.Duration, released chan<- string) func(*peer) {
	return func(p *peer) {
		p.serve("s", "k", func(r rpcRequest) {
			switch r.Method {
			case "transaction":
				go func() {
					time.Sleep(after)
					p.event("p/e", "Paused", 7)
					p.event("p/other", "Paused", 8)
					p.value(r, "["+strings.Join(members, ",")+"]")
				}()
			case "release":
				released <- r.param("object")
				p.result(r, `{"sessionId":"s"}`)
			default:
				p.answerAll(r)
			}
		})
	}
}

func done(id int, value string) string {
	return fmt.Sprintf(`{"id":%d,"jsonrpc":"2.0","result":{"sessionId":"s","value":%q}}`, id, value)
}

func refused(id int) string {
	return fmt.Sprintf(`{"error":{"code":40009,"data":{"type":"NOT_ENOUGH_RESOURCES"},"message":"no"},"id":%d,"jsonrpc":"2.0"}`, id)
}

// TestCreateCall makes pipeline, endpoint and subscriptions at once: there is all of
// it, or nothing is left of it.
func TestCreateCall(t *testing.T) {
	for name, tt := range map[string]struct {
		members  []string
		after    time.Duration
		released string
	}{
		"all":                  {members: []string{done(0, "p"), done(1, "p/e"), done(2, "s1"), done(3, "s2")}},
		"pipeline refused":     {members: []string{refused(0)}},
		"endpoint refused":     {members: []string{done(0, "p"), refused(1)}, released: "p"},
		"subscription refused": {members: []string{done(0, "p"), done(1, "p/e"), done(2, "s1"), refused(3)}, released: "p"},
		"cut short":            {members: []string{done(0, "p")}, released: "p"},
		"one subscription":     {members: []string{done(0, "p"), done(1, "p/e"), done(2, "s1")}, released: "p"},
		"late":                 {members: []string{done(0, "p"), done(1, "p/e"), done(2, "s1"), done(3, "s2")}, after: 15 * time.Second, released: "p"},
		"late and refused":     {members: []string{done(0, "p"), refused(1)}, after: 15 * time.Second, released: "p"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				released := make(chan string, 9)
				c := dialWire(t, newWire(t, callKMS(tt.members, tt.after, released)), nil)
				var got []int64
				p, e, err := c.CreateCall(within(t, time.Second), kurento.WebRtcEndpointOptions{}, func(ev kurento.Event) {
					body, _ := ev.Decode()
					got = append(got, int64(body.(kurento.Paused).Time))
				}, kurento.EventPaused, kurento.EventStopped)
				switch {
				case tt.after > 0 && !errors.Is(err, context.DeadlineExceeded):
					t.Errorf("error %v, want that of the deadline", err)
				case name == "all" && (err != nil || p.ID() != "p" || e.ID() != "p/e"):
					t.Errorf("made %q and %q: %v", p.ID(), e.ID(), err)
				case name != "all" && (err == nil || p.ID() != "" || e.ID() != ""):
					t.Errorf("made %q and %q without an error", p.ID(), e.ID())
				case name == "endpoint refused" && !kurento.IsOverloaded(err):
					t.Errorf("error %v, want KMS's", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := drained(released); got != tt.released {
					t.Errorf("released %q, want %q", got, tt.released)
				}
				if want := map[bool]string{true: "[7]", false: "[]"}[name == "all"]; fmt.Sprint(got) != want {
					t.Errorf("events %v, want %s", got, want)
				}
			})
		})
	}
}

func drained(released chan string) string {
	var all []string
	for len(released) > 0 {
		all = append(all, <-released)
	}
	return strings.Join(all, " ")
}

// TestJoin is both ways or an error.
func TestJoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		members := []string{`{"id":0,"jsonrpc":"2.0","result":{"sessionId":"s","value":null}}`, refused(1)}
		c := dialWire(t, newWire(t, callKMS(members, 0, nil)), nil)
		if err := c.WebRtcEndpoint("p/a").Join(t.Context(), "p/b"); !kurento.IsOverloaded(err) {
			t.Errorf("error %v, want that of the second way", err)
		}
	})
}
