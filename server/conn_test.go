package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func TestHeartbeat(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, _ := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		time.Sleep(100 * time.Second) // pongs, at 30, 60 and 90 s, keep them alive
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Fatal("bob's connection was ended though it answers pings")
		}
		fields, left := w.state.Hash("ws:session:session-bob-1")
		if fields["lastHeartbeat"] != fmt.Sprint(w.started.Add(60*time.Second).UnixMilli()) || left != 140*time.Second {
			t.Errorf("session in State is %q for %v", fields, left)
		}
		bob.link.Cut()
		time.Sleep(80*time.Second - time.Nanosecond) // 90 s after the last pong
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Error("bob's connection was ended early")
		}
		time.Sleep(time.Nanosecond)
		alice.one("rtc/reconnecting")
		closed := w.eventLines("conn.closed")
		if len(closed) != 1 || !strings.Contains(closed[0], "cause=session_timeout") {
			t.Errorf("closed: %q", closed)
		}
		time.Sleep(60 * time.Second)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionLeave, ref)
	})
}

// TestSilentClient reads, so it learns why it is disconnected.
func TestSilentClient(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join("alice")
		c.mute.Store(true)
		start := time.Now()
		if code := c.closeCode(); code != 4408 || time.Since(start) != 90*time.Second {
			t.Errorf("closed with %d after %v", code, time.Since(start))
		}
		c.isError(signaling.CodeSessionTimeout, c.got("error")[0])
	})
}

func TestSlowConsumer(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueueBytes = 64 << 10 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		thaw := bob.freeze()
		text := strings.Repeat("x", 16<<10)
		sent := 0
		for len(w.eventLines("conn.closed")) == 0 && sent < 100 {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
			sent++
			synctest.Wait()
			time.Sleep(time.Second / 2) // the close frame gets its chance
		}
		closed := w.eventLines("conn.closed")
		if len(closed) != 1 || !strings.Contains(closed[0], "cause=slow_consumer") {
			t.Fatalf("after %d frames closed: %q", sent, closed)
		}
		close(thaw)
		<-bob.ended
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed || again.lastSeq != uint64(sent) && len(again.got("message")) == 0 {
			t.Errorf("resumed %v, last push %d of %d", back.Resumed, again.lastSeq, sent)
		}
		synctest.Wait()
		if again.lastSeq != uint64(sent) {
			t.Errorf("last push %d of %d", again.lastSeq, sent)
		}
	})
}

// TestSlowConsumerIsTold reads on in time to see why it is disconnected.
func TestSlowConsumerIsTold(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueue = 8 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		thaw := bob.freeze()
		text := strings.Repeat("x", 16<<10)
		for !strings.Contains(w.logs.String(), "slow") && alice.nextID < 100 {
			alice.sendID(fmt.Sprint("m", alice.nextID), signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
			alice.nextID++
			synctest.Wait()
		}
		close(thaw)
		if code := bob.closeCode(); code != 4429 {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := connected(w)
		idle, detached := w.join("carol"), w.join("dave")
		detached.drop()
		start := time.Now()
		w.close()
		for _, c := range []*client{alice, bob, idle} {
			if code := c.closeCode(); code != 1012 {
				t.Errorf("%s was closed with %d", c.name, code)
			}
		}
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
				t.Errorf("%s was told %+v", c.name, d)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("closing took %v", took)
		}
	})
}

func TestPlainHTTP(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		get := func(path string) int {
			r, err := http.NewRequest(http.MethodGet, "http://server"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			rec := &recorder{header: http.Header{}}
			w.srv.ServeHTTP(rec, r)
			return rec.code
		}
		if got := get("/"); got != http.StatusNotFound {
			t.Errorf("/ answers %d", got)
		}
		if got := get("/ws"); got != http.StatusBadRequest {
			t.Errorf("/ws without an upgrade answers %d", got)
		}
		w.close()
		if got := get("/ws"); got != http.StatusServiceUnavailable {
			t.Errorf("/ws of a closed server answers %d", got)
		}
	})
}

type recorder struct {
	header http.Header
	code   int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(code int)        { r.code = code }

// TestShutdownWhileATokenIsVerified does not give a client time to say hello.
func TestShutdownWhileATokenIsVerified(t *testing.T) {
	tune := func(c *server.Config) {
		c.Auth = func(context.Context, string) (server.Identity, error) {
			time.Sleep(2 * time.Second)
			return server.Identity{User: "alice"}, nil
		}
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		c := w.dial("alice", bearer("x"))
		synctest.Wait()
		c.lose() // it does not answer when it is asked to go
		start := time.Now()
		w.close()
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("closing took %v, want the 2 s of the token", took)
		}
	})
}
