package server_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/callbench/callbench/server"
)

// TestModel lets rapid look for a plan that breaks an invariant of calls, or that
// leaves a request without its answer. What it finds it makes as short as it can,
// and prints it with the seed. RAPID_CHECKS says how many plans are tried, RAPID_SEED
// where to begin.
func TestModel(t *testing.T) {
	with(t, "checks", "300")
	s := search{t: t, known: map[string][]string{}, went: map[string]int{}}
	rapid.Check(t, s.try)
	for _, step := range []string{"dialing → ringing", "ringing → accepting", "accepting → active", "dialing → ending", "ringing → ending",
		"accepting → ending", "active → ending", "ending → ended"} {
		t.Logf("%s: %d times", step, s.went[step])
		if s.went[step] == 0 && len(s.known) >= 300 { // fewer may miss one
			t.Errorf("no call went from %s", step)
		}
	}
}

// search is a look for plans that break something.
type search struct {
	t     *testing.T
	known map[string][]string // what plans broke: most of those that are tried while one is made shorter are the same
	went  map[string]int      // how often calls went from one state to another
	worst plan                // the last that broke something, which is the shortest
	why   string
}

func (s *search) try(r *rapid.T) {
	p := plans.Draw(r, "plan")
	broken, same := s.known[p.GoString()]
	if !same {
		var transitions []string
		broken, transitions = playPlan(s.t, p)
		s.known[p.GoString()] = broken
		for _, step := range transitions {
			s.went[step]++
		}
	}
	if len(broken) > 0 {
		s.worst, s.why = p, broken[0]
		r.Fatalf("%s", s.why)
	}
}

// with sets a flag of rapid's for the time of the test. What the environment says
// of it goes first.
func with(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup("rapid." + name)
	before := f.Value.String()
	t.Cleanup(func() {
		if err := f.Value.Set(before); err != nil {
			t.Error(err)
		}
	})
	if err := f.Value.Set(cmp.Or(os.Getenv("RAPID_"+strings.ToUpper(name)), value)); err != nil {
		t.Fatal(err)
	}
}

// trial is the test of a server with a fault in it, which must fail.
type trial struct {
	testing.TB
	failed bool
	lines  []string
}

func (t *trial) Logf(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}
func (t *trial) Log(args ...any) { t.Logf("%s", fmt.Sprint(args...)) }
func (t *trial) Failed() bool    { return t.failed }
func (t *trial) Fail()           { t.failed = true }

func (t *trial) Errorf(format string, args ...any) {
	t.Logf(format, args...)
	t.Fail()
}

func (t *trial) FailNow() {
	t.Fail()
	runtime.Goexit()
}

// Faults that are planted in the server are found, and shown by a plan of a few
// moves.
func TestModelFindsFaults(t *testing.T) {
	const few = 8
	with(t, "checks", "20000")
	with(t, "seed", "3") // which finds them soon
	with(t, "nofailfile", "true")
	for i, found := range []string{"two-winners", "sides-differ", "history-differs", "rows-differ", "left-over"} {
		fault := server.Faults()[i]
		t.Run(fault.Says, func(t *testing.T) {
			defer fault.Plant()()
			tried := &trial{TB: t}
			s := search{t: t, known: map[string][]string{}, went: map[string]int{}}
			done := make(chan struct{})
			go func() { // which a test that fails ends
				defer close(done)
				rapid.Check(tried, s.try)
			}()
			<-done
			t.Logf("%s:%#v", s.why, s.worst)
			switch {
			case !tried.failed:
				t.Error("it was not found")
			case !strings.HasPrefix(s.why, found):
				t.Errorf("found was %s, not %s", s.why, found)
			case len(s.worst.Moves) > few:
				t.Errorf("the plan has %d moves, which should be %d at most", len(s.worst.Moves), few)
			}
		})
	}
}
