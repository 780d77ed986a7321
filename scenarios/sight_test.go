package scenarios

import (
	"slices"
	"strings"
	"testing"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// blindTo adds to the head of a trace what its run could not see.
func blindTo(events []trace.Event, sights ...string) []trace.Event {
	for _, s := range sights {
		events[0].Attrs = append(events[0].Attrs, trace.String(blindKey+s, "no "+s+" probe"))
	}
	return events
}

func verdicts(r reports.Scenario) string {
	var all []string
	for _, st := range r.Steps {
		all = append(all, string(st.Verdict))
	}
	return strings.Join(all, " ")
}

// What cannot be looked at is skipped by name, and the rest is judged.
func TestBlindStepsAreSkipped(t *testing.T) {
	for _, c := range []struct {
		name, step string
		sights     []string
		want       string // of the step
		reason     string
	}{
		{"history", "expect history 1v1", []string{SightHistory}, "skip", "no history probe"},
		{"redis", `expect redis "rtc:*"`, []string{SightRedis}, "skip", "no redis probe"},
		{"recording", "expect recording state=ready", []string{SightHistory}, "skip", "no history probe"},
		{"steps", "expect steps", []string{SightEvents}, "skip", "no events probe"},
		{"event of a part", "expect server event session.start", []string{SightEvents}, "skip", "no events probe"},
		{"never an event of a part", "never kms event kms.died for=1s", []string{SightEvents}, "skip", "no events probe"},
		{"event of a client", "expect bob event call.incoming", []string{SightEvents, SightHistory}, "pass", ""},
		{"clean without any probe", "expect clean", sightsOfClean, "skip", "no history probe; no redis probe; no kms probe; no turn probe; no metrics probe"},
		{"clean with one", "expect clean", []string{SightHistory, SightKMS, SightTURN, SightMetrics}, "pass", ""},
		{"counts of a past", "expect bob history calls count=1", []string{SightPast}, "skip", "no past probe"},
		{"history beside another", "expect history 1v1", []string{SightRedis}, "pass", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := []string{"1 begin 0", "1 end 0", "2 begin 1", "2 bob call.incoming call=c1 from=alice"}
			lines = append(lines, "2 probe what=room type=1v1 room=r1 call=c1 creator=alice status=active", "2 probe what=done", "3 begin 2")
			if c.want == "pass" {
				lines = append(lines, "3 bob call.incoming call=c1 from=alice", "3 probe what=room type=1v1 room=r1 call=c1 creator=alice status=active", "3 probe what=done")
			}
			text := pair + "alice call bob\nexpect bob incoming\n" + c.step + "\n"
			r := judge(t, blindTo(record(t, text, "remote", lines...), c.sights...))
			if got := verdicts(r); got != "pass pass "+c.want || r.Verdict != reports.Pass {
				t.Fatalf("%s (%s %s), want pass pass %s", got, r.Verdict, r.Reason, c.want)
			}
			if got := r.Steps[2].Reason; got != c.reason {
				t.Errorf("the reason is %q, want %q", got, c.reason)
			}
		})
	}
}

// A scenario of which nothing could be judged has not passed.
func TestAllBlindIsSkipped(t *testing.T) {
	text := pair + "alice call bob\nexpect history 1v1\nexpect clean\n"
	lines := []string{"1 begin 0", "1 end 0", "2 begin 1", "3 begin 2"}
	r := judge(t, blindTo(record(t, text, "remote", lines...), sightsOfClean...))
	if r.Verdict != reports.Skip || !strings.Contains(r.Reason, "no history probe") {
		t.Errorf("%s %q", r.Verdict, r.Reason)
	}
}

// What is not looked at must not be missed in the history.
func TestUnseenHistoryIsNotMissed(t *testing.T) {
	text := pair + "alice call bob\nexpect bob ended\n"
	lines := []string{"1 begin 0", "1 alice call.outgoing call=c1 room=r1 to=bob", "1 bob call.incoming call=c1 room=r1 from=alice", "1 end 0",
		"2 begin 1", "2 alice call.ended call=c1 reason=hangup by=alice", "2 bob call.ended call=c1 reason=hangup by=alice", "3 probe what=done final=true"}
	if r := judge(t, record(t, text, "remote", lines...)); r.Verdict != reports.Fail || r.Failures[0].Check != "history-differs" {
		t.Errorf("with a look at the history: %s %s", r.Verdict, r.Reason)
	}
	if r := judge(t, blindTo(record(t, text, "remote", lines...), SightHistory)); r.Verdict != reports.Pass {
		t.Errorf("without: %s %s", r.Verdict, r.Reason)
	}
}

// A span that begins or ends with a skipped step is not known.
func TestSpanOfSkippedStep(t *testing.T) {
	text := pair + "alice call bob as a\nexpect history 1v1 as b\nexpect span a..b took<=1s\nexpect bob incoming\n"
	lines := []string{"1 begin 0", "1 end 0", "2 begin 1", "3 begin 2", "4 begin 3", "4 bob call.incoming call=c1 from=alice"}
	r := judge(t, blindTo(record(t, text, "remote", lines...), SightHistory))
	if got := verdicts(r); got != "pass skip skip pass" || !strings.Contains(r.Steps[2].Reason, "named b") {
		t.Errorf("%s: %q", got, r.Steps[2].Reason)
	}
}

// Clean says where it has not looked.
func TestHalfCleanIsNoted(t *testing.T) {
	text := pair + "alice call bob\nexpect clean\n"
	r := judge(t, blindTo(record(t, text, "remote", "1 begin 0", "1 end 0", "2 begin 1", "2 probe what=done"), SightRedis))
	if r.Verdict != reports.Pass || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "no redis probe") }) {
		t.Errorf("%s with %q", r.Verdict, r.Notes)
	}
}

// Accounts play the users of a script, and traces are judged with them again.
func TestWithUsers(t *testing.T) {
	text := pair + "alice call bob\nexpect bob incoming from=alice\nexpect redis \"user:bob:presence\"\n"
	events := record(t, text, "remote", "1 begin 0", "1 end 0", "2 begin 1", "2 bob call.incoming call=c1 from=staging-7",
		"3 begin 2", "3 probe what=key key=user:staging-8:presence ttl=0", "3 probe what=done")
	if r := judge(t, events); r.Verdict == reports.Pass {
		t.Error("staging-7 is taken for alice")
	}
	events[0].Attrs = append(events[0].Attrs, trace.String(userKey+"alice", "staging-7"), trace.String(userKey+"bob", "staging-8"))
	if r := judge(t, events); r.Verdict != reports.Pass {
		t.Errorf("%s %s", r.Verdict, r.Reason)
	}
}

// What verbs take need not be said, and is lacked all the same.
func TestTakes(t *testing.T) {
	s, err := Parse("x.call", pair+"need media\ntoken alice wrong\ntoken alice revoked\ntoken alice good\nblock alice bob\nunblock alice bob\nalice call bob\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.takes(), " "); got != "media tokens revocation blocks" {
		t.Errorf("it takes %s", got)
	}
	lack := missing(Stage{Lacks: func(c string) string { return map[string]string{"blocks": "they are the product's"}[c] }}, s)
	if lack != "blocks: they are the product's" {
		t.Errorf("lacks %q", lack)
	}
}
