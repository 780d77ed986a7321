package kurento_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/kurento"
)

// bubble runs f in virtual time; a goroutine that outlives it fails the test.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// within returns a context with a deadline.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestRequestIDs checks that no id is used twice, not even on a new connection
// or by another client: Kurento would answer from its cache.
func TestRequestIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := make(map[string]bool)
		note := func(r rpcRequest) {
			mu.Lock()
			defer mu.Unlock()
			if seen[string(r.ID)] {
				t.Errorf("id %s used again", r.ID)
			}
			seen[string(r.ID)] = true
		}
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) { note(r); p.answerAll(r) })
		})
		for range 2 {
			c := dialWire(t, w, nil)
			for range 3 {
				for range 5 {
					if err := c.Ping(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				w.cut()
				time.Sleep(time.Second)
			}
		}
		if len(seen) != 30 {
			t.Errorf("%d ids in 30 calls", len(seen))
		}
	})
}

// TestCallErrors checks that each kind of failure can be told from the others.
func TestCallErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				switch r.param("operation") {
				case "refuse":
					p.fail(r, 40101, "MEDIA_OBJECT_NOT_FOUND", "Object 'o' not found")
				case "wrong":
					p.value(r, `{"not":"a number"}`)
				case "void":
					p.result(r, `{"sessionId":"s"}`)
				case "drop":
					p.ws.Close()
				default:
					p.value(r, "null")
				}
			})
		})
		c := dialWire(t, w, nil)
		var n int
		var lost *kurento.ConnectionError
		o := c.Object("o")
		if err := o.Invoke(t.Context(), "refuse", nil, &n); !kurento.IsNotFound(err) || kurento.IsInvalidSession(err) {
			t.Errorf("refused: %v", err)
		} else if want := "kurento: invoke refuse on o: Object 'o' not found (40101 MEDIA_OBJECT_NOT_FOUND)"; err.Error() != want {
			t.Errorf("message %q, want %q", err, want)
		}
		if err := o.Invoke(t.Context(), "wrong", nil, &n); err == nil {
			t.Error("a result of the wrong type was accepted")
		}
		for _, operation := range []string{"void", "null"} {
			if err := o.Invoke(t.Context(), operation, nil, &n); err != nil || n != 0 {
				t.Errorf("%s: %v, %d", operation, err, n)
			}
		}
		if err := o.Invoke(t.Context(), "encode", make(chan int), nil); err == nil || errors.As(err, &lost) {
			t.Errorf("parameters that JSON does not know: %v", err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := o.Invoke(canceled, "late", nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled before: %v", err)
		}
		if err := o.Invoke(t.Context(), "drop", nil, nil); !errors.As(err, &lost) || !lost.Sent {
			t.Errorf("connection lost: %v", err)
		}
		if err := o.Invoke(t.Context(), "again", nil, nil); err != nil {
			t.Errorf("after the loss: %v", err)
		}
		_ = c.Close()
		if err := o.Invoke(t.Context(), "closed", nil, nil); !errors.Is(err, kurento.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// Whoever measures is told of every request once, whatever became of it.
func TestObserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				time.Sleep(30 * time.Millisecond)
				if r.param("operation") == "refuse" {
					p.fail(r, 40101, "MEDIA_OBJECT_NOT_FOUND", "Object 'o' not found")
					return
				}
				p.answerAll(r)
			})
		})
		var mu sync.Mutex
		var seen []string
		c := dialWire(t, w, func(cfg *kurento.Config) {
			cfg.Observe = func(method string, took time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, fmt.Sprint(method, " ", took.Round(10*time.Millisecond), " ", err != nil))
			}
		})
		seen = nil // what begins the session
		_ = c.Ping(t.Context())
		_ = c.Object("o").Invoke(t.Context(), "processOffer", nil, nil)
		_ = c.Object("o").Invoke(t.Context(), "refuse", nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_ = c.Object("o").Invoke(ctx, "late", nil, nil)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if got, want := strings.Join(seen, ", "), "ping 30ms false, processOffer 30ms false, refuse 30ms true, late 10ms true"; got != want {
			t.Errorf("observed %s, want %s", got, want)
		}
	})
}

