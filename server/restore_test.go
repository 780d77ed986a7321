package server_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// reborn is a world whose server can be killed, and another started on what it had.
type reborn struct {
	*world
	cfg   server.Config // without what is tied to a life
	redis *miniredis.Miniredis
	life  *life
}

// tie ties a config to a life.
func (r *reborn) tie(c *server.Config) {
	r.life = &life{state: store.NewRedis(store.RedisConfig{Dial: func(context.Context, string, string) (net.Conn, error) { return r.redis.Dial() }})}
	c.State, c.Media, c.History, c.Inbox = r.life.state, mortalMedia{c.Media, r.life}, mortalHistory{c.History, r.life}, mortalInbox{c.Inbox, r.life}
}

// rebornBubble is a bubble with such a world.
func rebornBubble(t *testing.T, test func(t *testing.T, w *reborn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &reborn{redis: miniredis.NewMiniRedis()}
		w.redis.ClockTTL(true)
		w.world = newWorld(t, func(c *server.Config) {
			w.cfg = *c
			w.tie(c)
		})
		test(t, w)
		w.close()
		if keys := slices.DeleteFunc(w.redis.Keys(), isPresence); len(keys) > 0 {
			t.Errorf("left in Redis: %q", keys)
		}
		if left := w.media.left(); len(left) > 0 {
			t.Errorf("left on the media server: %q", left)
		}
		_ = w.life.state.Close()
		w.redis.Close()
	})
}

// kill ends the server as kill -9 does: neither the clients nor the media server nor
// any store hears of it.
func (r *reborn) kill() {
	r.life.over.Store(true)
	_ = r.life.state.Close()
	for _, c := range r.clients {
		c.raw.Close()
	}
	r.stop()
	<-r.stopped
}

// start starts another server.
func (r *reborn) start() {
	r.t.Helper()
	cfg := r.cfg
	r.tie(&cfg)
	var err error
	if r.srv, err = server.New(cfg); err == nil {
		err = r.srv.Restore(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	ln, err := r.streams.Listen("server:80")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.stopped = cancel, make(chan struct{})
	go func() {
		defer close(r.stopped)
		if err := r.srv.Run(ctx, ln); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
}

// restart kills the server and starts another one after a while.
func (r *reborn) restart() {
	r.t.Helper()
	r.kill()
	time.Sleep(3 * time.Second)
	r.start()
}

// TestRestoredCall goes on with a call on its endpoints, whoever comes back first.
func TestRestoredCall(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		alice, tokenA := w.enter("alice")
		bob, tokenB := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		answered := time.Now()
		time.Sleep(10 * time.Second)
		w.restart()
		alice, again := w.rejoin(alice, tokenA.ResumeToken)
		if c := again.Call; !again.Resumed || again.SessionID != tokenA.SessionID || c == nil || *c != (signaling.CallRef{CallID: ref.CallID, RoomID: ref.RoomID, Peer: "bob", State: "active"}) {
			t.Fatalf("welcome is %+v with call %+v", again, again.Call)
		}
		if d := alice.one("rtc/reconnecting"); d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		time.Sleep(20 * time.Second)
		bob, _ = w.rejoin(bob, tokenB.ResumeToken)
		if d := alice.one("rtc/reconnected"); d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		if n := len(alice.got("rtc/negotiate")) + len(bob.got("rtc/negotiate")); n != 0 || w.journal.count("kms create endpoint") != 2 {
			t.Error("legs that were connected were made anew")
		}
		offer(bob, ref) // as one that lost its media
		if n := w.journal.count("kms release endpoint p1.e2"); n != 1 {
			t.Errorf("bob's old endpoint was released %d times", n)
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		if got := callLogs(t, bob); len(got) != 1 || !strings.Contains(got[0], "0:33") {
			t.Errorf("bob was told of %q", got)
		}
		rows := w.history.Calls()
		if len(rows) != 1 || !rows[0].AnsweredAt.Equal(answered) || rows[0].Reason != signaling.ReasonHangup {
			t.Errorf("History has calls %+v", rows)
		}
		checkHistory(t, w.world, signaling.ReasonHangup, map[string]time.Duration{"alice": 33 * time.Second, "bob": 33 * time.Second})
	})
}

// TestRestoredInTheMiddle kills the server between an answer and the offers, and
// between an offer and its media: legs whose state is not known are made anew, and
// only who had offered is asked to do so again.
func TestRestoredInTheMiddle(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		alice, tokenA := w.enter("alice")
		bob, tokenB := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		w.media.set(func(m *fakeMedia) { m.silent = true })
		offer(alice, ref)
		w.media.set(func(m *fakeMedia) { m.silent = false })
		w.restart()
		alice, _ = w.rejoin(alice, tokenA.ResumeToken)
		bob, _ = w.rejoin(bob, tokenB.ResumeToken)
		if d := alice.one("rtc/negotiate"); d.Reason != signaling.ReasonMediaRestarted {
			t.Errorf("alice was told %+v", d)
		}
		if n := len(bob.got("rtc/negotiate")); n != 0 {
			t.Error("bob, who has not offered, was asked to do so again")
		}
		offer(alice, ref)
		offer(bob, ref)
		w.journal.inOrder(t, "kms take over endpoint p1.e1", "kms release endpoint p1.e1", "kms create endpoint p1", "kms process offer p1.e3")
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}

// TestRestoredEnding kills the server when one has left and the other has not
// confirmed: the call ends with the reason, and at the instant, that it had.
func TestRestoredEnding(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		alice, tokenA := w.enter("alice")
		bob, tokenB := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		time.Sleep(10 * time.Second)
		alice.rtc(signaling.ActionLeave, ref)
		w.restart()
		alice, _ = w.rejoin(alice, tokenA.ResumeToken)
		bob, _ = w.rejoin(bob, tokenB.ResumeToken)
		time.Sleep(6 * time.Second)
		checkHistory(t, w.world, signaling.ReasonHangup, map[string]time.Duration{"alice": 10 * time.Second, "bob": 10 * time.Second})
		next := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionReject, next)
		for _, c := range []*client{alice, bob} { // a message that comes once more has the same id
			ids := make(map[string]bool)
			for _, f := range c.got("message") {
				var m signaling.Message
				_ = f.Into(&m)
				ids[m.MessageID] = true
			}
			if len(ids) != 2 {
				t.Errorf("%s was told of messages %v", c.name, ids)
			}
		}
	})
}

