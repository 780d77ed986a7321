package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestReceipts frees what the client says it has: it cannot come back to before
// that, and needs nothing of it.
func TestReceipts(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		for i := range 5 {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: fmt.Sprint(i + 1)})
		}
		bob.say(`{"type":"ack","data":{"seq":3}}`)
		bob.say(`{"type":"ack","data":{"seq":2}}`) // says nothing new
		if got := bob.got("ack"); len(got) != 0 || len(bob.got("error")) != 0 {
			t.Errorf("a receipt was answered: %q", bob.heard())
		}
		bob.sendID("r", signaling.TypeAck, "", signaling.Receipt{Seq: 3})
		if f, ok := bob.answer("r"); !ok || f.Type != signaling.TypeAck {
			t.Errorf("a receipt with an id was answered %s %s", f.Kind(), f.Data)
		}
		bob.drop()

		before := w.dial("bob", nil)
		before.isError(signaling.CodeUnauthorized, before.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken, LastSeq: 2}))
		again := w.dial("bob", nil)
		again.lastSeq = 3
		if back := again.hello(signaling.Hello{Resume: welcome.ResumeToken, LastSeq: 3}); !back.Resumed {
			t.Fatal("the session cannot be resumed")
		}
		if got := again.got("message"); len(got) != 2 || got[0].Seq != 4 || got[1].Seq != 5 {
			t.Errorf("replayed: %v", got)
		}
	})
}

// TestReceiptsLetManyPushesBeMissed shows that what was acknowledged does not
// count against what is kept.
func TestReceiptsLetManyPushesBeMissed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		say := func(n int) {
			for range n {
				alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "x"})
			}
		}
		say(100)
		bob.say(`{"type":"ack","data":{"seq":100}}`)
		bob.drop()
		say(512)
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if n := len(again.got("message")); !back.Resumed || n != 512 {
			t.Errorf("resumed %v with %d pushes of 512", back.Resumed, n)
		}
	})
}

// TestPushIsAcknowledged tells the sender of a push once that the client has it,
// in order, and never after the session.
func TestPushIsAcknowledged(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enter("bob")
		push := func(n int) { w.srv.PushThen("bob", fmt.Sprint(n), func() { w.journal.add("bob has %d", n) }) }
		has := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := w.journal.count("bob has"); n != want {
				t.Errorf("%d pushes are acknowledged, want %d", n, want)
			}
		}
		for n := range 4 {
			push(n + 1)
		}
		has(0)
		bob.say(`{"type":"ack","data":{"seq":2}}`)
		bob.say(`{"type":"ack","data":{"seq":2}}`)
		has(2)
		bob.got("message")
		bob.drop()
		push(5)
		bob, _ = w.rejoin(bob, welcome.ResumeToken) // says that it has 4
		has(4)
		bob.say(`{"type":"ack","data":{"seq":5}}`)
		has(5)
		push(6)
		w.srv.EndSessions("bob")
		bob.say(`{"type":"ack","data":{"seq":6}}`)
		has(5)
		w.journal.inOrder(t, "bob has 1", "bob has 2", "bob has 3", "bob has 4", "bob has 5")
	})
}

// TestPushIsWrittenAtLevel0 counts as arrived what was written to the connection,
// and nothing else.
func TestPushIsWrittenAtLevel0(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueueBytes = 1 << 20 }
	bubble(t, tune, func(t *testing.T, w *world) {
		bob := w.join0("bob")
		push := func(text string) { w.srv.PushThen("bob", text, func() { w.journal.add("bob has it") }) }
		push("1")
		push("2")
		synctest.Wait()
		if n := w.journal.count("bob has it"); n != 2 {
			t.Errorf("%d pushes arrived of 2", n)
		}
		thaw := bob.freeze()
		bob.lose()
		for range 100 { // more than the network takes from a writer
			push(strings.Repeat("x", 8<<10))
		}
		time.Sleep(time.Minute)
		close(thaw)
		bob.raw.Close()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := w.journal.count("bob has it"); n >= 102 {
			t.Errorf("%d pushes arrived on a dead connection", n)
		}
	})
}

func TestBadReceipts(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join("alice")
		for _, frame := range []string{`{"type":"ack","data":{"seq":1}}`, `{"type":"ack","data":{"seq":-1}}`, `{"type":"ack","data":{"seq":"1"}}`, `{"type":"ack","data":[]}`} {
			before := len(c.got("error"))
			c.say(frame)
			got := c.got("error")
			if len(got) != before+1 {
				t.Fatalf("%s was not answered", frame)
			}
			c.isError(signaling.CodeBadData, got[before])
		}
	})
}
