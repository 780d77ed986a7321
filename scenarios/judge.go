package scenarios

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// Judge reads the trace of one scenario, event by event, and decides every step
// of it. It is a function of the events alone: fed live during the run or from
// the kept file, it comes to the same result.
//
// The matching rule: an expectation looks at events from the beginning of the
// script's last action on, whoever acted, and consumes what it matched, so that
// neither an early event is missed nor an old one believed.
type Judge struct {
	s      *Scenario
	result reports.Scenario
	strict bool // in virtual time a late step is an error

	// OnDecided, if set, is called for each step as soon as it is decided.
	OnDecided func(step int)

	events     []seen // since the last action began
	actionAt   time.Duration
	actionLine int
	open       *pending      // the expectation that is being waited for
	round      []trace.Event // what the probe under way has found
	lastRound  []trace.Event

	callNow    map[string]string // client to the call it is in
	callBefore map[string]string // the same when the last action began
	instants   map[string]time.Duration
	media      ledger
	phases     phases
	checks     checks
	books      books
	steps      steps
	over       map[string]bool   // sessions that have ended, as the server says
	blind      map[string]string // what cannot be seen, and why
	unknown    map[string]bool   // spans of steps that were skipped
	even       atomic.Bool       // the last look at the history agreed with the clients
	end        bool
}

// seen is an event and whether an expectation has had it.
type seen struct {
	trace.Event
	consumed bool
}

// pending is an expectation under way.
type pending struct {
	index int
	step  Step
	begin time.Duration
	wants []*want
	world *Expectation
}

// want is what one client must still see: one of the alternatives, all parts of it.
type want struct {
	actor        string
	alternatives [][]part
	done         bool
}

type part struct {
	match
	done bool
}

// NewJudge makes a judge of one scenario (one case of it, if it has cases).
func NewJudge(s *Scenario) *Judge {
	return &Judge{s: s, callNow: map[string]string{}, callBefore: map[string]string{}, instants: map[string]time.Duration{},
		over: map[string]bool{}, unknown: map[string]bool{}, media: ledger{}, phases: newPhases(s.Clients), checks: newChecks(),
		result: reports.Scenario{Name: s.Name, File: s.File, Verdict: reports.Pass}}
}

// Observe takes the next event.
func (j *Judge) Observe(e trace.Event) {
	j.result.Took = max(j.result.Took, e.T)
	switch e.Kind {
	case trace.KindRunBegin:
		j.begin(e)
	case trace.KindRunEnd:
		j.finish(e)
	case trace.KindStepBegin:
		j.stepBegin(e)
	case trace.KindStepEnd:
		j.stepEnd(e)
	case trace.KindDeadline:
		j.deadline(e)
	case trace.KindProbe:
		j.probe(e)
	default:
		j.happened(e)
	}
}

func (j *Judge) begin(e trace.Event) {
	j.strict = e.Get("world") == "virtual"
	j.result.World = e.Get("world")
	j.result.Seed = int64(e.Number("seed"))
	j.blind = blindness(e)
	if j.blind[SightHistory] != "" {
		j.books.book.Unseen()
	}
}

// finish closes the books: what the run itself says, then the checks.
func (j *Judge) finish(e trace.Event) {
	j.end = true
	if why := e.Get("skip"); why != "" {
		j.result.Verdict, j.result.Reason = reports.Skip, why
		return
	}
	if msg := e.Get("error"); msg != "" {
		if j.result.Verdict == reports.Pass {
			j.result.Verdict, j.result.Reason = reports.Broken, msg
		}
		j.result.Notes = append(j.result.Notes, "the run broke: "+msg)
	}
	for _, f := range append(j.checks.failures(), j.books.failures()...) {
		f.At = e.T
		j.fail(f)
	}
	if why := j.nothingJudged(); why != "" && j.result.Verdict == reports.Pass {
		j.result.Verdict, j.result.Reason = reports.Skip, why
	}
	if n := j.decided(); j.result.Verdict == reports.Pass && n < len(j.s.Steps) {
		j.result.Verdict = reports.Broken
		j.result.Reason = fmt.Sprintf("the run ended after %d of %d steps", n, len(j.s.Steps))
	}
}

