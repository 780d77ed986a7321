package kurento_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// lateKMS is a script: creating an object takes 15 s, and released gets
// what is released.
func lateKMS(answered bool, released chan<- string) func(*peer) {
	return func(p *peer) {
		p.serve("s", "k", func(r rpcRequest) {
			switch r.Method {
			case "create":
				go func() {
					time.Sleep(15 * time.Second)
					if answered {
						p.value(r, `"late"`)
					}
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

// TestLateCreate lets a create take longer than its caller waits: nobody else
// could ever release the object.
func TestLateCreate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		released := make(chan string, 9)
		c := dialWire(t, newWire(t, lateKMS(true, released)), nil)
		if id, err := c.Create(within(t, time.Second), "WebRtcEndpoint", nil); !errors.Is(err, context.DeadlineExceeded) || id != "" {
			t.Fatalf("created %q: %v", id, err)
		}
		if len(released) > 0 {
			t.Error("something was released before its creation")
		}
		time.Sleep(time.Minute)
		if len(released) != 1 || <-released != "late" {
			t.Error("the object that was created too late was not released")
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseDoesNotAwaitLateCreate closes the client while a create that nobody
// waits for is unanswered. A goroutine left behind would fail the bubble.
func TestCloseDoesNotAwaitLateCreate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := dialWire(t, newWire(t, lateKMS(false, nil)), nil)
		if _, err := c.Create(within(t, time.Second), "WebRtcEndpoint", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		_ = c.Close()
		if d := time.Since(began); d > 0 {
			t.Errorf("Close took %v", d)
		}
		time.Sleep(time.Minute) // the script's own timer
	})
}
