package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// lacking names the clients that have not seen all of what was expected, and
// what came nearest to it.
func (j *Judge) lacking(p *pending) string {
	var lack []string
	for _, w := range p.wants {
		if !w.done {
			lack = append(lack, w.actor+" lacks "+w.rest()+j.instead(w))
		}
	}
	if len(lack) == 0 {
		return ""
	}
	return "; " + strings.Join(lack, "; ")
}

// expected says what an expectation waited for, and for whom.
func (p *pending) expected(limit time.Duration) string {
	var all []string
	for _, w := range p.wants {
		if !w.done {
			all = append(all, w.actor+": "+w.rest()+fields(p.step))
		}
	}
	if p.world != nil {
		c := p.step.Clauses[0]
		all = append(all, strings.Join(append([]string{c.Verb}, c.Args...), " ")+fields(p.step))
	}
	return fmt.Sprintf("%s, within %v", strings.Join(all, "; "), limit.Round(timerGrain))
}

// fields are the conditions of a step that has no alternatives.
func fields(st Step) string {
	if len(st.Clauses) > 1 {
		return ""
	}
	if l := limits(st.Clauses[0]); l != "" {
		return " " + l
	}
	return ""
}

// limits renders a clause's fields.
func limits(c Clause) string {
	var all []string
	for _, f := range c.Fields {
		all = append(all, f.String())
	}
	return strings.Join(all, " ")
}

// cameInstead is, in a line, what there was in the place of what is lacking.
func (j *Judge) cameInstead(p *pending) string {
	if p.world != nil {
		return "the last look found " + glance(j.lastRound)
	}
	var all []string
	for _, w := range p.wants {
		if !w.done {
			came := strings.Trim(j.instead(w), " ()")
			if came == "" {
				came = "nothing of the kind"
			}
			all = append(all, w.actor+": "+came)
		}
	}
	return strings.Join(all, "; ")
}

// glance names the first findings of a look at the world.
func glance(found []trace.Event) string {
	const most = 3
	var all []string
	for _, e := range found[:min(most, len(found))] {
		all = append(all, strings.TrimPrefix(describe(e), string(trace.KindProbe)+" what="))
	}
	switch {
	case len(found) == 0:
		return "nothing"
	case len(found) > most:
		all = append(all, fmt.Sprintf("and %d more", len(found)-most))
	}
	return strings.Join(all, "; ")
}

// rest is what a client must still see.
func (w *want) rest() string {
	var alternatives []string
	for _, parts := range w.alternatives {
		var names []string
		for _, pt := range parts {
			if !pt.done {
				names = append(names, pt.what)
			}
		}
		alternatives = append(alternatives, strings.Join(names, ", "))
	}
	return strings.Join(alternatives, " or ")
}

// instead is the last event of the right sort that does not fit, or what there
// is in its place.
func (j *Judge) instead(w *want) string {
	for _, parts := range w.alternatives {
		for _, pt := range parts {
			switch {
			case pt.done:
			case pt.have != nil:
				return " (" + pt.have(j, w.actor) + ")"
			case pt.near != nil:
				for _, e := range slices.Backward(j.events) {
					if e.Actor == w.actor && !e.consumed && pt.near(e.Event) {
						return fmt.Sprintf(" (at %s came %s)", clock(e.T), describe(e.Event))
					}
				}
			}
		}
	}
	return ""
}

// seenInstead lists what the clients concerned saw since the last action, and
// for the world's expectations what the last look found.
func (j *Judge) seenInstead(p *pending) string {
	var b strings.Builder
	if p.world != nil {
		fmt.Fprintf(&b, "the last look found:\n")
		list(&b, j.lastRound, 40)
		return b.String()
	}
	for _, w := range p.wants {
		if !w.done {
			fmt.Fprintf(&b, "%s saw since line %d (%s):\n", w.actor, j.actionLine, clock(j.actionAt))
			list(&b, j.telling(w.actor, p.step), 25)
		}
	}
	return b.String()
}

// telling lists an actor's events since the last action; counts of media only if
// the step is about media.
func (j *Judge) telling(actor string, st Step) []trace.Event {
	media := slices.ContainsFunc(st.Clauses, func(c Clause) bool { return c.Verb == "media" || c.Verb == "silent" })
	var out []trace.Event
	for _, e := range j.events {
		if e.Actor == actor && (media || e.Kind != kindWindow) {
			out = append(out, e.Event)
		}
	}
	return out
}

// list writes the last events for people.
func list(b *strings.Builder, events []trace.Event, most int) {
	switch left := len(events) - most; {
	case len(events) == 0:
		b.WriteString("  nothing\n")
	case left > 0:
		fmt.Fprintf(b, "  … %d earlier\n", left)
		events = events[left:]
	}
	for _, e := range events {
		fmt.Fprintf(b, "  %9s %s\n", clock(e.T), describe(e))
	}
}

// clock renders an instant of the run for people.
func clock(t time.Duration) string { return fmt.Sprintf("%.3fs", t.Seconds()) }

// describe renders an event for people.
func describe(e trace.Event) string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	for _, a := range e.Attrs {
		fmt.Fprintf(&b, " %s=%s", a.Key, a.Text())
	}
	return b.String()
}