// decided counts the steps that have passed or failed, or were skipped.
func (j *Judge) decided() (n int) {
	for _, st := range j.result.Steps {
		if st.Verdict != reports.Broken {
			n++
		}
	}
	return n
}

func (j *Judge) stepBegin(e trace.Event) {
	i := int(e.Number("step"))
	if i != len(j.result.Steps) || i >= len(j.s.Steps) {
		return
	}
	st := j.s.Steps[i]
	j.result.Steps = append(j.result.Steps, reports.Step{Line: st.Line, Text: st.Text, At: e.T, Verdict: reports.Broken})
	if late := e.T - st.At; st.At >= 0 && late > 0 {
		j.late(st, e.T, late)
	}
	if st.Kind != Action {
		j.expect(i, st, e.T)
		return
	}
	j.actionLine = st.Line
	if !j.together(i) {
		if e.T > j.actionAt || i == 0 || j.s.Steps[i-1].Kind != Action { // actions of one instant are one
			j.events = j.events[:0]
		}
		j.actionAt = e.T
	}
	for k, v := range j.callNow {
		j.callBefore[k] = v
	}
	if st.As != "" {
		j.instants[st.As] = e.T
	}
}

// together reports whether a step and the one before are actions of one instant by
// the script, of which in real time one begins a little after the other.
func (j *Judge) together(i int) bool {
	if i == 0 {
		return false
	}
	st, before := j.s.Steps[i], j.s.Steps[i-1]
	return before.Kind == Action && st.At >= 0 && st.At == before.At
}

// timerGrain is what timers of a busy machine may be late.
const timerGrain = 20 * time.Millisecond

// late is an error in virtual time, where nothing but the script can delay a
// step, and a note in real time.
func (j *Judge) late(st Step, now, by time.Duration) {
	if !j.strict && by < timerGrain {
		return
	}
	text := fmt.Sprintf("line %d began %v late: the steps above it took until then", st.Line, by.Round(time.Microsecond))
	if j.strict {
		j.fail(reports.Failure{Check: "late", Line: st.Line, At: now, Message: text, Expected: fmt.Sprintf("the step begins at %s", clock(st.At)),
			Seen: fmt.Sprintf("the steps above it took until %s", clock(now))})
		return
	}
	j.result.Notes = append(j.result.Notes, text)
}

// stepEnd is the outcome of an action.
func (j *Judge) stepEnd(e trace.Event) {
	i := int(e.Number("step"))
	if i < 0 || i >= len(j.result.Steps) || j.s.Steps[i].Kind != Action {
		return
	}
	st := j.s.Steps[i]
	if problem := outcome(st, e); problem != "" {
		f := &reports.Failure{Check: "action", Line: st.Line, Message: problem, Expected: "the action is done", Seen: e.Get("error")}
		if st.Refused {
			f.Expected, f.Seen = strings.TrimSpace("the server refuses it "+st.Clauses[0].Get("code")), cmp.Or(f.Seen, "it was done")
		}
		j.decide(i, e.T, f)
		return
	}
	if st.As != "" {
		j.result.Spans = append(j.result.Spans, reports.Span{Name: st.As, At: e.T, Took: e.T - j.result.Steps[i].At})
	}
	j.decide(i, e.T, nil)
}

// outcome compares how an action went with how it should have gone.
func outcome(st Step, e trace.Event) string {
	code, message := e.Get("code"), e.Get("error")
	want := st.Clauses[0].Get("code")
	switch {
	case !st.Refused && !st.Perhaps && message != "":
		return fmt.Sprintf("%q failed: %s", st.Text, message)
	case st.Perhaps && message == "":
	case st.Perhaps && code == "":
		return fmt.Sprintf("%q was neither done nor refused by the server: %s", st.Text, message)
	case st.Refused && message == "":
		return fmt.Sprintf("%q should have been refused and was done", st.Text)
	case st.Refused && code == "":
		return fmt.Sprintf("%q should have been refused by the server; instead: %s", st.Text, message)
	case (st.Refused || st.Perhaps) && want != "" && code != want:
		return fmt.Sprintf("%q should have been refused with %s, was with %s", st.Text, want, code)
	}
	return ""
}