// TestTransaction checks the shape that KMS insists on: ids from 0 in order.
func TestTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				want := `{"operations":[{"id":0,"jsonrpc":"2.0","method":"create","params":{"type":"MediaPipeline"}},` +
					`{"id":1,"jsonrpc":"2.0","method":"release","params":{"object":"newref:0"}}]}`
				if string(r.Params) != want {
					t.Errorf("sent %s\nwant %s", r.Params, want)
				}
				p.value(r, `[{"id":0,"jsonrpc":"2.0","result":{"sessionId":"s","value":"pipe"}},`+
					`{"error":{"code":40101,"data":{"type":"MEDIA_OBJECT_NOT_FOUND"},"message":"m"},"id":1,"jsonrpc":"2.0"}]`)
			})
		})
		c := dialWire(t, w, nil)
		results, err := c.Transaction(t.Context(),
			kurento.Operation{Method: "create", Params: map[string]string{"type": "MediaPipeline"}},
			kurento.Operation{Method: "release", Params: map[string]string{"object": "newref:0"}})
		if err != nil || len(results) != 2 {
			t.Fatalf("%v, %v", results, err)
		}
		if string(results[0].Value) != `"pipe"` || results[0].Err != nil || !kurento.IsNotFound(results[1].Err) {
			t.Errorf("results %v", results)
		}
	})
}

// TestDialFails checks the ways in which there is no KMS at the URL.
func TestDialFails(t *testing.T) {
	tests := map[string]struct {
		script func(*peer)
		change func(*kurento.Config, *wire)
		want   string
	}{
		"no URL":     {nil, func(cfg *kurento.Config, _ *wire) { cfg.URL = "" }, "not ws://"},
		"http URL":   {nil, func(cfg *kurento.Config, _ *wire) { cfg.URL = "http://kms/kurento" }, "not ws://"},
		"negative":   {nil, func(cfg *kurento.Config, _ *wire) { cfg.PingTimeout = -1 }, "negative"},
		"refused":    {nil, func(_ *kurento.Config, w *wire) { w.refuse(true) }, "connection refused"},
		"silent":     {func(p *peer) { p.next(); p.next() }, nil, "deadline exceeded"},
		"wrong path": {func(p *peer) { _ = p.ws.WriteMessage(8, []byte("\x03\xeaInvalid path")) }, nil, "Invalid path"},
		"no KMS":     {func(p *peer) { p.next(); p.write("hello") }, nil, "not JSON-RPC: invalid character"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, test.script)
				cfg := kurento.Config{URL: "ws://kms:8888/kurento", Dial: w.dial}
				if test.change != nil {
					test.change(&cfg, w)
				}
				c, err := kurento.Dial(t.Context(), cfg)
				if err == nil {
					_ = c.Close()
					t.Fatal("no error")
				}
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %q, want %q in it", err, test.want)
				}
			})
		})
	}
}

// TestReadLimit checks that a message beyond the limit ends the connection and
// is not read into memory.
func TestReadLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) { p.value(r, `"`+strings.Repeat("x", 5000)+`"`) })
		})
		c := dialWire(t, w, func(cfg *kurento.Config) { cfg.ReadLimit = 4096 })
		var lost *kurento.ConnectionError
		err := c.Object("o").Get(t.Context(), "name", new(string))
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), "read limit") {
			t.Errorf("error %v", err)
		}
	})
}

