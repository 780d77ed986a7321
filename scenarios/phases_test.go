package scenarios

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports"
)

// Every phase of the table, from events that somebody else's come between.
func TestPhases(t *testing.T) {
	r := judge(t, record(t, pair+"alice call bob\n", "virtual", "1 begin 0", "1 end 0",
		"0.1 alice ws.open attempt=0 took_ms=60", "0.1 alice signal.sent type=hello", "0.15 alice session.welcome session=s1",
		"1 alice signal.sent type=rtc action=call", "1.02 server call.start call=c1 user=alice callee=bob", "1.05 server leg.created call=c1 user=alice endpoint=e1",
		"1.1 bob call.incoming call=c1 from=alice", "1.15 alice call.outgoing call=c1 to=bob", "1.3 alice call.ringing call=c1",
		"4.2 bob signal.sent type=rtc action=answer call=c1", "4.21 server frame.in user=bob frame=rtc/answer", "4.22 server leg.created call=c1 user=bob endpoint=e2",
		"4.3 bob call.accepted call=c1", "4.3 alice call.accepted call=c1",
		"4.3 alice signal.sent type=rtc action=offer call=c1", "4.31 server call.offer call=c1 user=alice", "4.33 server call.answer call=c1 user=alice", "4.35 alice signal.received type=rtc action=answer call=c1",
		"4.35 server kms.event type=IceGatheringDone object=e2", "4.36 server kms.event type=IceGatheringDone object=e1",
		"4.32 alice ice.gathered call=c1", "4.36 alice ice.state call=c1 state=checking", "4.4 alice ice.state call=c1 state=connected", "4.45 alice call.connected call=c1",
		"4.45 alice media.source call=c1 state=started media=audio", "4.45 alice media.source call=c1 state=started media=video", "4.5 bob media.flow call=c1 media=audio state=flowing",
		"4.55 bob media.source call=c1 state=started media=audio",
		"4.6 alice media.flow call=c1 media=audio state=flowing", "4.8 bob media.flow call=c1 media=video state=flowing",
		"10.5 alice media.flow call=c1 media=audio state=silent", "20 alice media.flow call=c1 media=audio state=flowing gap_ms=10000",
		"21 bob session.reconnecting cause=eof", "23 bob ws.open attempt=1 took_ms=100", "23 bob signal.sent type=hello", "23.1 bob session.welcome", "23.2 bob session.resumed",
		"30 alice signal.sent type=rtc action=leave call=c1", "30.1 alice call.ended call=c1 reason=hangup", "30.15 bob call.ended call=c1 reason=hangup", "30.2 server call.state call=c1 to=ended"))
	tell := func(list []reports.Phase) (got []string) {
		for _, p := range list {
			got = append(got, p.Party+" "+p.Name+" "+p.Begin.String()+" "+p.Took.String())
		}
		slices.Sort(got)
		return got
	}
	want := []string{
		"alice first_marked_media.audio 4.3s 300ms", "alice ice_connect 4.36s 40ms", "alice ice_gathering 4.3s 20ms", "alice invite_to_ring 1s 300ms",
		"alice answer_propagation 4.2s 100ms", "alice dtls_handshake 4.4s 50ms", "alice kms_create 1.02s 30ms", "alice kms_gather 4.31s 50ms", "alice kms_process_offer 4.31s 20ms", "alice media_gap.audio 10s 10s",
		"alice ring_duration 1.3s 3s", "alice sdp_offer_answer 4.3s 50ms",
		"bob end_propagation 30s 150ms", "bob first_marked_media.audio 4.3s 200ms", "bob first_marked_media.video 4.3s 500ms", "bob kms_create 4.21s 10ms",
		"bob register 23s 100ms", "bob ring_delivery 1s 100ms", "bob ws_connect 22.9s 100ms", "bob ws_recovery 21s 2.2s",
		"both call_setup_total 1s 3.8s", "server teardown 30s 200ms",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, tell(r.Calls[0].Phases)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"alice register 100ms 50ms", "alice ws_connect 40ms 60ms"}, tell(r.Phases)); diff != "" {
		t.Error("outside of a call:", diff)
	}
	if c := r.Calls[0]; len(r.Calls) != 1 || c.From != "alice" || c.To != "bob" || c.Reason != "hangup" || c.Begin != time.Second || c.Took != 29100*time.Millisecond {
		t.Errorf("calls: %+v", r.Calls)
	}
	named := map[string]bool{}
	for _, p := range append(r.Phases, r.Calls[0].Phases...) {
		name, _, _ := strings.Cut(p.Name, ".")
		named[name] = true
	}
	for _, r := range phaseRules {
		if !named[r.name] {
			t.Errorf("%s is tried by no event here", r.name)
		}
	}
}

