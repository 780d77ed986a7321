package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// write sends a message that must be taken, and returns what it was answered.
func (c *client) write(m signaling.Message) signaling.Message {
	c.w.t.Helper()
	f := c.request(signaling.TypeMessage, "", m)
	var ack signaling.Message
	if err := f.Into(&ack); err != nil || f.Type != signaling.TypeAck {
		c.w.t.Fatalf("%s: the message was answered %s %s", c.name, f.Kind(), f.Data)
	}
	return ack
}

// writes sends text to a user.
func (c *client) writes(to, text string) signaling.Message {
	c.w.t.Helper()
	return c.write(signaling.Message{To: to, Content: text})
}

// messages are those that were pushed.
func (c *client) messages() (messages []signaling.Message) {
	c.w.t.Helper()
	for _, f := range c.got("message") {
		var m signaling.Message
		if err := f.Into(&m); err != nil {
			c.w.t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

// hears fails unless these are the contents of the messages so far.
func (c *client) hears(texts ...string) {
	c.w.t.Helper()
	var got []string
	for _, m := range c.messages() {
		got = append(got, m.Content)
	}
	if !slices.Equal(got, texts) {
		c.w.t.Errorf("%s got %q, want %q", c.name, got, texts)
	}
}

// receive says that the client has all that it was pushed.
func (c *client) receive() {
	synctest.Wait()
	c.mu.Lock()
	seq := c.lastSeq
	c.mu.Unlock()
	c.sendRaw(fmt.Sprintf(`{"type":"ack","data":{"seq":%d}}`, seq))
	synctest.Wait()
}

// pushes are the kinds of what was pushed, in order.
func (c *client) pushes() (kinds []string) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.Seq != 0 {
			kinds = append(kinds, f.Kind())
		}
	}
	return kinds
}

// leave says goodbye.
func (c *client) leave() {
	_ = c.ws.WriteControl(8, []byte{3, 232}, time.Now().Add(time.Second))
	<-c.ended
	synctest.Wait()
}

func TestMessage(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, other := w.join("alice"), w.join("alice")
		bob, second := w.join("bob"), w.join("bob")
		forged := &signaling.CallLog{CallID: "c", Outcome: signaling.OutcomeMissed}
		ack := alice.write(signaling.Message{MessageID: "m-1", To: "bob", Content: "hi", Timestamp: 1, Call: forged})
		want := signaling.Message{MessageID: "m-1", From: "alice", To: "bob", Timestamp: time.Now().UnixMilli()}
		if ack != want {
			t.Errorf("the ack is %+v, want %+v", ack, want)
		}
		want.Content = "hi"
		for _, c := range []*client{bob, second, other} {
			if got := c.messages(); len(got) != 1 || got[0] != want || c.got("message")[0].Seq != 1 {
				t.Errorf("%s got %+v, want %+v", c.name, got, want)
			}
		}
		alice.hears()
		if ack := alice.write(signaling.Message{From: "alice", To: "bob"}); ack.MessageID == "" || bob.messages()[1].MessageID != ack.MessageID {
			t.Errorf("the server's id is %q, bob's is %q", ack.MessageID, bob.messages()[1].MessageID)
		}
		alice.writes("alice", "a note")
		alice.hears("a note")
		other.hears("hi", "", "a note")
	})
}

func TestMessageRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		long := func(n int) string { return strings.Repeat("x", n) }
		for name, test := range map[string]struct {
			m    signaling.Message
			code signaling.Code
		}{
			"forged":    {signaling.Message{From: "mallory", To: "bob"}, signaling.CodeForbidden},
			"nobody":    {signaling.Message{Content: "x"}, signaling.CodeBadData},
			"long to":   {signaling.Message{To: long(129)}, signaling.CodeBadData},
			"long id":   {signaling.Message{To: "bob", MessageID: long(65)}, signaling.CodeBadData},
			"long text": {signaling.Message{To: "bob", Content: long(16<<10 + 1)}, signaling.CodeBadData},
		} {
			t.Log(name)
			alice.isError(test.code, alice.request(signaling.TypeMessage, "", test.m))
		}
		bob.hears()
		alice.write(signaling.Message{To: "bob", MessageID: long(64), Content: long(16 << 10)})
		bob.hears(long(16 << 10))
	})
}

func TestMessageRepeated(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		first := alice.write(signaling.Message{MessageID: "m-1", To: "bob", Content: "hi"})
		bob.receive()
		time.Sleep(time.Second)
		if again := alice.write(signaling.Message{MessageID: "m-1", To: "bob", Content: "hi"}); again != first {
			t.Errorf("the first answer was %+v, the second %+v", first, again)
		}
		if other := w.join("alice").write(signaling.Message{MessageID: "m-1", To: "bob"}); other != first {
			t.Errorf("another session's answer is %+v", other)
		}
		bob.hears("hi")
		w.join("bob").hears()
	})
}