// TestRestoredSession resumes a session that is in no room: with its messages in
// order, once, with the token that it was given last and no other.
func TestRestoredSession(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		alice, tokenA := w.enter("alice")
		bob := w.dial("bob", nil)
		first := bob.hello(signaling.Hello{Token: token(t, "bob"), Device: "desk"})
		bob.drop()
		bob, second := w.rejoin(bob, first.ResumeToken)
		say := func(text string) {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
		}
		time.Sleep(time.Second)
		bob.lose()
		say("one")
		say("two")
		w.restart()
		for what, wrong := range map[string]string{"spent": first.ResumeToken, "made up": second.SessionID + ".nonsense", "of nobody": "session-bob-7.nonsense"} {
			c := w.dial("bob", nil)
			f := c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: wrong, LastSeq: bob.lastSeq})
			if f.Type != signaling.TypeError {
				t.Errorf("a token that is %s was answered %s", what, f.Kind())
			}
		}
		w.rejoin(alice, tokenA.ResumeToken)
		bob, third := w.rejoin(bob, second.ResumeToken)
		if !third.Resumed || third.SessionID != first.SessionID || third.Call != nil || third.ResumeToken == second.ResumeToken {
			t.Fatalf("welcome is %+v", third)
		}
		var texts []string
		for _, f := range bob.got("message") {
			var m signaling.Message
			_ = f.Into(&m)
			texts = append(texts, m.Content)
		}
		if got := strings.Join(texts, " "); got != "one two" {
			t.Errorf("bob got %q", got)
		}
		bob.drop()
		if _, fourth := w.rejoin(bob, third.ResumeToken); !fourth.Resumed {
			t.Error("the session is lost")
		}
	})
}

