package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// example has one scenario of each verdict.
func example() Run {
	return Run{Tool: "callbench 0", World: "virtual", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Wall: 1500 * time.Millisecond, Scenarios: []Scenario{
		{Name: "call", File: "call.call", World: "virtual", Verdict: Pass, Took: 31 * time.Second, Wall: 300 * time.Millisecond,
			Steps: []Step{{Line: 5, Text: "alice call bob", Verdict: Pass}},
			Spans: []Span{{Name: "setup", At: time.Second, Took: 623400 * time.Microsecond}},
			Calls: []Call{{ID: "c1", From: "alice", To: "bob", Took: 30 * time.Second, Reason: "hangup", Phases: []Phase{
				{Name: "invite_to_ring", Party: "alice", Took: 40 * time.Millisecond}, {Name: "media_gap.audio", Party: "bob", Took: time.Second}, {Name: "media_gap.audio", Party: "bob", Took: 2 * time.Second}, {Name: "call_setup_total", Party: "both", Took: 1500 * time.Millisecond}}}},
			Media: []Media{{Call: "c1", Client: "bob", From: "alice", Kind: "video", Units: 898, Lost: 2, MaxGap: time.Second}}},
		{Name: "bad", File: "bad.call", Verdict: Fail, Reason: "bad.call:3: <no> \"ring\"", Failures: []Failure{
			{Check: "expect", File: "bad.call", Line: 3, Message: "<no> \"ring\"", Detail: "  alice saw nothing\n"}, {Check: "ended-twice", File: "bad.call", Message: "twice"}}},
		{Name: "dead", File: "dead.call", Verdict: Broken, Reason: "no media server", Stderr: "goroutine 1"},
		{Name: "not-here", File: "n.call", Verdict: Skip, Reason: "turn: there is none"},
	}}
}

func TestRowsAndSummaryTellEverything(t *testing.T) {
	var b bytes.Buffer
	if err := errors.Join(Rows(&b, example()), Summary(&b, example(), true)); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(` +`).ReplaceAllString(b.String(), " ") // however wide the columns are
	for _, want := range []string{
		"PASS call virtual 31s 300ms 1",
		"span setup 623.4ms at 1s",
		"invite_to_ring 40ms", "media_gap.audio 1s 2s",
		"bob ← alice video", "898 units", "lost 2", "gap 1s",
		"FAIL bad [expect]\nbad.call:3: <no> \"ring\"\n alice saw nothing\n",
		"FAIL bad [ended-twice]\nbad.call: twice\n",
		"BROKEN dead: no media server", "goroutine 1",
		"SKIP not-here: turn: there is none",
		"\n1 passed, 2 failed, 1 skipped\n",
		"both", "call_setup_total 1.5s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Index(text, "BROKEN dead: no media server") > strings.Index(text, "invite_to_ring") {
		t.Errorf("the details come before the failures:\n%s", b.String())
	}
}