// TestOfflineDelivery stores messages until a session has shown that it has
// them.
func TestOfflineDelivery(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		for _, text := range []string{"1", "2", "3"} {
			alice.writes("bob", text)
		}
		bob := w.join("bob")
		bob.hears("1", "2", "3")
		bob.sendRaw(`{"type":"ack","data":{"seq":1}}`)
		alice.writes("bob", "4")
		bob.hears("1", "2", "3", "4")
		bob.leave()
		again := w.join("bob")
		again.hears("2", "3", "4")
		again.receive()
		alice.writes("bob", "5")
		again.receive()
		again.drop()
		time.Sleep(2 * time.Minute)
		w.join("bob").hears()
	})
}

// TestResumeIsAReceipt takes the hello of a client that comes back as its word
// on what it has.
func TestResumeIsAReceipt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		alice.writes("bob", "1")
		bob.drop()
		alice.writes("bob", "2")
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed {
			t.Fatal("bob could not resume")
		}
		again.hears("2")
		w.join("bob").hears("2")
	})
}

func TestReceiptOfNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob := w.join("bob")
		w.join("alice").writes("bob", "1")
		bob.sendRaw(`{"type":"ack","data":{"seq":2}}`)
		bob.isError(signaling.CodeBadData, bob.got("error")[0])
		w.join("bob").hears("1")
	})
}

func TestInboxLimit(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		for i := range server.MaxUndelivered {
			alice.sendID(fmt.Sprint("x", i), signaling.TypeMessage, "", signaling.Message{To: "bob"})
		}
		alice.isError(signaling.CodeLimitExceeded, alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob"}))
		alice.writes("carol", "she has room")
	})
}

// TestBacklogInParts gives a long backlog as the client keeps up, in order, and
// nothing that comes meanwhile overtakes it.
func TestBacklogInParts(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		var all []string
		say := func(n int) {
			for range n {
				all = append(all, fmt.Sprint(len(all)))
				alice.writes("bob", all[len(all)-1])
			}
		}
		say(300)
		bob := w.join("bob")
		bob.hears(all[:128]...)
		say(10)
		bob.hears(all[:128]...)
		bob.receive()
		bob.hears(all[:256]...)
		bob.receive()
		bob.hears(all...)
		say(3)
		bob.hears(all...)
		bob.receive()
		w.join("bob").hears()
	})
}

// TestBacklogForgetful gives a session nothing twice, also if the Inbox could not
// be told of its receipt.
func TestBacklogForgetful(t *testing.T) {
	moody := &moodyInbox{Inbox: new(store.MemoryInbox), fails: map[string]int{"delivered": 1}}
	bubble(t, func(c *server.Config) { c.Inbox = moody }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		var all []string
		for i := range 150 {
			all = append(all, fmt.Sprint(i))
			alice.writes("bob", all[i])
		}
		bob := w.join("bob")
		bob.receive()
		bob.hears(all...)
	})
}

// TestBacklogBytes ends a part by its size, so that a session can keep it.
func TestBacklogBytes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		for range 20 {
			alice.writes("bob", strings.Repeat("x", 16<<10))
		}
		bob := w.join("bob")
		if n := len(bob.messages()); n != 16 {
			t.Errorf("%d of 16 KiB at once, want 16", n)
		}
		bob.receive()
		if n := len(bob.messages()); n != 20 {
			t.Errorf("%d in all, want 20", n)
		}
	})
}

// moodyInbox fails or takes its time where it is told to.
type moodyInbox struct {
	server.Inbox
	delay time.Duration // of Undelivered
	fails map[string]int
}

var errMoody = errors.New("not now")

func (i *moodyInbox) fail(operation string) error {
	if i.fails[operation] > 0 {
		i.fails[operation]--
		return errMoody
	}
	return nil
}

func (i *moodyInbox) Put(ctx context.Context, owner string, m signaling.Message) (server.Letter, bool, error) {
	if err := i.fail("put"); err != nil {
		return server.Letter{}, false, err
	}
	return i.Inbox.Put(ctx, owner, m)
}

func (i *moodyInbox) Undelivered(ctx context.Context, owner string, after uint64, limit int) ([]server.Letter, error) {
	time.Sleep(i.delay)
	if err := i.fail("undelivered"); err != nil {
		return nil, err
	}
	return i.Inbox.Undelivered(ctx, owner, after, limit)
}

func (i *moodyInbox) Delivered(ctx context.Context, owner string, numbers ...uint64) error {
	if err := i.fail("delivered"); err != nil {
		return err
	}
	return i.Inbox.Delivered(ctx, owner, numbers...)
}

// TestMeanwhile sends and calls while a new session waits for what is stored.
func TestMeanwhile(t *testing.T) {
	slow := &moodyInbox{Inbox: new(store.MemoryInbox)}
	tune := func(c *server.Config) { c.Inbox = slow }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.writes("bob", "1")
		alice.writes("bob", "2")
		slow.delay = time.Second
		bob := w.join("bob")
		alice.sendID("m", signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "3"})
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.hears()
		time.Sleep(2 * time.Second)
		bob.hears("1", "2", "3")
		if got := bob.pushes(); !slices.Equal(got[:2], []string{"message", "message"}) || len(got) != 4 {
			t.Errorf("bob was pushed %q", got)
		}
		bob.rtc(signaling.ActionLeave, ref)
		time.Sleep(time.Minute)
	})
}

