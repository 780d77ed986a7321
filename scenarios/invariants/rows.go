package invariants

import (
	"fmt"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// CallRow is a row of the history's calls.
type CallRow struct {
	ID, Room       string // there is no such room if the call was refused, and no name either if that was because of its callee
	Caller, Callee string
	Ended          bool
	Reason         signaling.Reason
	Outcome        signaling.Outcome
	Talked         time.Duration // from the answer to the end; zero if nobody answered
}

// Recording is a row of the history's recordings.
type Recording struct {
	ID, Room string
	State    signaling.RecordingState
	Ended    bool
	Size     int64 // of the file, in bytes
}

// Rows takes the calls and recordings that the next look finds. A book that is never
// given any says nothing about them.
func (b *Book) Rows(calls []CallRow, recordings []Recording) {
	b.callRows, b.recordings, b.counted = calls, recordings, true
}

// rowsDiffer looks at the rows of the last look, if it is the one at the end of the
// run.
func rowsDiffer(b *Book) []string {
	if !b.whole || !b.counted {
		return nil
	}
	return append(b.callsDiffer(), b.recordingsDiffer()...)
}

// callsDiffer says where clients and the rows of calls disagree.
func (b *Book) callsDiffer() (out []string) {
	claimed := map[int]bool{}
	for _, c := range b.calls {
		var mine []int
		for i, r := range b.callRows {
			if r.is(c) || c.id == "" && c.room == "" && !claimed[i] && len(mine) == 0 && r.Caller == c.caller {
				claimed[i] = true
				mine = append(mine, i)
			}
		}
		switch {
		case !c.hasEnded(), len(mine) == 0 && c.id == "" && c.room == "": // refused, which level 0 tells a caller late or never
		case len(mine) != 1:
			out = append(out, fmt.Sprintf("the call from %s to %s (%s) has %d rows in the history, not one", c.caller, c.callee, c.name(), len(mine)))
		default:
			out = append(out, b.compareRow(c, b.callRows[mine[0]])...)
		}
	}
	for i, r := range b.callRows {
		switch {
		case claimed[i]:
		case !b.has(r.Room): // it was refused: because of its callee, or because there could be no media
			if !r.Ended || r.Outcome == signaling.OutcomeAccepted || r.Outcome == signaling.OutcomeDeclined {
				out = append(out, fmt.Sprintf("the call %s never had a room, and its row in the history says %q", r.ID, r.Outcome))
			}
		case !slices.Contains(b.unsure, r.Caller):
			out = append(out, fmt.Sprintf("the history has the call %s, and no client saw it", r.ID))
		}
	}
	return out
}

// is reports whether it is the row of this call. A client of level 0 has the room's
// name for the call.
func (r CallRow) is(c *call) bool {
	return c.id != "" && r.ID == c.id || c.room != "" && r.Room == c.room
}

// compareRow holds the row of a call against what its clients were told of it.
func (b *Book) compareRow(c *call, r CallRow) (out []string) {
	ends := c.ends()
	if r.Caller != c.caller || r.Callee != c.callee {
		out = append(out, fmt.Sprintf("%s called %s; the history's row of %s has %s and %s", c.caller, c.callee, c.name(), r.Caller, r.Callee))
	}
	if !r.Ended && len(ends) > 0 {
		return append(out, fmt.Sprintf("%s has ended for %s, and its row in the history has no end", c.name(), ends[0].client))
	}
	for _, e := range ends {
		if !e.Guess && e.Reason != r.Reason {
			out = append(out, fmt.Sprintf("%s was told that %s ended with %s; its row in the history says %s", e.client, c.name(), e.Reason, r.Reason))
		}
	}
	for _, p := range append(b.became(c.caller, r.ID), b.became(c.callee, r.ID)...) {
		if said := time.Duration(p.Duration) * time.Second; p.Outcome != r.Outcome || said != r.Talked.Truncate(time.Second) {
			return append(out, fmt.Sprintf("%s was %s for %v for the conversation; its row in the history says %s for %v", c.name(), p.Outcome, said, r.Outcome, r.Talked))
		}
	}
	return out
}

// recordingsDiffer says which recordings have not come to an end, or to one that
// cannot be.
func (b *Book) recordingsDiffer() (out []string) {
	for i, r := range b.recordings {
		final := r.State == signaling.RecordingReady || r.State == signaling.RecordingFailed
		switch {
		case slices.ContainsFunc(b.recordings[:i], func(o Recording) bool { return o.ID == r.ID }):
			out = append(out, fmt.Sprintf("recording %s has two rows in the history", r.ID))
		case !b.has(r.Room):
			out = append(out, fmt.Sprintf("recording %s is of the room %s, which is not in the history", r.ID, r.Room))
		case !final && !b.active(r.Room):
			out = append(out, fmt.Sprintf("the room %s has ended, and its recording %s is %s", r.Room, r.ID, r.State))
		case final != r.Ended:
			out = append(out, fmt.Sprintf("recording %s is %s, and whether it has ended is %v", r.ID, r.State, r.Ended))
		case (r.State == signaling.RecordingReady) != (r.Size > 0):
			out = append(out, fmt.Sprintf("recording %s is %s, and its file has %d bytes", r.ID, r.State, r.Size))
		}
	}
	return out
}

// has reports whether the history has a room of that name.
func (b *Book) has(id string) bool {
	return slices.ContainsFunc(b.rooms, func(r Room) bool { return r.ID == id })
}

// active reports whether a room of that name goes on.
func (b *Book) active(id string) bool {
	return slices.ContainsFunc(b.rooms, func(r Room) bool { return r.ID == id && !r.Ended })
}