// TestRestoredTooLate starts the server when nobody can come back any more: call and
// conference end, as they were when they were last heard of, and nothing is left of them.
func TestRestoredTooLate(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		connected(w.world)
		carol := w.join("carol")
		carol.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "stage", RoomType: "broadcast", Role: "publisher"})
		begun := time.Now()
		time.Sleep(10*time.Minute + time.Second)
		killed := time.Now()
		w.kill()
		time.Sleep(time.Hour)
		w.start()
		synctest.Wait()
		fits := func(what string, at time.Time) {
			t.Helper()
			if at.After(killed) || killed.Sub(at) > 31*time.Second {
				t.Errorf("%s ended %v after it began, and the server was killed after %v", what, at.Sub(begun), killed.Sub(begun))
			}
		}
		for _, r := range w.history.Rooms() {
			if r.Status() != "ended" || r.Reason != signaling.ReasonDropped {
				t.Errorf("the room is %+v", r)
			}
			fits(r.RoomID, r.EndedAt)
			for _, m := range w.history.Members(r.RoomID) {
				fits(m.UserID, m.LeftAt)
			}
		}
		for _, c := range w.history.Calls() {
			fits(c.CallID, c.EndedAt)
		}
		if len(w.history.Rooms()) != 2 || len(w.history.Calls()) != 1 {
			t.Errorf("History has rooms %+v and calls %+v", w.history.Rooms(), w.history.Calls())
		}
		if left := w.media.left(); len(left) > 0 {
			t.Errorf("left on the media server: %q", left)
		}
		for _, k := range w.redis.Keys() {
			if !isPresence(k) {
				t.Errorf("left in Redis: %s", k)
			}
		}
	})
}

// TestRestoredByAnother starts a server of another name: it has nothing to do with
// the rooms of the one that was killed, nor with its sessions.
func TestRestoredByAnother(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		connected(w.world)
		_, token := w.enter("carol")
		w.kill()
		w.cfg.Node = "another"
		w.start()
		c := w.dial("carol", nil)
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: token.ResumeToken}))
		dave := w.join("dave")
		w.join("alice")
		dave.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		w.kill()
		w.cfg.Node = ""
		w.start()
		time.Sleep(4 * time.Minute) // the other one's records run out, too
		checkHistory(t, w.world, signaling.ReasonDropped, map[string]time.Duration{"alice": time.Minute, "bob": time.Minute})
	})
}

// TestRestoredRecording kills the server while a call is recorded: the recording has
// failed, as History, State and both parties know, and another can be made.
func TestRestoredRecording(t *testing.T) {
	rebornBubble(t, func(t *testing.T, w *reborn) {
		w.kill() // one that does not record
		w.cfg.Recordings = shelf{}
		w.start()
		alice, tokenA := w.enter("alice")
		bob, tokenB := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		ref.Recording = signaling.RecordStart
		first := alice.rtc(signaling.ActionRecord, ref)
		path := w.redis.HGet("rtc:room:"+ref.RoomID+":state", "recordingPath")
		if path == "" {
			t.Error("State does not know of the recording")
		}
		seen := len(alice.got("rtc/recording"))
		w.restart()
		alice, _ = w.rejoin(alice, tokenA.ResumeToken)
		bob, _ = w.rejoin(bob, tokenB.ResumeToken)
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/recording"); d.Recording != string(signaling.RecordingFailed) || d.RecordingID != first.RecordingID {
				t.Errorf("%s was told %+v after %d before", c.name, d, seen)
			}
		}
		rows, err := w.history.Archive().Recordings(t.Context(), ref.RoomID, server.Page{Limit: 10})
		if err != nil || len(rows) != 1 || rows[0].Status != string(signaling.RecordingFailed) || rows[0].EndedAt.IsZero() || time.Since(rows[0].EndedAt) < 3*time.Second || rows[0].File != path {
			t.Errorf("History has %+v, %v", rows, err)
		}
		if left := w.redis.HGet("rtc:room:"+ref.RoomID+":state", "recordingPath"); left != "" {
			t.Errorf("State says that %s is being made", left)
		}
		if second := alice.rtc(signaling.ActionRecord, ref); second.RecordingID == first.RecordingID {
			t.Error("the next recording has the same id")
		}
		ref.Recording = ""
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}