// Whoever calls again has a new call, whose phases begin with the new request;
// a call that only the server tells of ends when the server says so.
func TestPhasesOfTwoCalls(t *testing.T) {
	r := judge(t, record(t, pair+"alice call bob\n", "virtual", "1 begin 0", "1 end 0",
		"1 alice signal.sent type=rtc action=call", "1.1 server call.start call=c1 user=alice callee=bob", "1.2 server call.state call=c1 to=ended reason=media_failed",
		"2 alice signal.sent type=rtc action=call", "2.1 alice call.outgoing call=c2 to=bob", "2.2 bob call.incoming call=c2 from=alice",
		"3 bob signal.sent type=rtc action=leave call=c2", "3.1 alice call.ended call=c2 reason=declined"))
	if len(r.Calls) != 2 || r.Calls[0].Reason != "media_failed" || r.Calls[0].Took != 200*time.Millisecond || r.Calls[1].Begin != 2*time.Second {
		t.Fatalf("calls: %+v", r.Calls)
	}
	want := []reports.Phase{{Name: "ring_delivery", Party: "bob", Begin: 2 * time.Second, Took: 200 * time.Millisecond},
		{Name: "end_propagation", Party: "alice", Begin: 3 * time.Second, Took: 100 * time.Millisecond}}
	if diff := cmp.Diff(want, r.Calls[1].Phases); diff != "" {
		t.Error(diff)
	}
}

// At level 0 the caller knows no name of its call before the answer, and both
// parties only that of its room: it is one call all the same.
func TestPhasesOfAPlainCall(t *testing.T) {
	r := judge(t, record(t, pair+"alice call bob\n", "virtual", "1 begin 0", "1 end 0",
		"1 alice signal.sent type=rtc action=call", "1 alice call.outgoing to=bob", "1.1 server call.start call=c1 room=r1 user=alice callee=bob",
		"1.2 bob call.incoming call=r1 room=r1 from=alice", "2 bob signal.sent type=rtc action=answer call=r1", "2.1 alice call.accepted call=r1",
		"3 alice signal.sent type=rtc action=leave call=r1", "3.1 alice call.ended call=r1 reason=hangup", "3.2 bob call.ended call=r1 reason=hangup", "3.3 server call.state call=c1 to=ended"))
	if len(r.Calls) != 1 || r.Calls[0].ID != "c1" || r.Calls[0].Room != "r1" || r.Calls[0].Begin != time.Second || r.Calls[0].Reason != "hangup" {
		t.Fatalf("calls: %+v", r.Calls)
	}
	var names []string
	for _, p := range r.Calls[0].Phases {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"ring_delivery", "answer_propagation", "end_propagation", "teardown"}, names); diff != "" {
		t.Error(diff)
	}
}

// docs/metrics.md defines the phases that there are, and no others.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, l := range strings.Split(string(page), "\n") {
		if cells := strings.Split(l, "|"); len(cells) > 3 && strings.Contains(cells[1], "`") {
			rows = append(rows, strings.TrimSpace(cells[1]))
		}
	}
	var want []string
	for _, r := range phaseRules {
		if r.perMedia {
			want = append(want, "`"+r.name+".audio`, `.video`")
		} else {
			want = append(want, "`"+r.name+"`")
		}
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("the table of docs/metrics.md and phaseRules differ:\n%s", diff)
	}
}
