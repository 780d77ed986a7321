package reports

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// event makes one by hand: `<seconds> <actor> <kind> key=value…`, with ~ for a space in a value.
func event(t *testing.T, line string) trace.Event {
	t.Helper()
	words := strings.Fields(line)
	sec, err := strconv.ParseFloat(words[0], 64)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	e := trace.Event{T: time.Duration(sec * float64(time.Second)).Round(time.Microsecond), Actor: words[1], Kind: trace.Kind(words[2])}
	for _, w := range words[3:] {
		k, v, _ := strings.Cut(w, "=")
		v = strings.ReplaceAll(v, "~", " ")
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			e.Attrs = append(e.Attrs, trace.Float(k, f))
		} else {
			e.Attrs = append(e.Attrs, trace.String(k, v))
		}
	}
	return e
}

// keep writes a trace: its head with the script, then the events.
func keep(t *testing.T, dir, name, script string, lines ...string) {
	t.Helper()
	head := trace.Event{Actor: "script", Kind: trace.KindRunBegin, Attrs: []trace.Attr{trace.String("text", script), trace.String("part.kurento", "kmsmock of 7.3.0"), trace.String("env.system", "linux/amd64")}}
	file := head.Append(nil)
	for _, l := range lines {
		file = event(t, l).Append(file)
	}
	if err := os.WriteFile(filepath.Join(dir, name), file, 0o644); err != nil {
		t.Fatal(err)
	}
}

func render(t *testing.T, dir string, r Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, dir, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// plain is what is left of a page without its markup, style and script.
func plain(page string) string {
	page = regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`).ReplaceAllString(page, "")
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	page = strings.NewReplacer("&#34;", `"`, "&lt;", "<", "&gt;", ">", "&#39;", "'", "&amp;", "&", "&#43;", "+").Replace(page)
	return strings.Join(strings.Fields(page), " ")
}

const ringScript = "# Bob is called.\nclients alice=electron bob=electron\nalice call bob\nexpect bob incoming from=carol\nbob accept\n"

// ringFailed is a run of which the first scenario passed and the second failed.
func ringFailed(t *testing.T, dir string) Run {
	t.Helper()
	keep(t, dir, "ring.trace.jsonl", ringScript,
		"0 alice ws.open attempt=0", "0 bob ws.open attempt=0", "0 bob signal.sent type=hello request=1", "0.1 alice signal.sent type=rtc action=call request=2", "0.11 server frame.in user=alice frame=rtc/call request=2",
		"0.12 turn turn.allocated user=alice client=10.0.0.3:4000", "0.2 server frame.out user=bob frame=rtc_invite seq=1",
		"2 script step.deadline step=1", "2.1 bob ws.closed code=1006")
	keep(t, dir, "fine.trace.jsonl", ringScript)
	return Run{Tool: "callbench 0", World: "virtual", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Scenarios: []Scenario{
		{Name: "fine", File: "fine.call", World: "virtual", Verdict: Pass, Trace: "fine.trace.jsonl", Seed: 1, Calls: []Call{{ID: "c1", From: "alice", To: "bob", Took: time.Second, Reason: "hangup",
			Phases: []Phase{{Name: "invite_to_ring", Party: "alice", Took: 40 * time.Millisecond}}}}},
		{Name: "ring", File: "my ring.call", World: "virtual", Seed: 7, Verdict: Fail, Reason: `my ring.call:4: "expect bob incoming" not within 2s`, Trace: "ring.trace.jsonl", Notes: []string{"a note"},
			Steps:    []Step{{Line: 3, Text: "alice call bob", Verdict: Pass, At: 100 * time.Millisecond, Took: 20 * time.Millisecond}, {Line: 4, Text: "expect bob incoming from=carol", Verdict: Fail, At: 120 * time.Millisecond}},
			Failures: []Failure{{Check: "expect", File: "my ring.call", Line: 4, At: 2 * time.Second, Message: `"expect bob incoming" not within 2s`, Expected: "bob: incoming", Seen: "bob: nothing of the kind", Detail: "bob saw:\n  nothing\n"}}},
	}}
}

func TestPageOfAFailedRun(t *testing.T) {
	dir := t.TempDir()
	page := render(t, dir, ringFailed(t, dir))
	text := plain(page)
	at := 0
	for _, want := range []string{ // in this order
		`Failed my ring.call:4: "expect bob incoming" not within 2s`, "1 passed, 1 failed, 0 skipped",
		"✗ failed ring", "✓ passed fine",
		"✗ failed ring", "my ring.call:4 expect at 2.000 s", "Expected bob: incoming", "Seen instead bob: nothing of the kind", "bob saw: nothing",
		"callbench run 'my ring.call' -world virtual -seed 7", "callbench judge ring.trace.jsonl",
		"Last events before the failure", "alice 0.000 s ws.open attempt=0", "server 0.110 s frame.in", "turn 0.120 s turn.allocated",
		"Script", "✓ passed 3 alice call bob 0.100 s 20ms", "✗ failed 4 expect bob incoming from=carol", "5 bob accept not reached",
		"turn.allocated", "rtc_invite · never arrived", `my ring.call:4: "expect bob incoming" not within 2s`, "WebSocket lost code=1006",
		"a note", "seed 7", "kurento kmsmock of 7.3.0", "system linux/amd64",
		"✓ passed fine", "alice calls bob 1s, ended: hangup", "invite_to_ring 40ms",
	} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("%q does not follow %q in:\n%s", want, text[max(0, at-60):at], text)
		}
		at += i + len(want)
	}
	if _, after, _ := strings.Cut(text, "turn 0.120 s"); strings.Contains(strings.Split(after, "Script")[0], "ws.closed") {
		t.Error("what came after the failure is among the last events before it")
	}
	open := regexp.MustCompile(`<details class="chapter (\w+)" id="s\d"( open)?>`).FindAllStringSubmatch(page, -1)
	if len(open) != 2 || open[0][1]+open[0][2] != "fail open" || open[1][1]+open[1][2] != "pass" {
		t.Errorf("chapters: %q", open)
	}
	for _, needs := range []string{" src=", "url(http", "@import", "<link rel=\"stylesheet"} {
		if strings.Contains(page, needs) {
			t.Errorf("the page needs something beside it: %s", needs)
		}
	}
}

