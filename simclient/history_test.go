package simclient

import (
	"errors"
	"testing"

	"github.com/callbench/callbench/signaling"
)

// TestHistory: a page is asked for and logged item by item, and its cursor gives the
// next one.
func TestHistory(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			var q signaling.HistoryQuery
			if f.Type != signaling.TypeHistory || f.Into(&q) != nil {
				return false
			}
			page := signaling.HistoryPage{Items: []any{signaling.CallItem{CallID: "c-1", Caller: "bob", Callee: "alice", Reason: signaling.ReasonNoAnswer, StartedAt: 1700000000000}}, Next: "next"}
			if q.Cursor == "next" {
				page = signaling.HistoryPage{Items: []any{}}
			}
			s.write(frame(signaling.TypeAck, "", f.ID, page))
			return true
		})
		next, err := alice.History(r.ctx, signaling.HistoryQuery{What: signaling.HistoryMissed, Limit: 1})
		r.must(err)
		alice.one(t, eventHistoryItem, "what=missed", "caller=bob", "reason=no_answer", "callId=c-1")
		alice.one(t, eventHistory, "what=missed", "count=1", "more=true")
		next, err = alice.History(r.ctx, signaling.HistoryQuery{What: signaling.HistoryMissed, Cursor: next})
		if err != nil || next != "" {
			t.Errorf("the last page names a next one: %q, %v", next, err)
		}
		alice.one(t, eventHistory, "count=0", "more=false")
	})
}

// TestHistoryAtLevel0: level 0 has no words for it.
func TestHistoryAtLevel0(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.level0 = func(string) bool { return true }
		alice := r.connected("alice", atLevel(0))
		if _, err := alice.History(r.ctx, signaling.HistoryQuery{What: signaling.HistoryCalls}); !errors.Is(err, ErrLevel) {
			t.Error(err)
		}
	})
}
