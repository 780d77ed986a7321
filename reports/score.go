package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// score collects from a trace what a sequence diagram shows: messages between
// actors, notes, the script's actions, and silences. It folds what repeats and
// keeps the beginning and the end of what is too long to be drawn.
type score struct {
	scenario Scenario
	rows     []*row
	clients  []string // in the order in which they appear
	others   []string // actors that are neither clients nor known parts
	current  map[string]string
	actors   map[string]string // session to its client
	legs     map[string]string // endpoint of the media server to its user
	waiting  map[string]*row   // messages and requests under way, by what ends them
	nth      map[string]int    // frames without a name of their own, by sort
	windows  map[string]*counts
	heard    map[string]bool // actors whose receptions are recorded
	told     int             // failures that have a row
}

// counts is media that arrived while nothing else happened.
type counts struct {
	client, media string
	units, lost   int64
}

// shape is what a row looks like.
type shape int

const (
	message shape = iota // an arrow from one lane to another
	note                 // a remark on a lane
	step                 // an action of the script, across all lanes
	failure              // where the run failed, across all lanes
	silence              // time in which nothing but media happened
	omitted              // rows that were left out
)

// row is one line of the diagram.
type row struct {
	shape    shape
	at       time.Duration
	until    time.Duration // of the last that was folded into it
	from, to string        // lanes; a note has from alone
	call     string
	label    string
	states   []string // of the same thing, one after the other
	things   []string // that have the label in common
	suffix   string   // what became of it: an answer, how long it took
	tone     string   // "bad", "media", "" …
	count    int
	arrived  int
	transit  time.Duration // the longest
	detail   string
	fold     string // rows with equal keys close to each other are one
}

const (
	headRows = 220 // kept of the beginning when there are too many
	tailRows = 180
	// foldWithin is how far apart in time, and foldRows in rows, things may be to
	// be shown as one.
	foldWithin = 300 * time.Millisecond
	foldRows   = 16
	// quiet is the time without an event that is marked as such.
	quiet = time.Second
	// mostWaiting bounds what is remembered of messages that never arrive.
	mostWaiting = 4096
)

func newScore(s Scenario) *score {
	return &score{scenario: s, current: map[string]string{}, actors: map[string]string{}, legs: map[string]string{},
		waiting: map[string]*row{}, nth: map[string]int{}, windows: map[string]*counts{}, heard: map[string]bool{}}
}

// add puts a row at the end, or folds it into one like it, and returns the one
// that is there.
func (c *score) add(r row) *row {
	r.until, r.count = r.at, max(r.count, 1)
	c.pause(r.at)
	if same := c.like(r); same != nil {
		same.count += r.count
		same.arrived += r.arrived
		same.until = r.at
		if r.tone == "bad" {
			same.tone = r.tone
		}
		for _, s := range r.states {
			if len(same.states) == 0 || same.states[len(same.states)-1] != s {
				same.states = append(same.states, s)
			}
		}
		for _, s := range r.things {
			if !slices.Contains(same.things, s) {
				same.things = append(same.things, s)
			}
		}
		return same
	}
	c.rows = append(c.rows, &r)
	if len(c.rows) >= 2*(headRows+tailRows) {
		c.thin()
	}
	return &r
}

// like finds the row that a new one is folded into.
func (c *score) like(r row) *row {
	if r.fold == "" {
		return nil
	}
	for i := len(c.rows) - 1; i >= 0 && i >= len(c.rows)-foldRows; i-- {
		old := c.rows[i]
		if old.shape == step || old.shape == failure || old.shape == silence {
			return nil
		}
		if old.fold == r.fold && r.at-old.until <= foldWithin && len(old.states) < 6 {
			return old
		}
	}
	return nil
}

// thin leaves out the middle.
func (c *score) thin() {
	left := &row{shape: omitted, at: c.rows[headRows].at}
	for _, r := range c.rows[headRows : len(c.rows)-tailRows] {
		left.count += max(r.count, 1)
		left.until = r.until
	}
	left.label = fmt.Sprintf("%d events until %s are left out; the trace has them", left.count, instant(left.until))
	c.rows = slices.Concat(c.rows[:headRows], []*row{left}, c.rows[len(c.rows)-tailRows:])
}

// pause tells of the failure, if that is due, and of the silence before at,
// with the media that came in it.
func (c *score) pause(at time.Duration) {
	if at > 0 {
		c.fail(at - 1)
	}
	if len(c.rows) == 0 {
		return
	}
	last := time.Duration(0)
	for _, r := range c.rows[max(0, len(c.rows)-foldRows):] {
		last = max(last, r.until)
	}
	if at-last < quiet {
		return
	}
	c.rows = append(c.rows, &row{shape: silence, at: last, until: at, label: short(at - last), suffix: c.media()})
}

// media renders and forgets what arrived since the last silence.
func (c *score) media() string {
	got := map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(c.windows)) {
		w := c.windows[k]
		text := fmt.Sprintf("%d %s", w.units, w.media)
		if w.lost > 0 {
			text += fmt.Sprintf(" (%d lost)", w.lost)
		}
		if w.units+w.lost == 0 {
			text = "no " + w.media
		}
		got[w.client] = append(got[w.client], text)
	}
	clear(c.windows)
	var all []string
	for _, cl := range slices.Sorted(maps.Keys(got)) {
		all = append(all, cl+" got "+strings.Join(got[cl], ", "))
	}
	return strings.Join(all, "; ")
}

