package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// What can be seen of a system besides what its clients see; Stage.Blind says
// which of it a stage cannot.
const (
	SightHistory = "history" // rooms, their members and recordings
	SightRedis   = "redis"   // keys
	SightKMS     = "kms"     // objects of the media server
	SightTURN    = "turn"    // allocations
	SightMetrics = "metrics" // how many calls, rooms and endpoints the server counts
	SightEvents  = "events"  // what the system's parts say while they work
	SightPast    = "past"    // where the scenario begins in what clients read of their past
)

// sightsOfClean are what clean looks at: it is judged by those that there are.
// Metrics stand for others, and nothing is amiss without them.
var sightsOfClean = []string{SightHistory, SightRedis, SightKMS, SightTURN, SightMetrics}

// blindKey is what the attributes of run.begin begin with that say what cannot be
// seen and why.
const blindKey = "blind."

// blindness reads from a trace's head what could not be seen in its run.
func blindness(head trace.Event) map[string]string {
	blind := map[string]string{}
	for _, a := range head.Attrs {
		if sight, ok := strings.CutPrefix(a.Key, blindKey); ok {
			blind[sight] = a.Text()
		}
	}
	return blind
}

// unseen says why a step cannot be judged; "" if it can.
func (j *Judge) unseen(st Step) string {
	for _, a := range st.Actors {
		if systemParts[a] {
			return j.blind[SightEvents]
		}
	}
	if len(st.Actors) > 0 {
		return j.blindToPast(st)
	}
	c := st.Clauses[0]
	switch c.Verb {
	case "clean":
		return j.blindToAll(sightsOfClean)
	case "span":
		from, to, _ := strings.Cut(c.Args[0], "..")
		for _, name := range []string{from, to} {
			if j.unknown[name] {
				return "the step that is named " + name + " was skipped"
			}
		}
		return ""
	}
	return j.blind[findExpectation(c.Verb, true).sees]
}

// blindToPast is why what a page of history holds says nothing: users that were there
// before have a past, which is counted as well.
func (j *Judge) blindToPast(st Step) string {
	for _, c := range st.Clauses {
		if c.Verb == pageExpectation.Name && slices.ContainsFunc(c.Fields, func(f Field) bool { return contains(pageFields, f.Key) }) {
			return j.blind[SightPast]
		}
	}
	return ""
}

// blindToAll is why none of several sights is there; "" if one is.
func (j *Judge) blindToAll(sights []string) string {
	var why []string
	for _, s := range sights {
		switch {
		case j.blind[s] != "":
			why = append(why, j.blind[s])
		case s == SightTURN && !j.s.TURN(): // seen, and there is nothing to see
		default:
			return ""
		}
	}
	return strings.Join(why, "; ")
}

// half notes what clean has not looked at.
func (j *Judge) half(st Step) {
	var why []string
	for _, s := range sightsOfClean {
		if j.blind[s] != "" && s != SightMetrics && (s != SightTURN || j.s.TURN()) {
			why = append(why, j.blind[s])
		}
	}
	if len(why) > 0 {
		j.result.Notes = append(j.result.Notes, fmt.Sprintf("line %d did not look everywhere: %s", st.Line, strings.Join(why, "; ")))
	}
}

// skip decides that a step cannot be judged.
func (j *Judge) skip(p *pending, why string) {
	step := &j.result.Steps[p.index]
	step.Verdict, step.Reason = reports.Skip, why
	if p.step.As != "" {
		j.unknown[p.step.As] = true
	}
	j.open = nil
	if j.OnDecided != nil {
		j.OnDecided(p.index)
	}
}

// nothingJudged says why nothing that the scenario expects could be judged; "" if
// something was, or it expects nothing.
func (j *Judge) nothingJudged() string {
	why := ""
	for i, st := range j.result.Steps {
		if j.s.Steps[i].Kind == Action {
			continue
		}
		if st.Verdict != reports.Skip {
			return ""
		}
		if why == "" {
			why = "nothing that it expects could be looked at: " + st.Reason
		}
	}
	return why
}
