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

// isOverloaded checks that a request was refused and when it may be repeated.
func isOverloaded(t *testing.T, c *client, f signaling.Frame, after int) {
	t.Helper()
	c.isError(signaling.CodeOverloaded, f)
	var e signaling.Error
	if err := f.Into(&e); err != nil || e.RetryAfter != after {
		t.Errorf("come again after %d s, want %d", e.RetryAfter, after)
	}
}

// A media server that has not the means refuses a call, and nobody is asked for
// the next ones until it has had some peace; calls that are there get what they
// need when it has the means again.
func TestMediaOverloaded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		carol, dave := w.join("carol"), w.join("dave")
		refuse := func(m *fakeMedia) {
			err := fmt.Errorf("40009: %w", server.ErrMediaOverloaded)
			m.fail["create pipeline"], m.fail["create endpoint"] = err, err
		}
		w.media.set(refuse)
		call := func() signaling.Frame {
			return carol.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "dave"})
		}
		isOverloaded(t, carol, call(), 5)
		if n := len(dave.got("rtc_invite")); n != 0 {
			t.Error("dave was told of a call that could not be")
		}
		asked := w.journal.count("kms create")
		time.Sleep(2 * time.Second)
		isOverloaded(t, carol, call(), 3)
		isOverloaded(t, carol, carol.request(signaling.TypeRTC, signaling.ActionJoin, signaling.RTC{RoomID: "r", RoomType: "mcu"}), 3)
		if n := w.journal.count("kms create"); n != asked {
			t.Errorf("the media server was asked %d times in its pause", n-asked)
		}
		id := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
		time.Sleep(time.Second)
		if f, ok := bob.answer(id); ok {
			t.Fatalf("bob was answered %s, while there were no means", f.Data)
		}
		w.media.set(func(m *fakeMedia) { clear(m.fail) })
		time.Sleep(time.Second)
		if f, _ := bob.answer(id); f.Type != signaling.TypeAck {
			t.Fatalf("the running call was not served: %s %s", f.Kind(), f.Data)
		}
		alice.one("rtc/answer")
		time.Sleep(5 * time.Second)
		again := carol.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "dave"})
		carol.rtc(signaling.ActionCancel, again)
		counts(t, w, `callbench_requests_refused_total{code="overloaded"} 3`)
	})
}

// A call whose media cannot be had in time ends, and does not hang.
func TestMediaStaysOverloaded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.fail["create endpoint"] = server.ErrMediaOverloaded })
		isOverloaded(t, bob, bob.request(signaling.TypeRTC, signaling.ActionAnswer, ref), 5)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed {
			t.Errorf("alice was told %+v", d)
		}
	})
}

// Few operations are under way at a time. Those of rooms that are there go first,
// and each kind in the order in which it came.
func TestOperationsArePaced(t *testing.T) {
	tune := func(c *server.Config) { c.Admission = server.Admission{Operations: 1, Waiting: 4} }
	bubble(t, tune, func(t *testing.T, w *world) {
		_, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"], m.delay["create endpoint"] = time.Second, time.Second })
		callers := make([]*client, 6)
		for i := range callers {
			callers[i] = w.join(fmt.Sprintf("caller%d", i))
			w.join(fmt.Sprintf("callee%d", i))
		}
		var ids []string
		for i, c := range callers {
			ids = append(ids, c.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: fmt.Sprintf("callee%d", i)}))
			synctest.Wait()
		}
		answered := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
		synctest.Wait()
		counts(t, w, "callbench_media_waiting 5", "callbench_media_busy 1")
		if f, _ := callers[5].answer(ids[5]); f.Type != signaling.TypeError {
			t.Errorf("the sixth call was answered %s, and the queue is full", f.Kind())
		}
		if f, _ := bob.answer(answered); f.Type == signaling.TypeError {
			t.Errorf("bob was refused: %s", f.Data)
		}
		time.Sleep(30 * time.Second)
		bob.one("ack")
		var asked, invited []string
		for _, l := range w.journal.list() {
			if strings.HasPrefix(l, "kms create") {
				asked = append(asked, strings.TrimPrefix(l, "kms create "))
			}
			if who, ok := strings.CutSuffix(l, "<- rtc_invite"); ok {
				invited = append(invited, who)
			}
		}
		want := "pipeline |endpoint p1|pipeline |endpoint p2|endpoint p1|pipeline |endpoint p3|" // bob's before those of the callers that wait
		if got := strings.Join(asked, "|"); !strings.HasPrefix(got, want) {
			t.Errorf("asked for\n%s, want\n%s…", got, want)
		}
		if got := strings.Join(invited, " "); got != "bob callee0 callee1 callee2 callee3 callee4" {
			t.Errorf("invited %s", got)
		}
	})
}

// From so many endpoints on nothing new begins.
func TestEndpointCap(t *testing.T) {
	tune := func(c *server.Config) { c.Admission.Endpoints = 2 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		carol := w.join("carol")
		w.join("dave")
		isOverloaded(t, carol, carol.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "dave"}), 5)
		for range 3 { // a leg that is made anew is no more than there was
			offer(alice, ref)
		}
		counts(t, w, "callbench_media_endpoints 2")
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		counts(t, w, "callbench_media_endpoints 0")
		call := carol.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "dave"})
		carol.rtc(signaling.ActionCancel, call)
	})
}
