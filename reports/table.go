package reports

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Rows prints a row for each scenario.
func Rows(w io.Writer, r Run) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "VERDICT\tSCENARIO\tWORLD\tTOOK\tWALL\tSTEPS\n")
	for _, s := range r.Scenarios {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", strings.ToUpper(string(s.Verdict)), s.Name, s.World, short(s.Took), short(s.Wall), stepsOf(s))
	}
	return tw.Flush()
}

// stepsOf is how many steps were played, and how many of them were skipped.
func stepsOf(s Scenario) string {
	n := strconv.Itoa(len(s.Steps))
	if k := len(s.Skipped()); k > 0 {
		n += fmt.Sprintf(" (%d skipped)", k)
	}
	return n
}

// Summary prints, for somebody at a terminal, failures in full, why something
// was skipped, and the counts. Phases and media of every scenario make pages
// that nobody reads: without all they are those of what failed, and of a run of
// one.
func Summary(w io.Writer, r Run, all bool) error {
	for _, s := range r.Scenarios {
		failures(w, s)
	}
	for _, s := range r.Scenarios {
		if all || s.Verdict == Fail || len(r.Scenarios) == 1 {
			if err := details(w, s); err != nil {
				return err
			}
		}
	}
	skips(w, r)
	unseenSteps(w, r)
	_, err := fmt.Fprintf(w, "\n%s\n", r.tally())
	return err
}

// tally is how the scenarios of a run ended, in a line.
func (r Run) tally() string {
	n := r.Count()
	line := fmt.Sprintf("%d passed, %d failed, %d skipped", n[Pass], n[Fail]+n[Broken], n[Skip])
	if more := r.notSeen(); more != "" {
		line += "; " + more
	}
	return line
}

// details prints a scenario's spans, the phases of its calls with a column for
// each party, and what media arrived.
func details(w io.Writer, s Scenario) error {
	if len(s.Spans)+len(s.Calls)+len(s.Media) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", s.Name)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, sp := range s.Spans {
		fmt.Fprintf(tw, "  span\t%s\t%s\tat %s\n", sp.Name, short(sp.Took), short(sp.At))
	}
	for _, c := range s.Calls {
		parties := c.parties()
		fmt.Fprintf(tw, "  call\t%s → %s\t%s\n", c.From, c.To, c.fate())
		if len(c.Phases) > 0 {
			fmt.Fprintf(tw, "  phase\t\t%s\n", strings.Join(parties, "\t"))
		}
		for _, name := range phaseNames(c) {
			fmt.Fprintf(tw, "  \t%s", name)
			for _, p := range parties {
				fmt.Fprintf(tw, "\t%s", phasesOf(c, name, p))
			}
			fmt.Fprintln(tw)
		}
	}
	for _, m := range s.Media {
		fmt.Fprintf(tw, "  media\t%s ← %s %s\t%d units\tlost %d\twrong %d\tfreezes %d\tgap %s\n", m.Client, m.From, m.Kind, m.Units, m.Lost, m.Wrong, m.Freezes, short(m.MaxGap))
	}
	for _, n := range s.Notes {
		fmt.Fprintf(tw, "  note\t%s\n", n)
	}
	return tw.Flush()
}

// parties lists who has phases in a call: the caller first, then the callee,
// whose client may have another name than its user, then server and both.
func (c Call) parties() []string {
	list := []string{c.From}
	for _, shared := range []bool{false, true} {
		for _, p := range c.Phases {
			if !slices.Contains(list, p.Party) && shared == (p.Party == "server" || p.Party == "both") {
				list = append(list, p.Party)
			}
		}
	}
	return list
}

// fate is how long a call lasted and why it ended.
func (c Call) fate() string {
	if c.Reason == "" {
		return "did not end"
	}
	return short(c.Took) + "\t" + c.Reason
}

// phaseNames lists a call's phases in the order in which they first began.
func phaseNames(c Call) []string {
	var names []string
	phases := slices.Clone(c.Phases)
	slices.SortStableFunc(phases, func(a, b Phase) int { return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.Name, b.Name)) })
	for _, p := range phases {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// phasesOf renders one party's phases of a name; a phase may occur several times.
func phasesOf(c Call, name, party string) string {
	var took []string
	for _, p := range c.Phases {
		if p.Name == name && p.Party == party {
			took = append(took, short(p.Took))
		}
	}
	return strings.Join(took, " ")
}

// skips prints each reason once, with how many were skipped for it: a world
// without something skips many scenarios alike.
func skips(w io.Writer, r Run) {
	names := map[string][]string{}
	var reasons []string
	for _, s := range r.Scenarios {
		if s.Verdict != Skip {
			continue
		}
		if names[s.Reason] == nil {
			reasons = append(reasons, s.Reason)
		}
		names[s.Reason] = append(names[s.Reason], s.Name)
	}
	if len(reasons) > 0 {
		fmt.Fprintln(w)
	}
	for _, reason := range reasons {
		if list := names[reason]; len(list) > 1 {
			fmt.Fprintf(w, "SKIP %d scenarios: %s\n", len(list), reason)
		} else {
			fmt.Fprintf(w, "SKIP %s: %s\n", list[0], reason)
		}
	}
}

func failures(w io.Writer, s Scenario) {
	if s.Verdict == Broken {
		fmt.Fprintf(w, "\nBROKEN %s: %s\n", s.Name, s.Reason)
	}
	for _, f := range s.Failures {
		fmt.Fprintf(w, "\nFAIL %s  [%s]\n%s: %s\n", s.Name, f.Check, f.Place(), f.Message)
		io.WriteString(w, f.Detail)
	}
	if s.Trace != "" && (s.Verdict == Fail || s.Verdict == Broken) {
		fmt.Fprintf(w, "trace: %s, seed %d\n", s.Trace, s.Seed)
	}
	if s.Stderr != "" {
		fmt.Fprintf(w, "\n%s: what the process said at its end\n%s\n", s.Name, s.Stderr)
	}
}

// short renders a duration with three significant digits or so.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(time.Microsecond).String()
	}
}