func TestFirstLineOfThePage(t *testing.T) {
	pass, fail, skip, broken := Scenario{Verdict: Pass}, Scenario{Verdict: Fail, Reason: "x.call:1: no ring"}, Scenario{Verdict: Skip, Reason: "no turn"}, Scenario{Verdict: Broken, Reason: "no media server"}
	for _, c := range []struct {
		list []Scenario
		want string
	}{
		{nil, "Nothing played there is no scenario"},
		{[]Scenario{skip}, "Nothing played 1 scenario skipped: no turn"},
		{[]Scenario{pass, pass}, "Passed 2 scenarios went as written"},
		{[]Scenario{pass, skip}, "Passed 1 scenario went as written, 1 skipped"},
		{[]Scenario{pass, fail}, "Failed x.call:1: no ring"},
		{[]Scenario{broken, pass, fail}, "Failed 2 scenarios of 3; first x.call:1: no ring"},
		{[]Scenario{broken, skip}, "Broken no media server"},
	} {
		page := render(t, t.TempDir(), Run{Scenarios: c.list})
		h1 := regexp.MustCompile(`(?s)<h1>(.*?)</h1>`).FindStringSubmatch(page)[1]
		if got := plain(h1); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Whatever comes from a script, a server or a frame is text.
func TestPageEscapes(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img/src=x/onerror=alert(2)>`
	dir := t.TempDir()
	file := trace.Event{Actor: "script", Kind: trace.KindRunBegin, Attrs: []trace.Attr{trace.String("text", evil), trace.String("part."+evil, evil), trace.String("env."+evil, evil)}}.Append(nil)
	for _, e := range []trace.Event{
		{Actor: evil, Kind: "ws.open"}, {Actor: evil, Kind: "signal.sent", Attrs: []trace.Attr{trace.String("type", evil), trace.String("request", evil)}},
		{Actor: "server", Kind: "frame.out", Attrs: []trace.Attr{trace.String("user", evil), trace.String("frame", evil), trace.String("seq", evil)}},
		{Actor: evil, Kind: evil, Attrs: []trace.Attr{trace.String(evil, evil)}}, {Actor: "server", Kind: "kms.request", Attrs: []trace.Attr{trace.String("method", evil)}},
		{Actor: "script", Kind: trace.KindStepBegin, Attrs: []trace.Attr{trace.String("text", evil)}}, {T: time.Second, Actor: "script", Kind: trace.KindRunEnd, Attrs: []trace.Attr{trace.String("error", evil)}},
	} {
		file = e.Append(file)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	page := render(t, dir, Run{Tool: evil, World: evil, Scenarios: []Scenario{{Name: evil, File: evil, World: evil, Verdict: Fail, Reason: evil, Trace: "x.jsonl", Stderr: evil, Notes: []string{evil},
		Steps: []Step{{Line: 1, Text: evil}}, Spans: []Span{{Name: evil}}, Failures: []Failure{{Check: evil, File: evil, Line: 1, At: time.Second, Message: evil, Expected: evil, Seen: evil, Detail: evil}},
		Calls: []Call{{ID: "c", From: evil, To: evil, Reason: evil, Phases: []Phase{{Name: evil, Party: evil}}}}, Phases: []Phase{{Name: evil, Party: evil}},
		Media: []Media{{Call: "c", Client: evil, From: evil, Kind: evil}}}, {Name: "y", Verdict: Skip, Reason: evil, Trace: "javascript:alert(3)"}}})
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	if strings.Contains(page, "<img") || strings.Contains(page, `href="javascript:`) {
		t.Error("markup of others is in the page")
	}
	if !strings.Contains(plain(page), "<script>alert(1)</script>") {
		t.Error("the text itself is lost")
	}
}

// A page without its trace says so and tells what it knows.
func TestPageWithoutTrace(t *testing.T) {
	run := ringFailed(t, t.TempDir())
	run.Parts = map[string]string{"go": "1.26"}
	text := plain(render(t, t.TempDir(), run))
	for _, want := range []string{"There are no events to draw: open ", "✗ failed 4 expect bob incoming from=carol", "go 1.26"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"call.call": "call.call", "a b.call": "'a b.call'", "it's": `'it'\''s'`, "-x": "'-x'", "": "''", "$(rm)": "'$(rm)'", "ws://127.0.0.1:8888/kurento": "ws://127.0.0.1:8888/kurento"} {
		if got := quote(in); got != want {
			t.Errorf("%q became %s, want %s", in, got, want)
		}
	}
}

// The command plays the case that failed, on the servers that it failed on.
func TestReproduce(t *testing.T) {
	real := &story{Level: "1", Parts: []pair{{"kurento", "at ws://k:1/kurento"}, {"turn", "at turn:t:1?transport=udp"}}}
	mock := &story{Level: "0", Parts: []pair{{"kurento", "kmsmock of 7.3.0"}}}
	for _, c := range []struct {
		s    Scenario
		st   *story
		want string
	}{
		{Scenario{Name: "a", File: "a.call", World: "local"}, real, "callbench run a.call -world local -seed 0 -kms ws://k:1/kurento -turn 'turn:t:1?transport=udp'"},
		{Scenario{Name: "lossy/loss=10/n=2", File: "dir/lossy.call", World: "virtual", Seed: 7}, mock, "callbench run dir/lossy.call/loss=10/n=2 -world virtual -seed 7 -level 0"},
	} {
		if got := c.s.reproduce(c.st); len(got) != 1 || got[0] != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
