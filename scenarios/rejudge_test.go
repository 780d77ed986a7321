package scenarios

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// Live and from the file the judge comes to the same result.
func TestRejudgeFromTheFile(t *testing.T) {
	events := record(t, pair+"alice call bob as a\nexpect bob ended as b\n", "virtual", "1 begin 0", "1 end 0", "1 begin 1", "2.5 bob call.ended call=c1", "2.5 alice media.window call=c1 media=audio units=50 delay_max_ms=20.5 window_ms=1000")
	var file bytes.Buffer
	for _, e := range events {
		file.Write(e.Append(nil))
	}
	back, err := RejudgeFile(&file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(judge(t, events), back); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "nonsense\n"} {
		if _, err := RejudgeFile(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was judged", bad)
		}
	}
}

func TestRejudgeRefuses(t *testing.T) {
	good := record(t, pair+"alice hangup\n", "virtual", "1 begin 0", "1 end 0")
	if _, err := Rejudge(good[1:]); err == nil {
		t.Error("a trace without a head was judged")
	}
	if _, err := Rejudge([]trace.Event{{Kind: trace.KindLoadBegin}}); err == nil || !strings.Contains(err.Error(), "trace of a load") {
		t.Errorf("a load's trace: %v", err)
	}
	if r := judge(t, good[:len(good)-1]); r.Verdict != reports.Broken {
		t.Errorf("a trace that stops early is %s", r.Verdict)
	}
	if r := judge(t, append(good[:1:1], good[3:]...)); r.Verdict != reports.Broken || !strings.Contains(r.Reason, "0 of 1 steps") {
		t.Errorf("a trace without its steps is %s: %s", r.Verdict, r.Reason)
	}
	if r := judge(t, append(good[:1:1], good[2:]...)); r.Verdict != reports.Broken {
		t.Errorf("a step that ends and never began is %s", r.Verdict)
	}
	if _, err := Rejudge(record(t, pair+"alice hangupp\n", "virtual", "1 begin 0", "1 end 0")); err == nil || !strings.Contains(err.Error(), "hangupp") {
		t.Errorf("a verb that is not known: %v", err)
	}
	other := record(t, pair+"alice hangup\n", "virtual")
	other[0].Attrs[0] = trace.Int("version", 99)
	if _, err := Rejudge(other); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("version 99: %v", err)
	}
}
