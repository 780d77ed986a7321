package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Skipped are the steps of a scenario that was played which nobody could judge, for
// want of something to look with. They have not passed.
func (s Scenario) Skipped() (steps []Step) {
	if s.Verdict == Skip {
		return nil // the scenario says it
	}
	for _, st := range s.Steps {
		if st.Verdict == Skip {
			steps = append(steps, st)
		}
	}
	return steps
}

// unseen are the skipped steps of a run, by why they were.
type unseen struct {
	Reason    string
	Steps     int
	Scenarios []string
}

// unseen collects the skipped steps, in the order in which their reasons first come.
func (r Run) unseen() (all []unseen) {
	for _, s := range r.Scenarios {
		for _, st := range s.Skipped() {
			i := slices.IndexFunc(all, func(u unseen) bool { return u.Reason == st.Reason })
			if i < 0 {
				i = len(all)
				all = append(all, unseen{Reason: st.Reason})
			}
			u := &all[i]
			u.Steps++
			if !slices.Contains(u.Scenarios, s.Name) {
				u.Scenarios = append(u.Scenarios, s.Name)
			}
		}
	}
	return all
}

// notSeen is the count of a run's skipped steps in words, "" if there are none.
func (r Run) notSeen() string {
	n := 0
	for _, u := range r.unseen() {
		n += u.Steps
	}
	if n == 0 {
		return ""
	}
	return expectations(n) + " not judged"
}

func expectations(n int) string { return many(n, "expectation") }

// many is a number of things.
func many(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// unseenSteps prints why steps were skipped.
func unseenSteps(w io.Writer, r Run) {
	all := r.unseen()
	if len(all) > 0 {
		fmt.Fprintln(w)
	}
	for _, u := range all {
		where := u.Scenarios[0]
		if len(u.Scenarios) > 1 {
			where = many(len(u.Scenarios), "scenario")
		}
		fmt.Fprintf(w, "SKIP %s of %s: %s\n", expectations(u.Steps), where, u.Reason)
	}
}

// skippedLines names each skipped step of a scenario in a line.
func skippedLines(s Scenario) string {
	var b strings.Builder
	for _, st := range s.Skipped() {
		fmt.Fprintf(&b, "skipped: %s:%d: %s: %s\n", s.File, st.Line, st.Text, st.Reason)
	}
	return b.String()
}
