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

// brief finds the events of silences that a run may overlook: a NOT_FLOWING
// that is followed within a period by FLOWING, or by the end of the object; and
// that FLOWING. It returns their indexes.
func brief(events []event, end func(object string) time.Duration) map[int]bool {
	out := map[int]bool{}
	silent := map[string]int{} // by subject, the index of its NOT_FLOWING
	for i, e := range events {
		if !strings.HasPrefix(e.typ, "MediaFlow") {
			continue
		}
		s := e.subject()
		if e.data["state"] == "NOT_FLOWING" {
			if _, twice := silent[s]; !twice { // another session may be told too
				silent[s] = i
			}
			if end(e.object)-e.at < flowLook {
				out[i] = true
			}
			continue
		}
		since, ok := silent[s]
		delete(silent, s)
		if ok && e.at-events[since].at < flowLook {
			out[since], out[i] = true, true
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
