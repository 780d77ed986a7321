package kurento_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/kurento"
)

// TestEventOrder interleaves the events of several objects, one of whose
// handlers is stuck: the others must not wait for it, and each must see its
// own in order.
func TestEventOrder(t *testing.T) {
	const objects, events = 5, 200
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				p.answerAll(r)
				if r.Method != "ping" {
					return
				}
				for n := range events {
					for o := range objects {
						p.event(fmt.Sprint("o", o), "Paused", n)
					}
				}
			})
		})
		c := dialWire(t, w, nil)
		unstick := make(chan struct{})
		got := make([][]int64, objects)
		for o := range objects {
			_, err := c.Subscribe(t.Context(), kurento.ObjectID(fmt.Sprint("o", o)), func(ev kurento.Event) {
				body, err := ev.Decode()
				if err != nil {
					t.Error(err)
				}
				if o == 0 {
					<-unstick
				}
				got[o] = append(got[o], int64(body.(kurento.Paused).Time))
			}, kurento.EventPaused)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for o := 1; o < objects; o++ {
			if len(got[o]) != events || !slices.IsSorted(got[o]) {
				t.Errorf("object %d: %d events, sorted %v, while another handler is stuck", o, len(got[o]), slices.IsSorted(got[o]))
			}
		}
		if len(got[0]) != 0 {
			t.Errorf("stuck handler got %d events", len(got[0]))
		}
		close(unstick)
		synctest.Wait()
		if len(got[0]) != events || !slices.IsSorted(got[0]) {
			t.Errorf("unstuck handler: %d events, sorted %v", len(got[0]), slices.IsSorted(got[0]))
		}
	})
}

// TestEventBeforeResponse checks that an event that overtakes the response of
// its own subscription is not lost.
func TestEventBeforeResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				for _, o := range r.operations() {
					p.event(o.param("object"), o.param("type"), 1)
				}
				p.answerAll(r)
			})
		})
		c := dialWire(t, w, nil)
		var got []kurento.EventType
		_, err := c.Subscribe(t.Context(), "o", func(ev kurento.Event) { got = append(got, ev.Type) },
			kurento.EventPaused, kurento.EventStopped)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if want := []kurento.EventType{"Paused", "Stopped"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestCallFromHandler makes calls, ends its own subscription and releases its
// own object from inside a handler.
func TestCallFromHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				if r.Method == "ping" {
					p.event("o", "Paused", 1)
					p.event("o", "Paused", 2)
				}
				p.answerAll(r)
			})
		})
		c := dialWire(t, w, nil)
		var sub *kurento.Subscription
		var calls int
		sub, err := c.Subscribe(t.Context(), "o", func(kurento.Event) {
			calls++
			for _, err := range []error{
				c.Invoke(t.Context(), "o", "getName", nil, new(string)),
				sub.Close(t.Context()),
				c.Release(t.Context(), "o"),
			} {
				if err != nil {
					t.Error(err)
				}
			}
		}, kurento.EventPaused)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if calls != 1 {
			t.Errorf("handler ran %d times, want once: it closed its subscription", calls)
		}
	})
}

// TestSubscriptionEnds checks what ends a subscription, and that it ends
// nothing else.
func TestSubscriptionEnds(t *testing.T) {
	ends := map[string]struct {
		end  func(ctx context.Context, c *kurento.Client, s *kurento.Subscription) error
		want string
	}{
		"close": {func(ctx context.Context, _ *kurento.Client, s *kurento.Subscription) error { return s.Close(ctx) }, "p p/a p/ab p/a/h q"},
		"release": {func(ctx context.Context, c *kurento.Client, _ *kurento.Subscription) error {
			return c.Release(ctx, "p/a")
		}, "p p/ab q"},
		"release parent": {func(ctx context.Context, c *kurento.Client, _ *kurento.Subscription) error {
			return c.Release(ctx, "p")
		}, "q"},
	}
	for name, test := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ids := []string{"p", "p/a", "p/ab", "p/a/h", "q"}
				w := newWire(t, func(p *peer) {
					p.serve("s", "k", func(r rpcRequest) {
						if r.Method == "ping" {
							for _, id := range ids {
								p.event(id, "Paused", 1)
							}
						}
						p.answerAll(r)
					})
				})
				c := dialWire(t, w, nil)
				var mu sync.Mutex
				var got []string
				subscribe := func(id string) *kurento.Subscription {
					s, err := c.Subscribe(t.Context(), kurento.ObjectID(id), func(ev kurento.Event) {
						mu.Lock()
						defer mu.Unlock()
						got = append(got, string(ev.Object))
					}, kurento.EventPaused)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				s := subscribe("p/a")
				for _, id := range ids {
					subscribe(id)
				}
				if err := test.end(t.Context(), c, s); err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				slices.Sort(got)
				want := strings.Fields(test.want)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("events of %v, want %v", got, want)
				}
			})
		})
	}
}

// TestSubscribeAllOrNothing checks that a refused type leaves no other behind.
func TestSubscribeAllOrNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var revoked []string
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				if r.Method == "unsubscribe" {
					revoked = append(revoked, r.param("subscription"))
					p.result(r, `{"sessionId":"s"}`)
				} else { // KMS stops at the first that fails
					p.value(r, `[{"id":0,"result":{"value":"id of `+r.operations()[0].param("type")+`"}},{"id":1,"error":{"code":40106,`+
						`"message":"Event 'OnIceCandidate' not supported","data":{"type":"MEDIA_OBJECT_EVENT_NOT_SUPPORTED"}}}]`)
				}
				p.event("o", "Paused", 1)
			})
		})
		c := dialWire(t, w, nil)
		_, err := c.Subscribe(t.Context(), "o", func(kurento.Event) {}, "Paused", "OnIceCandidate", "Stopped")
		if !kurento.HasCode(err, kurento.CodeEventNotSupported) {
			t.Errorf("error %v", err)
		}
		if want := []string{"id of Paused"}; !slices.Equal(revoked, want) {
			t.Errorf("revoked %q, want %q", revoked, want)
		}
	})
}
