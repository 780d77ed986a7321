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
		found := j.lastRound
		if p.world.Name == "clean" {
			found = j.unclean(found)
		}
		list(&b, found, 40)
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
