package invariants

import (
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
)

// The rule of rows is broken by each thing that it is about.
func TestRows(t *testing.T) {
	call := CallRow{ID: "c1", Room: "r1", Caller: "alice", Callee: "bob", Ended: true, Reason: signaling.ReasonHangup, Outcome: signaling.OutcomeAccepted, Talked: 8400 * time.Millisecond}
	missed := CallRow{ID: "c9", Caller: "carol", Callee: "bob", Ended: true, Reason: "busy", Outcome: signaling.OutcomeMissed}
	file := Recording{ID: "f1", Room: "r1", State: signaling.RecordingReady, Ended: true, Size: 4096}
	other := func(change func(*CallRow)) []CallRow { c := call; change(&c); return []CallRow{c} }
	made := func(change func(*Recording)) []Recording { f := file; change(&f); return []Recording{f} }
	for _, c := range []struct {
		say        string // "": nothing is wrong
		calls      []CallRow
		recordings []Recording
	}{
		{"", []CallRow{call}, nil},
		{"", []CallRow{call, missed}, []Recording{file}},
		{"", []CallRow{call}, made(func(r *Recording) { r.State, r.Size = signaling.RecordingFailed, 0 })},
		{"has 0 rows", nil, nil},
		{"has 2 rows", []CallRow{call, call}, nil},
		{"the call c2, and no client saw it", []CallRow{call, {ID: "c2", Room: "stage", Caller: "alice", Callee: "bob", Ended: true}}, nil},
		{"", []CallRow{call, {ID: "c2", Room: "r2", Caller: "alice", Callee: "bob", Ended: true, Reason: signaling.ReasonMediaFailed, Outcome: signaling.OutcomeFailed}}, nil},
		{`the call c2 never had a room, and its row in the history says "accepted"`, []CallRow{call, {ID: "c2", Room: "r2", Caller: "alice", Callee: "bob", Ended: true, Outcome: "accepted"}}, nil},
		{"the call c9 never had a room", []CallRow{call, {ID: "c9", Caller: "carol", Callee: "bob", Outcome: signaling.OutcomeMissed}}, nil},
		{"the call c9 never had a room", []CallRow{call, {ID: "c9", Caller: "carol", Callee: "bob", Ended: true, Outcome: signaling.OutcomeDeclined}}, nil},
		{"the history's row of c1 has alice and carol", other(func(c *CallRow) { c.Callee = "carol" }), nil},
		{"its row in the history has no end", other(func(c *CallRow) { c.Ended = false }), nil},
		{"its row in the history says dropped", other(func(c *CallRow) { c.Reason = signaling.ReasonDropped }), nil},
		{"its row in the history says missed for 8.4s", other(func(c *CallRow) { c.Outcome = signaling.OutcomeMissed }), nil},
		{"its row in the history says accepted for 7s", other(func(c *CallRow) { c.Talked = 7 * time.Second }), nil},
		{"f1 has two rows", []CallRow{call}, []Recording{file, file}},
		{"r7, which is not in the history", []CallRow{call}, made(func(r *Recording) { r.Room = "r7" })},
		{"its recording f1 is stopping", []CallRow{call}, made(func(r *Recording) { r.State, r.Ended = signaling.RecordingStopping, false })},
		{"f1 is failed, and whether it has ended is false", []CallRow{call}, made(func(r *Recording) { r.State, r.Ended, r.Size = signaling.RecordingFailed, false, 0 })},
		{"f1 is ready, and its file has 0 bytes", []CallRow{call}, made(func(r *Recording) { r.Size = 0 })},
		{"f1 is failed, and its file has 4096 bytes", []CallRow{call}, made(func(r *Recording) { r.State = signaling.RecordingFailed })},
	} {
		b := answered()
		b.Rows(c.calls, c.recordings)
		b.Look([]Room{row, {ID: "stage", Type: "mcu", Creator: "dave", Ended: true}}, nil, true)
		b.Unanswered("dave") // who may have made the room
		b.Finished()
		broken := Check(b)
		switch {
		case c.say == "" && len(broken) > 0:
			t.Errorf("%v is broken, and nothing was wrong", broken)
		case c.say != "" && (len(broken) != 1 || broken[0].Rule != "rows-differ" || !strings.Contains(broken[0].Message, c.say)):
			t.Errorf("%q: %v", c.say, broken)
		}
	}
}

// A book that was not given any rows, as that of an older trace, says nothing of
// them, and a recording may go on as long as its room does.
func TestRowsThatAreNotKnown(t *testing.T) {
	b := answered()
	b.Look([]Room{row}, nil, true)
	if out := rowsDiffer(b); out != nil {
		t.Error(out)
	}
	b = &Book{}
	b.Rows(nil, []Recording{{ID: "f1", Room: "stage", State: signaling.RecordingRuns}})
	b.Look([]Room{{ID: "stage", Type: "mcu"}}, nil, true)
	if out := rowsDiffer(b); out != nil {
		t.Error(out)
	}
}