// expect opens an expectation and looks at what has happened already.
func (j *Judge) expect(i int, st Step, now time.Duration) {
	p := &pending{index: i, step: st, begin: now}
	j.open = p
	if why := j.unseen(st); why != "" {
		j.skip(p, why)
		return
	}
	if len(st.Actors) == 0 {
		p.world = findExpectation(st.Clauses[0].Verb, true)
		if p.world.now != nil {
			j.nowStep(p, now)
		}
		return
	}
	clients, err := j.actors(st.Actors)
	if err != nil {
		j.decide(i, now, &reports.Failure{Check: "expect", Line: st.Line, Message: err.Error()})
		return
	}
	for _, c := range clients {
		p.wants = append(p.wants, newWant(c, st))
	}
	for k := range j.events {
		if j.open == p {
			j.offer(&j.events[k])
		}
	}
}

// actors are the clients and parts of the system that words stand for.
func (j *Judge) actors(words []string) ([]string, error) {
	var names []string
	for _, w := range words {
		if systemParts[w] {
			names = append(names, w)
			continue
		}
		clients, err := j.s.ResolveAll([]string{w})
		if err != nil {
			return nil, err
		}
		for _, c := range clients {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names, nil
}

func newWant(actor string, st Step) *want {
	w := &want{actor: actor}
	for _, c := range st.Clauses {
		var parts []part
		for _, m := range findExpectation(c.Verb, false).matches(c) {
			parts = append(parts, part{match: m})
		}
		w.alternatives = append(w.alternatives, parts)
	}
	return w
}

func (j *Judge) nowStep(p *pending, now time.Duration) {
	c := p.step.Clauses[0]
	if p.world.now(j, c) {
		j.decide(p.index, now, nil)
		return
	}
	j.decide(p.index, now, &reports.Failure{Check: "expect", Line: p.step.Line,
		Message:  fmt.Sprintf("%q does not hold: %s", p.step.Text, p.world.instead(j, c)),
		Expected: expectedNow(c), Seen: p.world.instead(j, c)})
}

// expectedNow says what was expected of what the judge knows already.
func expectedNow(c Clause) string {
	if len(c.Args) == 0 {
		return "the design's steps in their order"
	}
	from, to, _ := strings.Cut(c.Args[0], "..")
	return "from " + from + " to " + to + " " + limits(c)
}

// happened takes an event of a part under test.
func (j *Judge) happened(e trace.Event) {
	j.track(e)
	j.events = append(j.events, seen{Event: e})
	if j.open != nil {
		j.offer(&j.events[len(j.events)-1])
	}
}

func (j *Judge) track(e trace.Event) {
	switch e.Kind {
	case "call.incoming", "call.outgoing", "call.accepted", "room.entered": // a caller of level 0 learns it from the last one
		j.callNow[e.Actor] = e.Get("call")
	}
	j.media.observe(e)
	j.phases.observe(e)
	j.checks.observe(j.s, e)
	j.books.observe(j.s, e)
	j.steps.observe(j.s, e)
	if e.Kind == "session.end" && e.Actor == "server" {
		j.over[e.Get("session")] = true
	}
}

// offer shows an event to the open expectation.
func (j *Judge) offer(e *seen) {
	p := j.open
	for _, w := range p.wants {
		if e.consumed || w.done || w.actor != e.Actor || !j.advance(w, e) || !w.done {
			continue
		}
		if p.step.Kind == Never {
			j.decide(p.index, e.T, &reports.Failure{Check: "never", Line: p.step.Line, Message: fmt.Sprintf("%q, but it happened at %s: %s",
				p.step.Text, clock(e.T), describe(e.Event)), Expected: fmt.Sprintf("it does not happen to %s for %v", w.actor, p.step.For),
				Seen: fmt.Sprintf("at %s: %s", clock(e.T), describe(e.Event))})
			return
		}
	}
	if p.step.Kind == Expect && p.world == nil && !slices.ContainsFunc(p.wants, func(w *want) bool { return !w.done }) {
		j.fulfilled(p, max(e.T, p.begin))
	}
}

// advance lets the event fulfil what it can of a want.
func (j *Judge) advance(w *want, e *seen) bool {
	for _, parts := range w.alternatives {
		for k := range parts {
			early := parts[k].after && !parts[k-1].done
			if parts[k].done || early || !parts[k].event(j, e.Event) {
				continue
			}
			parts[k].done, e.consumed = true, true
			w.done = !slices.ContainsFunc(parts, func(p part) bool { return !p.done })
			return true
		}
	}
	return false
}

func (j *Judge) fulfilled(p *pending, at time.Duration) {
	if p.world != nil && p.world.Name == "clean" {
		j.half(p.step)
	}
	if p.step.As != "" {
		j.instants[p.step.As] = at
		j.result.Spans = append(j.result.Spans, reports.Span{Name: p.step.As, At: at, Took: at - j.actionAt})
	}
	j.decide(p.index, at, nil)
}

// probe collects what one look at the world found; the event that ends the
// round decides.
func (j *Judge) probe(e trace.Event) {
	if e.Get("what") != "done" {
		j.round = append(j.round, e)
		return
	}
	found := j.round
	if p := j.open; p != nil && p.world != nil && p.world.round != nil && p.world.round(j, p.step.Clauses[0], found) {
		j.fulfilled(p, e.T)
	}
	j.lastRound, j.round = found, nil
	j.books.look(found, e.Get("final") != "")
	j.even.Store(j.books.book.Settled())
}

// deadline ends an expectation that ran out of time, and a never that held.
func (j *Judge) deadline(e trace.Event) {
	p := j.open
	if p == nil || p.index != int(e.Number("step")) {
		return
	}
	if p.step.Kind == Never {
		j.decide(p.index, e.T, nil)
		return
	}
	j.decide(p.index, e.T, &reports.Failure{Check: "expect", Line: p.step.Line, Detail: j.seenInstead(p), Expected: p.expected(e.T - p.begin), Seen: j.cameInstead(p),
		Message: fmt.Sprintf("%q: not within %v%s", p.step.Text, (e.T - p.begin).Round(timerGrain), j.lacking(p))})
}

func (j *Judge) decide(i int, at time.Duration, f *reports.Failure) {
	step := &j.result.Steps[i]
	step.Verdict, step.Took = reports.Pass, at-step.At
	if f != nil {
		step.Verdict = reports.Fail
		f.At = at
		j.fail(*f)
	}
	j.open = nil
	if j.OnDecided != nil {
		j.OnDecided(i)
	}
}

func (j *Judge) fail(f reports.Failure) {
	f.File = j.s.File
	j.result.Failures = append(j.result.Failures, f)
	if j.result.Verdict == reports.Pass {
		j.result.Verdict = reports.Fail
		j.result.Reason = f.Place() + ": " + f.Message
	}
}

// balanced reports whether the last look at the history agreed with what the
// clients saw. It may be called by anybody.
func (j *Judge) balanced() bool { return j.even.Load() }

// Failed reports whether anything has gone wrong so far.
func (j *Judge) Failed() bool { return len(j.result.Failures) > 0 }

// Result is the verdict on what was observed. A trace that stops before the
// run's end is judged broken: nothing proves what was not recorded.
func (j *Judge) Result() reports.Scenario {
	r := j.result
	if !j.end && r.Verdict != reports.Broken {
		r.Verdict, r.Reason = reports.Broken, "the trace ends before the run does"
	}
	r.Calls, r.Phases = j.phases.calls(), j.phases.outside
	for i := range r.Calls {
		r.Calls[i].To = j.s.played(r.Calls[i].To)
	}
	r.Media = j.media.rows()
	return r
}
