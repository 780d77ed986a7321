package reports

import (
	"cmp"
	"slices"
	"time"
)

// Waterfall is the phases of a call on one axis of time. Places are in percent
// of its width.
type Waterfall struct {
	Parties []Party
	Ticks   []Tick
	Breaks  []Break
	Rows    []Bars
}

// Party is who phases belong to.
type Party struct {
	Name  string
	Class string // "caller", "callee", "part"
}

// Tick is an instant on the axis.
type Tick struct {
	X    float64
	Text string
	End  bool // its text stands on its left
}

// Break is a stretch of the axis that stands for more time than it has room.
type Break struct {
	X, W float64
	Text string
}

// Bars are the phases of one name.
type Bars struct {
	Name   string
	H      int        // pixels
	Took   [][]string // for each party, how long each phase of the name took
	Phases []Bar
}

// Bar is one phase.
type Bar struct {
	X, W   float64
	Y      int // pixels
	Class  string
	Detail string
}

const (
	laneHeight = 11 // pixels that a party's bars take
	lineHeight = 21 // pixels of a line of the page's text
	mostTimes  = 6  // of a party that are written out
	// mostBars bounds the bars of one row; a phase may come again and again.
	mostBars = 200
)

// newWaterfall draws the phases, nil if there are none.
func newWaterfall(phases []Phase, begin, end time.Duration, parties []Party) *Waterfall {
	if len(phases) == 0 {
		return nil
	}
	axis := newAxis(phases, begin, end)
	w := &Waterfall{Parties: parties, Ticks: axis.ticks(), Breaks: axis.breaks()}
	for _, name := range phaseNames(Call{Phases: phases}) {
		w.Rows = append(w.Rows, bars(name, phases, parties, axis))
	}
	return w
}

func bars(name string, phases []Phase, parties []Party, axis axis) Bars {
	b := Bars{Name: name}
	lines := 1
	for _, p := range parties {
		var took []string
		for _, ph := range phases {
			if ph.Name != name || ph.Party != p.Name {
				continue
			}
			took = append(took, short(ph.Took))
			if len(b.Phases) < mostBars {
				x := axis.x(ph.Begin)
				b.Phases = append(b.Phases, Bar{X: x, W: max(axis.x(ph.Begin+ph.Took)-x, 0.25), Y: b.H, Class: p.Class,
					Detail: p.Name + " " + name + ": " + short(ph.Took) + ", from " + instant(ph.Begin) + " to " + instant(ph.Begin+ph.Took)})
			}
		}
		b.Took = append(b.Took, took)
		if took != nil {
			b.H += laneHeight
		}
		lines = max(lines, min(len(took), mostTimes+1))
	}
	b.center(lines*lineHeight + 5)
	return b
}

// center makes the row as high as its text, and puts the bars into its middle.
func (b *Bars) center(height int) {
	top := max(2, (height-b.H+3)/2)
	for i := range b.Phases {
		b.Phases[i].Y += top
	}
	b.H = max(height, b.H+4)
}

// axis maps time to percent. Long stretches in which nothing begins or ends are
// drawn short, and marked as such.
type axis struct {
	at     []time.Duration // the instants at which something begins or ends
	place  []float64       // theirs
	broken []bool          // the stretch that begins here is drawn short
}

// longest is what a stretch may last and be drawn in proportion whatever the rest is.
const longest = 800 * time.Millisecond

func newAxis(phases []Phase, begin, end time.Duration) axis {
	a := axis{at: []time.Duration{begin, end}}
	for _, p := range phases {
		a.at = append(a.at, p.Begin, p.Begin+p.Took)
	}
	slices.Sort(a.at)
	a.at = slices.Compact(a.at)
	var plain time.Duration // all stretches that are drawn in proportion
	cuts := 0
	for i := 1; i < len(a.at); i++ {
		if d := a.at[i] - a.at[i-1]; d < longest {
			plain += d
		} else {
			cuts++
		}
	}
	short := float64(max(plain, time.Millisecond)) / float64(max(6, cuts))
	if plain == 0 { // nothing but long ones: all in proportion
		short = 0
	}
	total := 0.0
	for i, t := range a.at {
		if i > 0 {
			d := t - a.at[i-1]
			cut := d >= longest && short > 0
			a.broken = append(a.broken, cut)
			if cut {
				total += short
			} else {
				total += float64(d)
			}
		}
		a.place = append(a.place, total)
	}
	for i := range a.place {
		a.place[i] *= 100 / max(total, 1)
	}
	return a
}

// x is the place of an instant that the axis was made with.
func (a axis) x(t time.Duration) float64 {
	i, found := slices.BinarySearch(a.at, t)
	switch {
	case found:
		return a.place[i]
	case i == 0:
		return 0
	case i == len(a.at):
		return 100
	}
	share := float64(t-a.at[i-1]) / float64(a.at[i]-a.at[i-1])
	return a.place[i-1] + share*(a.place[i]-a.place[i-1])
}

func (a axis) breaks() []Break {
	var out []Break
	for i, b := range a.broken {
		if b {
			out = append(out, Break{X: a.place[i], W: a.place[i+1] - a.place[i], Text: short((a.at[i+1] - a.at[i]).Round(100 * time.Millisecond))})
		}
	}
	return out
}

// ticks names the ends of the axis and of its breaks, and round instants in the
// stretches between, as far as there is room.
func (a axis) ticks() []Tick {
	const room = 9.0 // percent that a text needs
	var all []Tick
	add := func(x float64, text string) {
		tick := Tick{X: x, Text: text, End: x > 100-room}
		for _, t := range all {
			if d := t.left(room) - tick.left(room); d < room && d > -room {
				return
			}
		}
		all = append(all, tick)
	}
	last := len(a.at) - 1
	add(0, tickText(a.at[0]))
	add(100, tickText(a.at[last]))
	for i, b := range a.broken {
		if b {
			add(a.place[i], tickText(a.at[i]))
			add(a.place[i+1], tickText(a.at[i+1]))
		}
	}
	for begin := 0; begin < last; begin++ {
		end := begin
		for end < last && !a.broken[end] {
			end++
		}
		for _, t := range round(a.at[begin], a.at[end], a.place[end]-a.place[begin]) {
			add(a.x(t), tickText(t))
		}
		begin = end
	}
	slices.SortFunc(all, func(x, y Tick) int { return cmp.Compare(x.X, y.X) })
	return all
}

// left is where a tick's text begins, if it is so wide.
func (t Tick) left(wide float64) float64 {
	if t.End {
		return t.X - wide
	}
	return t.X
}

// round lists round instants between two that are drawn in proportion, about
// one for each tenth of the axis.
func round(from, to time.Duration, percent float64) []time.Duration {
	var out []time.Duration
	for unit := time.Millisecond; unit < time.Hour; unit *= 10 {
		for _, step := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if float64(step)/float64(to-from)*percent < 10 {
				continue
			}
			for t := from.Truncate(step) + step; t < to; t += step {
				out = append(out, t)
			}
			return out
		}
	}
	return out
}

func tickText(t time.Duration) string { return short(t.Round(time.Millisecond)) }
