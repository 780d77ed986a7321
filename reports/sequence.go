package reports

import (
	"fmt"
	"time"
)

// Sequence is a sequence diagram: lanes from left to right, rows from top to
// bottom, all in pixels of the drawing.
type Sequence struct {
	Title  string
	Width  int
	Height int
	Top    int // where the lanes begin
	Lanes  []Lane
	Marks  []Mark
}

// Lane is the life of one actor.
type Lane struct {
	Name  string
	Class string // "caller", "callee", "part"
	X     int
}

// Mark is one row, drawn.
type Mark struct {
	Shape  string // "arrow", "note", "step", "failure", "silence", "omitted"
	Tone   string
	Time   string // empty if it is the same as above
	Y      int
	H      int // of what is not an arrow
	X1, X2 int // of an arrow: from and to; else left edge and width
	Head   int // of an arrow: 1 points to the right, -1 to the left
	Lost   bool
	TextX  int
	Label  string
	Suffix string
	Detail string
	Repeat []Lane // lane names, said again where the diagram is long
}

// The measures of a diagram, in pixels; characters are as wide as they are on
// average in the page's face.
const (
	gutter    = 64  // for times, on the left
	margin    = 92  // from the gutter or the right edge to the outer lanes
	widest    = 208 // between two lanes
	narrowest = 150
	roomy     = 1040 // of the page, where it is wide
	headline  = 40
	perChar   = 6.3
	wideChar  = 6.9 // where a box is drawn around the text
	monoChar  = 7.0 // of what is set like code
	repeated  = 26  // rows after which the lanes are named again
)

// draw lays a call's rows out.
func (c *score) draw(rows []*row, caller, title string) *Sequence {
	lanes := c.lanes(rows, caller)
	if len(lanes) == 0 {
		return nil
	}
	gap := min(widest, max(narrowest, (roomy-gutter-2*margin)/max(len(lanes)-1, 1)))
	if len(lanes) == 2 {
		gap = 2 * widest
	}
	s := &Sequence{Title: title, Top: headline, Width: gutter + 2*margin + gap*(len(lanes)-1)}
	at := map[string]int{}
	for i, name := range lanes {
		at[name] = gutter + margin + i*gap
		s.Lanes = append(s.Lanes, Lane{Name: name, Class: c.laneClass(name, lanes), X: at[name]})
	}
	y, before := headline, ""
	for i, r := range rows {
		m := c.mark(r, at, s.Width)
		if i > 0 && i%repeated == 0 {
			y += 22
			m.Repeat = s.Lanes
		}
		m.Y, y = y, y+m.H
		if t := instant(r.at); t != before && r.shape != silence {
			m.Time, before = t, t
		}
		s.Marks = append(s.Marks, m)
	}
	s.Height = y + headline
	return s
}

func (c *score) laneClass(name string, lanes []string) string {
	for _, cl := range c.clients {
		switch {
		case name == cl && name == lanes[0]:
			return "caller"
		case name == cl:
			return "callee"
		}
	}
	return "part"
}

// mark draws one row; its place from top to bottom is the caller's business.
func (c *score) mark(r *row, lane map[string]int, width int) Mark {
	m := Mark{Tone: r.tone, Suffix: r.suffix, Detail: c.tell(r)}
	switch r.shape {
	case message:
		c.arrow(&m, r, lane)
	case note:
		m.Shape, m.H = "note", 28
		m.Label = r.text(48)
		w := int(float64(len([]rune(m.Label)))*wideChar) + 18
		m.X1, m.X2 = min(max(lane[r.from]-w/2, gutter), width-w-2), w
		m.TextX = m.X1 + w/2
	case step, failure:
		m.Shape, m.H = "step", 30
		if r.shape == failure {
			m.Shape = "failure"
		}
		m.X1, m.X2 = gutter, width-gutter-2
		m.TextX = m.X1 + 10
		m.Label = r.text(int(float64(m.X2-20) / monoChar))
	case silence, omitted:
		m.Shape, m.H = "silence", 34
		m.X1, m.X2 = gutter, width-gutter-2
		m.TextX, m.Label = m.X1+m.X2/2, r.text(100)
		m.Suffix = cut(m.Suffix, int(float64(m.X2)/perChar)-len(m.Label)-6)
	}
	return m
}

func (c *score) arrow(m *Mark, r *row, lane map[string]int) {
	m.Shape, m.H = "arrow", 31
	from, to := lane[r.from], lane[r.to]
	m.Head = 1
	if to < from {
		m.Head = -1
	}
	m.X1, m.X2, m.TextX = from, to-m.Head*2, (from+to)/2
	if n := c.lost(r); n > 0 {
		m.Lost, m.Tone = true, "bad"
		m.Suffix = "never arrived"
		if r.to == "kms" {
			m.Suffix = "never answered"
		}
		if r.count > 1 {
			m.Suffix = fmt.Sprintf("%d of %d ", n, r.count) + m.Suffix
		}
		m.X2 -= (to - from) / 5
	}
	room := int(float64(max(to-from, from-to))/perChar) - 1
	if !m.Lost { // what was lost must be read, whatever else fits
		m.Suffix = cut(m.Suffix, room*2/3)
	}
	if m.Suffix != "" {
		room -= len([]rune(m.Suffix)) + 3
	}
	m.Label = r.text(max(room, 12))
}

// tell is a row in full, for whoever points at it.
func (c *score) tell(r *row) string {
	text := instant(r.at) + "  " + r.from
	if r.to != "" {
		text += " → " + r.to
	}
	text += "  " + r.text(1000)
	if r.suffix != "" {
		text += ", " + r.suffix
	}
	if r.to != "kms" && r.transit > 0 {
		text += ", " + short(r.transit) + " on the way"
	}
	if d := r.until - r.at; d > time.Millisecond && r.count > 1 {
		text += ", over " + short(d)
	}
	if r.detail != "" {
		text += "\n" + r.detail
	}
	return text
}
