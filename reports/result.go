// Package reports renders what a judge found: to the terminal, as JSON and as
// JUnit XML. It knows results and the trace, and nothing of how they came about.
package reports

import (
	"fmt"
	"time"
)

// Verdict is the outcome of a scenario or of one of its steps.
type Verdict string

// The verdicts. A broken run is one that the harness could not judge: the part
// under test may be fine.
const (
	Pass   Verdict = "pass"
	Fail   Verdict = "fail"
	Skip   Verdict = "skip"
	Broken Verdict = "broken"
)

// Run is one invocation: the scenarios it played and where.
type Run struct {
	Tool      string            `json:"tool"` // "callbench 0.1.0"
	World     string            `json:"world"`
	Started   time.Time         `json:"started"`
	Wall      time.Duration     `json:"wall_ns"`
	Parts     map[string]string `json:"parts"` // name of a part to its version
	Scenarios []Scenario        `json:"scenarios"`
}

// Scenario is the result of one scenario, or of one case of it.
type Scenario struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`
	World    string        `json:"world"`
	Seed     int64         `json:"seed"`
	Verdict  Verdict       `json:"verdict"`
	Reason   string        `json:"reason,omitempty"` // why it was skipped, failed or broke, in a line
	Took     time.Duration `json:"took_ns"`          // on the scenario's own clock
	Wall     time.Duration `json:"wall_ns"`          // on the wall's
	Steps    []Step        `json:"steps"`
	Failures []Failure     `json:"failures,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	Spans    []Span        `json:"spans,omitempty"`
	Calls    []Call        `json:"calls,omitempty"`
	Phases   []Phase       `json:"phases,omitempty"` // of clients that are in no call
	Media    []Media       `json:"media,omitempty"`
	Trace    string        `json:"trace,omitempty"` // file name beside the report
	Stderr   string        `json:"stderr,omitempty"`
}

// Step is the result of one line of the script. At and Took are on the
// scenario's clock.
type Step struct {
	Line    int           `json:"line"`
	Text    string        `json:"text"`
	Verdict Verdict       `json:"verdict"`
	Reason  string        `json:"reason,omitempty"` // why it was skipped
	At      time.Duration `json:"at_ns"`
	Took    time.Duration `json:"took_ns"`
}

// Failure is something that went wrong. Check names the rule that found it:
// "expect", "never", "action", "late", or one of the checks that every run
// is held to, such as "wrong-origin".
type Failure struct {
	Check    string        `json:"check"`
	File     string        `json:"file"`
	Line     int           `json:"line,omitempty"`
	At       time.Duration `json:"at_ns"` // when it was found, on the scenario's clock
	Message  string        `json:"message"`
	Expected string        `json:"expected,omitempty"`
	Seen     string        `json:"seen,omitempty"`   // what came in its place, in a line
	Detail   string        `json:"detail,omitempty"` // all that was seen instead
}

// Place is file:line, or the file alone for what no line is to blame for.
func (f Failure) Place() string {
	if f.Line == 0 {
		return f.File
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

// Span is a time that the script named with "as".
type Span struct {
	Name string        `json:"name"`
	At   time.Duration `json:"at_ns"` // when it was complete
	Took time.Duration `json:"took_ns"`
}

// Call is one call with the lengths of its phases; docs/metrics.md defines them.
type Call struct {
	ID     string        `json:"id"`
	Room   string        `json:"room,omitempty"` // what clients of level 0 call it
	From   string        `json:"from"`
	To     string        `json:"to"`
	Begin  time.Duration `json:"begin_ns"` // when the caller asked for it
	Took   time.Duration `json:"took_ns"`
	Reason string        `json:"reason,omitempty"`
	Phases []Phase       `json:"phases"`
}

// is reports whether an event that names its call so is of this one.
func (c Call) is(name string) bool { return name != "" && (name == c.ID || name == c.Room) }

// Phase is one phase of a call as one party saw it.
type Phase struct {
	Name  string        `json:"name"`
	Party string        `json:"party"` // a client, a user, "server" or "both"
	Begin time.Duration `json:"begin_ns"`
	Took  time.Duration `json:"took_ns"`
}

// Media is what one client received of one kind of media in one call, proven by
// markers. Units are video frames and audio packets. Gaps are silences that
// ended; MaxGap is the longest.
type Media struct {
	Call       string        `json:"call"`
	Client     string        `json:"client"`
	From       string        `json:"from"`
	Kind       string        `json:"kind"`
	Units      int64         `json:"units"`
	Lost       int64         `json:"lost"`
	Duplicated int64         `json:"duplicated"`
	Reordered  int64         `json:"reordered"`
	Wrong      int64         `json:"wrong"`
	Unmarked   int64         `json:"unmarked"`
	Freezes    int64         `json:"freezes"`
	MaxGap     time.Duration `json:"max_gap_ns"`
	MaxDelay   time.Duration `json:"max_delay_ns"`
}

// Count is how many scenarios ended with each verdict.
func (r Run) Count() map[Verdict]int {
	n := map[Verdict]int{}
	for _, s := range r.Scenarios {
		n[s.Verdict]++
	}
	return n
}

// Passed reports whether something ran and nothing failed or broke.
func (r Run) Passed() bool {
	n := r.Count()
	return n[Pass] > 0 && n[Fail] == 0 && n[Broken] == 0
}
