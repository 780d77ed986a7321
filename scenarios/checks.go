package scenarios

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// checks are the rules of media and frames that every run is held to, whatever
// its script says. Those of calls are in package invariants.
//
//	wrong-origin    marked media of somebody who is not in the call or room arrived
//	candidate-lost  a candidate that the media server gathered was not passed on to the client
//	                (where the media server tells what it gathered, as kmsmock does)
//	sequence        the server's pushes to a client had a gap
type checks struct {
	wrong  map[string]int // client and kind to units of wrong origin
	gaps   map[string]int
	legs   map[string]*gathering // by endpoint
	pushed map[string]int        // client to candidates that the server sent it
}

// rules says what each check expects.
var rules = map[string]string{
	"wrong-origin":   "media comes from the other party of the call, or from members of the room, alone",
	"candidate-lost": "every candidate that the media server gathers reaches its client",
	"sequence":       "the server's pushes to a client are numbered without a gap",
}

// gathering is what one endpoint owes its client: the candidates that it
// gathered, and that there are no more.
type gathering struct {
	client string
	owed   int
	at     time.Duration
}

// inFlight is how long candidates may be on their way: those of a leg that is
// given up meanwhile are owed to nobody.
const inFlight = time.Second

func newChecks() checks {
	return checks{wrong: map[string]int{}, gaps: map[string]int{},
		legs: map[string]*gathering{}, pushed: map[string]int{}}
}

func (c *checks) observe(s *Scenario, e trace.Event) {
	switch e.Kind {
	case kindWindow:
		if n := int(e.Number("wrong")); n > 0 {
			c.wrong[e.Actor+" "+e.Get("media")] += n
		}
	case "leg.created":
		c.legs[e.Get("endpoint")] = &gathering{client: e.Get("user")}
	case "kms.ice.gathered":
		if l := c.legs[e.Get("object")]; l != nil {
			l.owed, l.at = int(e.Number("candidates")), e.T
			if !s.plain(l.client) { // level 0 does not say that there are no more
				l.owed++
			}
		}
	case "leg.rebuild", "leg.released":
		for _, l := range c.legs {
			if l.client == e.Get("user") && e.T-l.at < inFlight {
				l.owed = 0
			}
		}
	case "frame.out":
		if e.Get("frame") == "rtc/candidate" {
			c.pushed[e.Get("user")]++
		}
	case "protocol.violation":
		if e.Get("what") == "seq_gap" {
			c.gaps[e.Actor]++
		}
	}
}

// failures lists what was broken, in an order that does not change.
func (c *checks) failures() []reports.Failure {
	var out []reports.Failure
	for _, k := range slices.Sorted(maps.Keys(c.wrong)) {
		out = append(out, reports.Failure{Check: "wrong-origin", Message: fmt.Sprintf("%s: %d units came from somebody who is not the other party of the call, or not in the room", k, c.wrong[k])})
	}
	owed := map[string]int{}
	for _, l := range c.legs {
		owed[l.client] += l.owed
	}
	for _, k := range slices.Sorted(maps.Keys(owed)) {
		if owed[k] > c.pushed[k] {
			out = append(out, reports.Failure{Check: "candidate-lost", Message: fmt.Sprintf("%s: the media server gathered %d candidates, their end included, and the server passed on %d", k, owed[k], c.pushed[k])})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.gaps)) {
		out = append(out, reports.Failure{Check: "sequence", Message: fmt.Sprintf("%s: %d gaps in the numbers of the server's pushes", k, c.gaps[k])})
	}
	for i := range out {
		out[i].Expected = rules[out[i].Check]
	}
	return out
}