// TestInboxFails loses nothing, says what it could not take, and goes on.
func TestInboxFails(t *testing.T) {
	moody := &moodyInbox{Inbox: new(store.MemoryInbox), fails: map[string]int{"put": 1}}
	tune := func(c *server.Config) { c.Inbox = moody }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.isError(signaling.CodeInternal, alice.request(signaling.TypeMessage, "", signaling.Message{MessageID: "1", To: "bob", Content: "1"}))
		alice.write(signaling.Message{MessageID: "1", To: "bob", Content: "1"})
		moody.fails["undelivered"] = 2
		bob := w.join("bob")
		alice.writes("bob", "2")
		bob.hears()
		time.Sleep(10 * time.Second)
		bob.hears("1", "2")
		moody.fails["delivered"] = 1
		bob.receive()
		again := w.join("bob")
		again.hears("1", "2")
		again.receive()
		w.join("bob").hears()
		counts(t, w, `callbench_state_failures_total{operation="undelivered message"} 2`)
		if n := len(w.eventLines("inbox.failed")); n != 4 {
			t.Errorf("the log tells of %d failures, want 4", n)
		}
	})
}

func TestWithoutInbox(t *testing.T) {
	tune := func(c *server.Config) { c.Inbox = nil }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.isError(signaling.CodeUserUnavailable, alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob"}))
		bob := w.join("bob")
		alice.writes("bob", "1")
		bob.hears("1")
		w.join("bob").hears()
	})
}

// TestMessageOrder takes a burst from two of the sender's devices.
func TestMessageOrder(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		phone, laptop, bob := w.join("alice"), w.join("alice"), w.join("bob")
		var want []string
		for i := range 100 {
			c := phone
			if i%3 == 0 {
				c = laptop
			}
			c.sendID(fmt.Sprint("x", i), signaling.TypeMessage, "", signaling.Message{To: "bob", Content: fmt.Sprint(i)})
			if i%3 != 1 {
				synctest.Wait() // another device's comes later only if it was taken later
			}
			want = append(want, fmt.Sprint(i))
		}
		bob.hears(want...)
	})
}

// TestPost stores and delivers messages of the server's own to both parties.
func TestPost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		call := signaling.Message{From: "alice", To: "bob", Content: "Missed call", Call: &signaling.CallLog{CallID: "c", Outcome: signaling.OutcomeMissed}}
		alice.writes("bob", "before")
		w.srv.Post(call)
		synctest.Wait()
		alice.writes("bob", "after")
		alice.hears("Missed call")
		alice.receive()
		w.join("alice").hears()
		bob := w.join("bob")
		bob.hears("before", "Missed call", "after")
		got, hers := bob.messages()[1], alice.messages()[0]
		if got.Call == nil || *got.Call != *call.Call || got.MessageID == "" || got.MessageID != hers.MessageID || got.Timestamp != time.Now().UnixMilli() {
			t.Errorf("bob got %+v, alice %+v", got, hers)
		}
		w.srv.PostTo(call, "bob")
		bob.hears("before", "Missed call", "after", "Missed call")
		alice.hears("Missed call")
		alice.leave()
		w.srv.Post(call)
		synctest.Wait()
		w.join("alice").hears("Missed call")
	})
}

// TestRelations answers alike for who is unknown, blocks, or is not there.
func TestRelations(t *testing.T) {
	var people store.MemoryRelations
	people.Know("alice", "bob", "carol")
	people.Block("bob", "alice")
	tune := func(c *server.Config) { c.Relations = &people }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		ask := map[string]func(user string) signaling.Frame{
			"message": func(user string) signaling.Frame {
				return alice.request(signaling.TypeMessage, "", signaling.Message{To: user, Content: "x"})
			},
			"call": func(user string) signaling.Frame {
				return alice.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: user})
			},
			"state": func(user string) signaling.Frame {
				return alice.request(signaling.TypeState, "", signaling.State{UserID: user})
			},
		}
		offline := ask["call"]("carol")
		alice.isError(signaling.CodeUserUnavailable, offline)
		for name, f := range ask {
			for _, user := range []string{"bob", "stranger"} {
				if got := f(user); got.Type != signaling.TypeError || string(got.Data) != string(offline.Data) {
					t.Errorf("%s to %s: %s %s, want %s", name, user, got.Kind(), got.Data, offline.Data)
				}
			}
		}
		if got := bob.pushes(); len(got) != 0 {
			t.Errorf("bob was pushed %q by whom he blocks", got)
		}
		bob.writes("alice", "bob may")
		people.Unblock("bob", "alice")
		alice.writes("bob", "and now alice")
		bob.hears("and now alice")
		ghost := w.join("ghost") // whom the product does not know, and who knows itself
		ghost.writes("ghost", "a note")
		ghost.asks("ghost", "ghost online 1")
		people.Know("stranger")
		alice.writes("stranger", "hello")
		alice.writes("carol", "for later")
		w.join("carol").hears("Missed call", "for later")
	})
}