// await remembers a row until what ends it comes.
func (c *score) await(key string, r *row) {
	if len(c.waiting) >= mostWaiting {
		clear(c.waiting)
	}
	c.waiting[key] = r
}

// came takes what was awaited.
func (c *score) came(key string) *row {
	r := c.waiting[key]
	delete(c.waiting, key)
	return r
}

// fail tells of the failures that were found until an instant.
func (c *score) fail(until time.Duration) {
	for c.told < len(c.scenario.Failures) {
		f := c.scenario.Failures[c.told]
		if f.At > until {
			return
		}
		c.told++
		if f.At > 0 { // else nobody knows when
			c.add(row{shape: failure, at: f.At, label: f.Place() + ": " + f.Message, tone: "bad"})
		}
	}
}

// lost is how many of a message never arrived, as far as that is known.
func (c *score) lost(r *row) int {
	if r.shape != message || !c.heard[r.to] {
		return 0
	}
	return r.count - r.arrived
}

// part is the rows that belong to one call; of a scenario without calls, all.
func (c *score) part(calls []Call, i int) []*row {
	if len(calls) == 0 {
		return c.rows
	}
	var out []*row
	for _, r := range c.rows {
		if c.callOf(calls, r) == i {
			out = append(out, r)
		}
	}
	for len(out) > 0 && out[0].shape == silence {
		out = out[1:]
	}
	return out
}

// callOf is the index of the call that a row is told with: its own, or the last
// one begun by then that its clients are in; what comes before all calls is
// told with the first.
func (c *score) callOf(calls []Call, r *row) int {
	best := -1
	for i, call := range calls {
		if call.is(r.call) {
			return i
		}
		if call.Begin <= r.at && (best < 0 || call.Begin >= calls[best].Begin) && c.concerns(call, r) {
			best = i
		}
	}
	return max(best, 0)
}

// concerns reports whether the clients of a row have to do with a call.
func (c *score) concerns(call Call, r *row) bool {
	for _, lane := range []string{r.from, r.to} {
		if slices.Contains(c.clients, lane) && lane != call.From && userOf(lane) != call.To && lane != call.To {
			return false
		}
	}
	return true
}

// userOf is the user of a client whose name has its device: "bob.phone".
func userOf(client string) string {
	user, _, _ := strings.Cut(client, ".")
	return user
}

// lanes orders the actors of a diagram: the caller, what stands between, the
// other clients.
func (c *score) lanes(rows []*row, caller string) []string {
	seen := map[string]bool{}
	for _, r := range rows {
		seen[r.from], seen[r.to] = true, true
	}
	var first, between, others []string
	for _, cl := range c.clients {
		switch {
		case !seen[cl]:
		case cl == caller || caller == "" && first == nil:
			first = append(first, cl)
		default:
			others = append(others, cl)
		}
	}
	for _, p := range append([]string{"server", "kms", "turn"}, c.others...) {
		if seen[p] {
			between = append(between, p)
		}
	}
	return slices.Concat(first, between, others)
}

// text is a row's label with what was folded into it, in at most so many
// characters: of many states, the last is what counts.
func (r *row) text(most int) string {
	s := r.label
	switch {
	case len(r.things) > 0:
		s += " " + strings.Join(r.things, ", ")
	case len(r.states) > 0:
		s += " " + strings.Join(r.states, " → ")
		if len([]rune(s)) > most {
			s = r.label + " … " + r.states[len(r.states)-1]
		}
	case r.count > 1:
		s += fmt.Sprintf(" ×%d", r.count)
	}
	return cut(s, most)
}

// instant renders a point of the run's time.
func instant(t time.Duration) string { return fmt.Sprintf("%.3f s", t.Seconds()) }

// own is an event's attributes without those that say where it belongs, and
// without counts of nothing; of the media server's objects, their classes.
func own(e trace.Event) string {
	var out []string
	counting := strings.HasPrefix(string(e.Kind), "media.") || strings.HasPrefix(string(e.Kind), "frame.")
	for _, a := range e.Attrs {
		text := shorten(a.Text(), 40)
		switch a.Key {
		case "call", "room", "session", "kms_session", "endpoint", "pipeline", "request", "kms_request", "leg", "track":
			continue
		case "object", "subject", "sink":
			text = class(a.Text())
		}
		if text == "" || text == e.Actor || counting && text == "0" {
			continue
		}
		out = append(out, a.Key+"="+text)
	}
	return strings.Join(out, " ")
}

// rank orders actors as somebody reads of them: clients, then the servers.
func (c *score) rank(actor string) int {
	if i := slices.Index(c.clients, actor); i >= 0 {
		return i
	}
	return len(c.clients) + 1 + slices.Index([]string{"server", "kms", "turn", "net"}, actor)
}

// class is the last part of a media server object's id: "WebRtcEndpoint".
func class(object string) string {
	return cmp.Or(object[strings.LastIndexByte(object, '.')+1:], "object")
}
