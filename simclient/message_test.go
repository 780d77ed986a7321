package simclient

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

func TestMessages(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Message(r.ctx, "bob", "hello"))
		r.must(alice.Message(r.ctx, "bob", "again"))
		bob.wait(t, time.Second, eventMessage, "text=again")
		first, second := alice.find(eventMessageSent)[0], alice.find(eventMessageSent)[1]
		if first.get("message") == second.get("message") || first.get("message") == "" || first.get("to") != "bob" {
			t.Errorf("sent %v and %v", first, second)
		}
		bob.one(t, eventMessage, "from=alice", "to=bob", "text=hello", "message="+first.get("message"))
		if err := alice.Message(r.ctx, "nobody", "hello"); code(err) != signaling.CodeUserUnavailable {
			t.Errorf("to nobody: %v", err)
		}
		if n := len(alice.find(eventMessageSent)); n != 2 {
			t.Errorf("%d messages count as sent", n)
		}
	})
}

// TestMessageIDs are at most 64 bytes, the same in every run, and others for a
// device that was started again.
func TestMessageIDs(t *testing.T) {
	run := func() (ids []string) {
		bubble(t, func(r *rig) {
			r.connected("bob")
			for range 2 {
				alice := r.connected("alice", func(c *Config) { c.Device = strings.Repeat("d", 100) })
				r.must(alice.Message(r.ctx, "bob", "hello"))
				ids = append(ids, alice.one(t, eventMessageSent).get("message"))
				r.must(alice.Close())
			}
		})
		return ids
	}
	ids, again := run(), run()
	if ids[0] == ids[1] || len(ids[0]) > 64 || ids[0] != again[0] || ids[1] != again[1] {
		t.Errorf("ids %q, and in another run %q", ids, again)
	}
}

// TestMessageIsRepeated after a resume with its id.
func TestMessageIsRepeated(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.srv.locked(func() { r.srv.sessions["alice"].deaf = true })
		sent := make(chan error, 1)
		go func() { sent <- alice.Message(r.ctx, "bob", "hello") }()
		bob.wait(t, time.Second, eventMessage)
		alice.none(t, eventMessageSent)
		alice.Drop()
		r.must(<-sent)
		alice.one(t, eventMessageSent)
		bob.one(t, eventMessage)
	})
}

// TestMessageAgain: one that is delivered twice is one message, also in another
// session; the same id of another sender is another one.
func TestMessageAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		push := func(m signaling.Message) {
			r.srv.locked(func() { r.srv.sessions["alice"].push(signaling.TypeMessage, "", m) })
			time.Sleep(time.Second)
		}
		m := signaling.Message{MessageID: "m-1", From: "bob", To: "alice", Content: "hello"}
		push(m)
		push(m)
		r.srv.forget()
		alice.wait(t, 5*time.Second, eventWelcome, "resumed=false")
		time.Sleep(time.Second)
		push(m)
		alice.one(t, eventMessage)
		if n := len(alice.find(eventMessageAgain, "from=bob", "message=m-1")); n != 2 {
			t.Errorf("%d duplicates, want 2", n)
		}
		m.From = "carol"
		push(m)
		alice.one(t, eventMessage, "from=carol")
		m.MessageID = "" // cannot be told apart
		push(m)
		push(m)
		if n := len(alice.find(eventMessage, "from=carol")); n != 3 {
			t.Errorf("%d messages of carol, want 3", n)
		}
		push(signaling.Message{To: "alice"})
		alice.one(t, eventViolation, "what=bad_frame", "type=message")
	})
}

// TestRememberedMessages: only so many are remembered.
func TestRememberedMessages(t *testing.T) {
	var m messages
	for i := range 10 * rememberedMessages {
		if !m.first(strings.Repeat("x", i+1)) {
			t.Fatalf("message %d was never seen", i)
		}
	}
	if m.first(strings.Repeat("x", 10*rememberedMessages)) {
		t.Error("the last message is forgotten")
	}
	if len(m.seen) != rememberedMessages || len(m.old) != rememberedMessages {
		t.Errorf("%d and %d messages are remembered", len(m.seen), len(m.old))
	}
}

// TestCallMessage: what became of a call, as the conversation has it.
func TestCallMessage(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.srv.locked(func() {
			r.srv.sessions["alice"].push(signaling.TypeMessage, "", signaling.Message{MessageID: "m-1", From: "bob", To: "alice", Content: "Call, 1:05",
				Call: &signaling.CallLog{CallID: "c-1", RoomID: "r-1", Outcome: signaling.OutcomeAccepted, Duration: 65}})
		})
		alice.wait(t, time.Second, eventMessage, "call=c-1", "outcome=accepted", "duration=65", "text=Call, 1:05")
	})
}

// TestReceipts: the server is told what has arrived, every 32 pushes and a second
// after the first of the others.
func TestReceipts(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		push := func(n int) {
			r.srv.locked(func() {
				for range n {
					r.srv.sessions["alice"].push(signaling.TypeMessage, "", signaling.Message{From: "bob", To: "alice"})
				}
			})
		}
		told := func(want ...uint64) {
			t.Helper()
			synctest.Wait()
			r.srv.locked(func() {
				got := r.srv.sessions["alice"].receipts
				if len(got) != len(want) || len(want) > 0 && got[len(got)-1] != want[len(want)-1] {
					t.Errorf("receipts %v, want %v", got, want)
				}
			})
		}
		time.Sleep(time.Minute)
		told() // nothing arrived
		push(1)
		time.Sleep(500 * time.Millisecond)
		push(1)
		time.Sleep(529 * time.Millisecond) // 10 ms there, 1 s, 10 ms back
		told(2)
		time.Sleep(time.Minute)
		told(2)
		push(65)
		time.Sleep(20 * time.Millisecond)
		told(2, 34, 66)
		time.Sleep(time.Second)
		told(2, 34, 66, 67)
		push(1)
		time.Sleep(20 * time.Millisecond)
		alice.Drop() // hello tells what arrived, and nothing is owed then
		alice.wait(t, 5*time.Second, eventResumed, "replayed=0")
		time.Sleep(5 * time.Second)
		told(2, 34, 66, 67)
		push(1)
		time.Sleep(20 * time.Millisecond)
		s := alice.State()
		r.must(alice.Close()) // and who leaves in order tells the rest
		told(2, 34, 66, 67, 69)
		alice.one(t, eventEnded, "reason=closed", "receipts=5")
		if s.Counters.Receipts != 4 {
			t.Errorf("counters %+v", s.Counters)
		}
	})
}
