package reports

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page/report.html page/report.css page/report.js
var pageFiles embed.FS

// HTML writes the run as one page that needs nothing beside it. What it tells
// of each scenario's events comes from the trace, which it looks for in dir;
// a trace that cannot be read is said so on the page.
func HTML(w io.Writer, dir string, r Run) error {
	css, err := pageFiles.ReadFile("page/report.css")
	if err != nil {
		return err
	}
	js, err := pageFiles.ReadFile("page/report.js")
	if err != nil {
		return err
	}
	t, err := template.New("report.html").Funcs(template.FuncMap{
		"short": short, "instant": instant, "sub": func(a, b int) int { return a - b },
		"chapter": func(c contents) *chapter { return newChapter(dir, r, c) },
		"percent": func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) + "%" },
	}).ParseFS(pageFiles, "page/report.html")
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	return t.Execute(w, newPage(r, template.CSS(css), template.JS(js)))
}

// page is the frame of the report; a chapter is made when it is written, so that
// only one is in memory.
type page struct {
	Run
	Word     string // "Failed"
	Class    string // "fail"
	Why      string
	Tally    string
	Contents []contents
	CSS      template.CSS
	JS       template.JS
}

// contents is a line of the table of contents: a scenario and where it stands.
type contents struct {
	Scenario
	ID string
}

func newPage(r Run, css template.CSS, js template.JS) page {
	p := page{Run: r, CSS: css, JS: js}
	for i, s := range r.Scenarios {
		p.Contents = append(p.Contents, contents{Scenario: s, ID: "s" + strconv.Itoa(i+1)})
	}
	slices.SortStableFunc(p.Contents, func(a, b contents) int { return cmp.Compare(weight(a.Verdict), weight(b.Verdict)) })
	p.Tally = r.tally()
	p.Word, p.Class, p.Why = p.verdict(r.Count())
	return p
}

// weight puts first what somebody must look at.
func weight(v Verdict) int { return slices.Index([]Verdict{Fail, Broken, Skip, Pass}, v) }

// verdict is the first line that a reader sees.
func (p page) verdict(n map[Verdict]int) (word, class, why string) {
	many := func(n int) string { return many(n, "scenario") }
	switch bad := n[Fail] + n[Broken]; {
	case bad > 0:
		word, class = "Failed", "fail"
		if n[Fail] == 0 {
			word, class = "Broken", "broken"
		}
		why = p.Contents[0].Reason
		if bad > 1 {
			why = fmt.Sprintf("%s of %d; first %s", many(bad), len(p.Scenarios), why)
		}
		return word, class, why
	case n[Pass] == 0 && n[Skip] > 0:
		return "Nothing played", "skip", many(n[Skip]) + " skipped: " + p.Contents[0].Reason
	case n[Pass] == 0:
		return "Nothing played", "skip", "there is no scenario"
	}
	why = many(n[Pass]) + " went as written"
	if p.notSeen() != "" {
		why += ", as far as could be judged"
	}
	if n[Skip] > 0 {
		why += fmt.Sprintf(", %d skipped", n[Skip])
	}
	return "Passed", "pass", why
}

// chapter is all that the page tells of one scenario.
type chapter struct {
	contents
	*story
	Trouble  string // why there is no trace to read
	Link     string // to the trace
	Lines    []line
	Calls    []callView
	Sessions *Waterfall // phases of clients that are in no call
	Whole    *Sequence  // of a scenario without calls
	More     int        // calls that are not drawn
	Again    []string   // commands that reproduce the run
}

// callView is one call, drawn.
type callView struct {
	Call
	Waterfall *Waterfall
	Sequence  *Sequence
	Media     []Media
}

// line is one line of the script and what became of it.
type line struct {
	Number  int
	Text    string
	Step    *Step
	Failed  []Failure
	Comment bool // not a step
	Missed  bool // a step that was not come to
}

// mostCalls bounds the calls of one scenario that are drawn.
const mostCalls = 8