// A summary has details of what failed only, unless they are asked for or there
// is nothing else; and a reason that many were skipped for is there once.
func TestSummaryIsShort(t *testing.T) {
	r := example()
	r.Scenarios[1].Calls = []Call{{From: "carol", To: "dave"}}
	other := r.Scenarios[3]
	other.Name = "not-there"
	r.Scenarios = append(r.Scenarios, other)
	text := func(r Run) string {
		var b bytes.Buffer
		if err := Summary(&b, r, false); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	got := text(r)
	for _, want := range []string{"FAIL bad  [expect]", "carol → dave", "\nSKIP 2 scenarios: turn: there is none\n", "\n1 passed, 2 failed, 2 skipped\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the summary lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "invite_to_ring") {
		t.Errorf("the summary has details of what passed:\n%s", got)
	}
	r.Scenarios = r.Scenarios[:1]
	if got := text(r); !strings.Contains(got, "invite_to_ring") {
		t.Errorf("the summary of one scenario lacks its details:\n%s", got)
	}
}

func TestPassedNeedsAPassAndNoFailure(t *testing.T) {
	pass, fail, skip, broken := Scenario{Verdict: Pass}, Scenario{Verdict: Fail}, Scenario{Verdict: Skip}, Scenario{Verdict: Broken}
	for _, c := range []struct {
		list []Scenario
		want bool
	}{{nil, false}, {[]Scenario{skip}, false}, {[]Scenario{pass, skip}, true}, {[]Scenario{pass, fail}, false}, {[]Scenario{pass, broken}, false}} {
		if got := (Run{Scenarios: c.list}).Passed(); got != c.want {
			t.Errorf("%v: %v", c.list, got)
		}
	}
}

// The files are what CI systems read: JUnit counts as they do, JSON as written.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, example()); err != nil {
		t.Fatal(err)
	}
	var junit suites
	read(t, filepath.Join(dir, "junit.xml"), xml.Unmarshal, &junit)
	s := junit.Suites[0]
	if s.Tests != 4 || s.Failures != 1 || s.Errors != 1 || s.Skipped != 1 || s.Time != "1.500" || s.Timestamp != "2026-01-02T03:04:05" {
		t.Errorf("suite: %+v", s)
	}
	if f := s.Cases[1].Failure; f == nil || f.Message != "bad.call:3: <no> \"ring\"" || !strings.Contains(f.Text, "alice saw nothing") {
		t.Errorf("failure: %+v", f)
	}
	if s.Cases[0].Failure != nil || s.Cases[2].Error == nil || s.Cases[3].Skipped == nil {
		t.Errorf("cases: %+v", s.Cases)
	}
	var back Run
	read(t, filepath.Join(dir, "report.json"), json.Unmarshal, &back)
	if diff := cmp.Diff(example(), back); diff != "" {
		t.Error(diff)
	}
	if err := Write(filepath.Join(dir, "nowhere"), example()); err == nil {
		t.Error("a folder that does not exist was written to")
	}
}

func read(t *testing.T, path string, decode func([]byte, any) error, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(b, into); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	l := NewLoad("call", "local")
	for i := range 100 {
		l.Add(Scenario{Verdict: Pass, Spans: []Span{{Name: "setup", Took: time.Duration(i+1) * time.Millisecond}}, Media: []Media{{Units: 10, Lost: 1}},
			Phases: []Phase{{Name: "register", Took: time.Millisecond}}, Calls: []Call{{Phases: []Phase{{Name: "teardown", Party: "server", Took: time.Second}}}}}, time.Millisecond)
	}
	l.Summarize()
	if r, d := l.Times["register"], l.Times["teardown"]; r == nil || r.Count != 100 || d == nil || d.Count != 100 {
		t.Errorf("phases: %+v", l.Times)
	}
	if !l.OK() {
		t.Error("100 good calls are not OK")
	}
	setup := l.Times["setup"]
	for name, c := range map[string]struct{ got, want time.Duration }{"p50": {setup.P50, 50 * time.Millisecond}, "p95": {setup.P95, 95 * time.Millisecond}, "p99": {setup.P99, 99 * time.Millisecond}, "max": {setup.Max, 100 * time.Millisecond}} {
		if d := (c.got - c.want).Abs(); d > c.want/500 { // three significant digits
			t.Errorf("%s is %v, want %v", name, c.got, c.want)
		}
	}
	l.Add(Scenario{Verdict: Fail, Reason: "no ring"}, 0)
	var b bytes.Buffer
	if err := LoadTable(&b, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"100 passed, 1 failed, 0 dropped, 0 interrupted", "1 × no ring", "1000 units, lost 100"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	if l.OK() {
		t.Error("a failed call is OK")
	}
	for _, bad := range []Load{{}, {Passed: 1, Dropped: 1}, {Passed: 1, Interrupted: 1}, {Passed: 1, Left: []string{"kms x"}}} {
		if bad.OK() {
			t.Errorf("%+v is OK", bad)
		}
	}
}
