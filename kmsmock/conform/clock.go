package conform

import (
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// until waits for the time at which the recording did something itself.
func (p *player) until(l *transcript.Line) {
	p.takeUntil(time.After(time.Until(p.start.Add(l.Duration()))), func() bool { return false })
	p.keepStep(l)
}

// A machine under load lags behind a recording: the player waits this long for
// events that were recorded more than lagAllowed ago, and goes on from there.
const (
	lagAllowed  = 300 * time.Millisecond
	lagPatience = 2 * time.Second
)

// keepStep lets the run fall behind the recording's clock together with a slow
// server, so that events are not missed because the client has gone on.
func (p *player) keepStep(l *transcript.Line) {
	due := 0
	for _, e := range p.expected {
		if e.at < l.Duration()-lagAllowed && e.certain() {
			due++
		}
	}
	came := func() bool { return p.certain+p.missed >= due }
	if came() {
		return
	}
	began := time.Now()
	if !p.takeUntil(time.After(lagPatience), came) {
		p.missed = due - p.certain
	}
	p.start = p.start.Add(time.Since(began))
}

// takeUntil takes in what comes until done or the time is up; it tells whether it is done.
func (p *player) takeUntil(timeout <-chan time.Time, done func() bool) bool {
	for !done() {
		select {
		case a := <-p.inbox:
			p.take(a)
		case <-timeout:
			return false
		case <-p.ctx.Done():
			return false
		}
	}
	return true
}

// named tells whether a request gives the server a name to resolve.
func (q asked) named() bool {
	return slices.ContainsFunc(q.calls, func(c call) bool { return strings.Contains(c.candidateText(), ".local ") })
}

// slowness is how late a response may be because the server or the machine is
// slow. What is later waited for something.
const slowness = time.Second

// adjust puts the clock of the recording back by what a response is late, as the
// recorded client too went on only when it had it, and forward when a name
// server has answered, or refused, sooner than the recorded one.
func (p *player) adjust(l *transcript.Line, q asked) {
	late := time.Since(p.start) - l.Duration()
	resolved := q.named() && !slices.ContainsFunc(p.conn(l).asked, func(other asked) bool { return other.named() })
	if late > 0 && late < slowness || late < 0 && resolved {
		p.start = p.start.Add(late)
	}
}