func newChapter(dir string, r Run, of contents) *chapter {
	c := &chapter{contents: of}
	st, err := readStory(dir, of.Scenario)
	if err != nil {
		st = &story{score: newScore(of.Scenario)}
		c.Trouble = err.Error()
	}
	if len(st.Parts) == 0 {
		for _, name := range sortedNames(r.Parts) {
			st.Parts = append(st.Parts, pair{name, r.Parts[name]})
		}
	}
	c.story = st
	if of.Trace != "" {
		c.Link = (&url.URL{Path: filepath.ToSlash(of.Trace)}).String()
	}
	c.Lines = lines(of.Scenario, st.Script)
	c.Again = of.reproduce(st)
	c.draw()
	return c
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// draw makes the diagrams.
func (c *chapter) draw() {
	if len(c.Scenario.Phases) > 0 {
		var begin, end time.Duration
		var parties []Party
		for _, p := range c.Scenario.Phases {
			end = max(end, p.Begin+p.Took)
			if !slices.ContainsFunc(parties, func(x Party) bool { return x.Name == p.Party }) {
				parties = append(parties, Party{p.Party, []string{"caller", "callee"}[min(len(parties), 1)]})
			}
		}
		c.Sessions = newWaterfall(c.Scenario.Phases, begin, end, parties)
	}
	calls := c.Scenario.Calls
	if len(calls) == 0 {
		c.Whole = c.score.draw(c.score.part(nil, 0), "", "What happened in "+c.Name)
		return
	}
	c.More = max(0, len(calls)-mostCalls)
	for i, call := range calls[:len(calls)-c.More] {
		v := callView{Call: call, Waterfall: call.waterfall()}
		v.Sequence = c.score.draw(c.score.part(calls, i), call.From, "Call of "+call.From+" to "+call.To)
		for _, m := range c.Scenario.Media {
			if call.is(m.Call) {
				v.Media = append(v.Media, m)
			}
		}
		c.Calls = append(c.Calls, v)
	}
}

// waterfall draws the call's phases.
func (c Call) waterfall() *Waterfall {
	var parties []Party
	for i, name := range c.parties() {
		class := "callee"
		switch {
		case i == 0:
			class = "caller"
		case name == "server" || name == "both":
			class = name
		}
		parties = append(parties, Party{name, class})
	}
	end := c.Begin + c.Took
	for _, p := range c.Phases {
		end = max(end, p.Begin+p.Took)
	}
	return newWaterfall(c.Phases, c.Begin, end, parties)
}

// lines puts the script and its steps together; the steps alone if there is no
// script.
func lines(s Scenario, script []string) []line {
	var out []line
	steps := map[int]*Step{}
	for i := range s.Steps {
		steps[s.Steps[i].Line] = &s.Steps[i]
		if len(script) == 0 {
			out = append(out, line{Number: s.Steps[i].Line, Text: s.Steps[i].Text})
		}
	}
	for i, text := range script {
		out = append(out, line{Number: i + 1, Text: text})
	}
	for i := range out {
		l := &out[i]
		l.Step = steps[l.Number]
		for _, f := range s.Failures {
			if f.Line == l.Number {
				l.Failed = append(l.Failed, f)
			}
		}
		word, _, _ := strings.Cut(strings.TrimSpace(l.Text), " ")
		l.Comment = l.Step == nil && (word == "" || word[0] == '#' || slices.Contains([]string{"need", "set", "clients", "case", "mix", "require"}, word))
		l.Missed = l.Step == nil && !l.Comment
	}
	return out
}

// reproduce lists the commands that play the scenario again, the same case of it
// and on the same servers, and judge its trace. The secret of a TURN server is
// none of the report's business.
func (s Scenario) reproduce(st *story) []string {
	var out []string
	if s.File != "" && s.World != "" {
		what := s.File
		if _, wanted, ok := strings.Cut(s.Name, "/"); ok {
			what += "/" + wanted
		}
		run := "callbench run " + quote(what) + " -world " + s.World + " -seed " + strconv.FormatInt(s.Seed, 10)
		if st.Level == "0" {
			run += " -level 0"
		}
		for _, part := range []struct{ name, flag string }{{"server", " -url "}, {"kurento", " -kms "}, {"turn", " -turn "}, {"redis", " -redis "}, {"metrics", " -metrics "}} {
			if at, ok := strings.CutPrefix(st.part(part.name), "at "); ok { // as worlds name what others run
				run += part.flag + quote(at)
			}
		}
		out = append(out, run)
	}
	if s.Trace != "" {
		out = append(out, "callbench judge "+quote(s.Trace))
	}
	return out
}

// quote makes a word for a POSIX shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=@+,%", r)
	}
	if s != "" && !strings.HasPrefix(s, "-") && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
