package reports

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is the result of a load test.
type Load struct {
	Scenario    string            `json:"scenario"`
	World       string            `json:"world"`
	Wall        time.Duration     `json:"wall_ns"`
	Passed      int               `json:"passed"`
	Failed      int               `json:"failed"`
	Dropped     int               `json:"dropped"`     // calls that were due and never begun
	Interrupted int               `json:"interrupted"` // calls that were under way when the load was stopped
	Causes      map[string]int    `json:"causes,omitempty"`
	Left        []string          `json:"left,omitempty"` // what the servers still held at the end
	Media       Media             `json:"media"`          // sums over all clients
	Times       map[string]*Times `json:"times"`          // spans and phases, and "late": start behind the due time
}

// Times are the lengths of a span over all calls, kept in microseconds with three
// significant digits.
type Times struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`

	histogram *hdrhistogram.Histogram
}

// NewLoad starts an empty result.
func NewLoad(scenario, world string) Load {
	return Load{Scenario: scenario, World: world, Causes: map[string]int{}, Times: map[string]*Times{}}
}

// Add counts one call, which started late behind its due time. Spans that begin
// with the call are not lengthened by that: the lateness stands beside them.
func (l *Load) Add(s Scenario, late time.Duration) {
	if s.Verdict == Pass {
		l.Passed++
	} else {
		l.Failed++
		l.Causes[s.Reason]++
	}
	l.time("late", late)
	for _, sp := range s.Spans {
		l.time(sp.Name, sp.Took)
	}
	for _, p := range s.Phases {
		l.time(p.Name, p.Took)
	}
	for _, c := range s.Calls {
		for _, p := range c.Phases {
			l.time(p.Name, p.Took)
		}
	}
	for _, m := range s.Media {
		l.Media.Units += m.Units
		l.Media.Lost += m.Lost
		l.Media.Wrong += m.Wrong
		l.Media.Unmarked += m.Unmarked
		l.Media.Duplicated += m.Duplicated
		l.Media.Reordered += m.Reordered
		l.Media.Freezes += m.Freezes
		l.Media.MaxDelay = max(l.Media.MaxDelay, m.MaxDelay)
		l.Media.MaxGap = max(l.Media.MaxGap, m.MaxGap)
	}
}

func (l *Load) time(name string, d time.Duration) {
	t := l.Times[name]
	if t == nil {
		t = &Times{histogram: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
		l.Times[name] = t
	}
	// A value beyond an hour is the only one that is refused.
	_ = t.histogram.RecordValue(min(max(d.Microseconds(), 1), time.Hour.Microseconds()))
}

// Summarize computes the quantiles of what was added.
func (l *Load) Summarize() {
	for _, t := range l.Times {
		at := func(q float64) time.Duration { return time.Duration(t.histogram.ValueAtQuantile(q)) * time.Microsecond }
		t.Count, t.P50, t.P95, t.P99, t.Max = t.histogram.TotalCount(), at(50), at(95), at(99), at(100)
	}
}

// OK reports whether every call passed and nothing was left behind.
func (l Load) OK() bool {
	return l.Failed+l.Dropped+l.Interrupted == 0 && l.Passed > 0 && len(l.Left) == 0
}

// LoadTable prints the result for a terminal.
func LoadTable(w io.Writer, l Load) error {
	fmt.Fprintf(w, "%s in %s: %d passed, %d failed, %d dropped, %d interrupted, %s\n\n", l.Scenario, l.World, l.Passed, l.Failed, l.Dropped, l.Interrupted, short(l.Wall))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "span or phase\tcount\tp50\tp95\tp99\tmax\t")
	for _, name := range slices.Sorted(maps.Keys(l.Times)) {
		t := l.Times[name]
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t\n", name, t.Count, short(t.P50), short(t.P95), short(t.P99), short(t.Max))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nmedia: %d units, lost %d, wrong %d, unmarked %d, freezes %d, largest delay %s\n", l.Media.Units, l.Media.Lost, l.Media.Wrong, l.Media.Unmarked, l.Media.Freezes, short(l.Media.MaxDelay))
	causes := slices.SortedFunc(maps.Keys(l.Causes), func(a, b string) int { return cmp.Or(l.Causes[b]-l.Causes[a], cmp.Compare(a, b)) })
	for _, c := range causes {
		fmt.Fprintf(w, "%5d × %s\n", l.Causes[c], c)
	}
	for _, left := range l.Left {
		fmt.Fprintf(w, "left behind: %s\n", left)
	}
	return nil
}
