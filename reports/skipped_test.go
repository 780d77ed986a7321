package reports

import (
	"bytes"
	"strings"
	"testing"
)

// half has a scenario of which a step could not be judged, and one of which nothing
// could.
func half() Run {
	skip := Step{Line: 7, Text: "expect history 1v1", Verdict: Skip, Reason: "no MySQL probe"}
	return Run{Tool: "callbench 0", World: "remote", Parts: map[string]string{"server": "at wss://staging/ws"}, Scenarios: []Scenario{
		{Name: "call", File: "call.call", World: "remote", Verdict: Pass, Steps: []Step{{Line: 5, Text: "alice call bob", Verdict: Pass}, skip, skip}},
		{Name: "busy", File: "busy.call", World: "remote", Verdict: Pass, Steps: []Step{{Line: 5, Text: "alice call bob", Verdict: Pass}, skip}},
		{Name: "blind", File: "blind.call", World: "remote", Verdict: Skip, Reason: "nothing could be looked at", Steps: []Step{skip}},
	}}
}

// What nobody looked at is told wherever somebody reads of a run.
func TestSkippedStepsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		write func(*bytes.Buffer) error
		want  []string
	}{
		"rows":     {func(b *bytes.Buffer) error { return Rows(b, half()) }, []string{"3 (2 skipped)"}},
		"summary":  {func(b *bytes.Buffer) error { return Summary(b, half(), false) }, []string{"SKIP 3 expectations of 2 scenarios: no MySQL probe", "2 passed, 0 failed, 1 skipped; 3 expectations not judged\n"}},
		"junit":    {func(b *bytes.Buffer) error { return JUnit(b, half()) }, []string{`skipped="1"`, "<system-out>skipped: busy.call:7: expect history 1v1: no MySQL probe"}},
		"json":     {func(b *bytes.Buffer) error { return JSON(b, half()) }, []string{`"reason": "no MySQL probe"`}},
		"html":     {func(b *bytes.Buffer) error { return HTML(b, t.TempDir(), half()) }, []string{"skipped: no MySQL probe", "2 of 3 steps skipped", "2 scenarios went as written, as far as could be judged, 1 skipped", "It was not judged: nothing could be looked at"}},
		"markdown": {func(b *bytes.Buffer) error { return Markdown(b, half()) }, []string{"✅", "2 passed, 0 failed, 1 skipped; 3 expectations not judged", "- 1 scenario: nothing could be looked at", "- 3 expectations of 2 scenarios: no MySQL probe", "| server | at wss://staging/ws |"}},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s lacks %q:\n%s", name, want, b.String())
			}
		}
	}
}

// A summary names what failed, and nothing in it is taken for Markdown or HTML.
func TestMarkdownOfFailures(t *testing.T) {
	var b bytes.Buffer
	if err := Markdown(&b, example()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## ❌ Callbench: failed", `| bad | bad.call:3 | &lt;no&gt; "ring" |`, "| dead | | could not be judged: no media server |", "- 1 scenario: turn: there is none"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "<no>") {
		t.Error("a message is taken for HTML")
	}
}

// Many failures are counted, not told.
func TestMarkdownIsShort(t *testing.T) {
	r := Run{Scenarios: []Scenario{{Name: "x", Verdict: Fail, Reason: "no"}}}
	for range mostTold + 5 {
		r.Scenarios[0].Failures = append(r.Scenarios[0].Failures, Failure{File: "x.call", Message: strings.Repeat("long ", 200)})
	}
	var b bytes.Buffer
	if err := Markdown(&b, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "5 more are in the report") || b.Len() > 2*mostTold*mostText {
		t.Errorf("%d bytes:\n%.2000s", b.Len(), b.String())
	}
}