// TestLogsNoSecrets makes calls with SDP, credentials and candidates in both
// directions and looks for them in everything that was logged.
func TestLogsNoSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				p.write(`{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"data":{"description":"SECRET"},"object":"e","type":"Error"}}}`)
				p.value(r, `"v=0 SECRET"`)
			})
		})
		var logged bytes.Buffer
		c := dialWire(t, w, func(cfg *kurento.Config) {
			cfg.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		ep := c.WebRtcEndpoint("e")
		_, err := ep.ProcessOffer(t.Context(), "v=0 SECRET")
		err = errors.Join(err, ep.SetTurnURL(t.Context(), "user:SECRET@10.0.0.1:3478"))
		err = errors.Join(err, ep.AddIceCandidate(t.Context(), kurento.IceCandidate{Candidate: "SECRET"}))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = c.Close()
		if strings.Contains(logged.String(), "SECRET") {
			t.Errorf("logged:\n%s", logged.String())
		}
		for _, kind := range []string{"kms.connection", "kms.request", "kms.response", "kms.event"} {
			if !strings.Contains(logged.String(), "msg="+kind) {
				t.Errorf("%s was not logged", kind)
			}
		}
		// request is the client's id in the server's log.
		if s := logged.String(); !strings.Contains(s, " kms_request=1 ") || strings.Contains(s, " request=") || !strings.Contains(s, " took_ms=0") {
			t.Errorf("logged:\n%s", s)
		}
	})
}

// TestCloseEndsEverything closes a client in awkward moments; the bubble fails
// if a goroutine stays.
func TestCloseEndsEverything(t *testing.T) {
	silent := func(p *peer) { p.serve("s", "k", func(rpcRequest) {}) }
	moments := map[string]struct {
		script func(*peer)
		before func(t *testing.T, w *wire, c *kurento.Client)
	}{
		"idle": {plain, func(*testing.T, *wire, *kurento.Client) {}},
		"call under way": {silent, func(t *testing.T, _ *wire, c *kurento.Client) {
			go func() {
				if err := c.Ping(t.Context()); !errors.Is(err, kurento.ErrClosed) {
					t.Errorf("call under way: %v", err)
				}
			}()
		}},
		"handler in a call": {
			func(p *peer) {
				p.serve("s", "k", func(r rpcRequest) {
					if r.Method == "subscribe" {
						p.answerAll(r)
						p.event("o", "Paused", 1)
						p.event("o", "Paused", 2)
					}
				})
			},
			func(t *testing.T, _ *wire, c *kurento.Client) {
				_, err := c.Subscribe(t.Context(), "o", func(kurento.Event) { _ = c.Ping(t.Context()) }, "Paused")
				if err != nil {
					t.Fatal(err)
				}
			},
		},
		"half-open":    {plain, func(_ *testing.T, w *wire, _ *kurento.Client) { w.freeze() }},
		"outage":       {plain, func(_ *testing.T, w *wire, _ *kurento.Client) { w.refuse(true); w.cut() }},
		"reconnecting": {plain, func(_ *testing.T, w *wire, _ *kurento.Client) { w.cut(); time.Sleep(60 * time.Millisecond) }},
		"call in outage": {plain, func(t *testing.T, w *wire, c *kurento.Client) {
			w.refuse(true)
			w.cut()
			synctest.Wait()
			go func() {
				if err := c.Ping(t.Context()); !errors.Is(err, kurento.ErrClosed) {
					t.Errorf("call in an outage: %v", err)
				}
			}()
		}},
	}
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, moment.script)
				c := dialWire(t, w, nil)
				moment.before(t, w, c)
				synctest.Wait()
				began := time.Now()
				_ = c.Close()
				_ = c.Close()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("Close took %v", took)
				}
				synctest.Wait()
			})
		})
	}
}

// TestDialerIsUsed checks that the address of the URL reaches the dialer.
func TestDialerIsUsed(t *testing.T) {
	_, err := kurento.Dial(t.Context(), kurento.Config{
		URL: "ws://kms.example:8888/kurento",
		Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
			return nil, fmt.Errorf("dialed %s %s", network, addr)
		},
	})
	if err == nil || !strings.Contains(err.Error(), "dialed tcp kms.example:8888") {
		t.Errorf("error %v", err)
	}
}
