package conform

import (
	"strings"
	"time"
)

// flowLook is how often Kurento looks whether media flows. A silence shorter
// than two such periods contains a whole one or not, as chance has it.
const flowLook = 2100 * time.Millisecond

// certain tells that an event does not tell of a silence, which may be overlooked.
func (e event) certain() bool { return !strings.HasPrefix(e.typ, "MediaFlow") }

// stateSpread is by how much the time differs from run to run after which
// Kurento takes the media of a peer for gone.
const stateSpread = 1500 * time.Millisecond

// brief finds the events that another run may lack, by their indexes:
//
//   - of silences that may be overlooked: a NOT_FLOWING that is followed within
//     a period by FLOWING or by the end of the object, and that FLOWING;
//   - that media is gone, if that is noticed just before the end;
//   - that a peer is known by its checks, if its candidate comes at once.
func brief(events []event, end func(object string) time.Duration) map[int]bool {
	out := map[int]bool{}
	before := map[string]int{} // by subject, the index of the event that may be lacking
	for i, e := range events {
		rest := end(e.object) - e.at
		switch {
		case e.typ == "MediaStateChanged":
			out[i] = e.data["newState"] == "DISCONNECTED" && rest < stateSpread
		case e.typ == "NewCandidatePairSelected":
			s := e.object + e.typ
			if last, ok := before[s]; ok && e.at-events[last].at < atOnce {
				out[last] = true
			}
			if before[s] = i; !strings.Contains(jsonText(e.data), " typ prflx") {
				delete(before, s)
			}
		case !strings.HasPrefix(e.typ, "MediaFlow"):
		case e.data["state"] == "NOT_FLOWING":
			if last, ok := before[e.subject()]; !ok || e.at-events[last].at > atOnce { // another session may be told too
				before[e.subject()] = i
			}
			out[i] = rest < flowLook
		default:
			since, ok := before[e.subject()]
			if !ok || e.at-events[since].at >= flowLook {
				continue
			}
			for k := since; k <= i; k++ {
				out[k] = out[k] || events[k].subject() == e.subject()
			}
		}
	}
	return out
}

// expectedEnd is when an object of the recording was released, or the recording ended.
func (p *player) expectedEnd(object string) time.Duration {
	for _, x := range p.ends {
		if strings.HasPrefix(object, x.object) {
			return x.was
		}
	}
	return p.lines[len(p.lines)-1].Duration()
}

// gotEnd is the same of an object of this run.
func (p *player) gotEnd(object string) time.Duration {
	for _, x := range p.ends {
		if strings.HasPrefix(object, p.ours(x.object)) {
			return x.is
		}
	}
	return p.finished
}
