package reports

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports/trace"
)

// compose reads events by hand into a score.
func compose(t *testing.T, s Scenario, lines ...string) *score {
	t.Helper()
	c := newScore(s)
	for _, l := range lines {
		c.observe(event(t, l))
	}
	c.fail(time.Hour)
	return c
}

// listen renders rows as lines.
func (c *score) listen(rows []*row) []string {
	var out []string
	for _, r := range rows {
		line := []string{fmt.Sprintf("%.3f", r.at.Seconds())}
		switch r.shape {
		case message:
			line = append(line, r.from+"→"+r.to)
		case note:
			line = append(line, r.from)
		default:
			line = append(line, []string{"", "", "STEP", "FAIL", "SILENCE", "OMITTED"}[r.shape])
		}
		line = append(line, r.text(1000))
		if r.suffix != "" {
			line = append(line, "["+r.suffix+"]")
		}
		if r.transit > 0 && r.to != "kms" {
			line = append(line, "+"+short(r.transit))
		}
		if n := c.lost(r); n > 0 {
			line = append(line, fmt.Sprintf("LOST %d", n))
		}
		out = append(out, strings.Join(line, " "))
	}
	return out
}

func TestScore(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []string
	}{
		{"request, arrival, ack, push", []string{
			"0 alice ws.open attempt=0", "0.1 alice signal.sent type=rtc action=call request=2", "0.12 server frame.in user=alice frame=rtc/call request=2",
			"0.13 server frame.out user=alice frame=ack request=2 seq=0", "0.15 alice signal.received type=ack request=2",
			"0.2 server frame.out user=alice frame=rtc/ringing seq=1", "0.25 alice signal.received type=rtc action=ringing seq=1", "0.25 alice call.ringing call=c1"},
			[]string{"0.000 alice WebSocket open", "0.100 alice→server call [ack 50ms] +20ms", "0.200 server→alice ringing +50ms"}},
		{"hello arrives with the session", []string{"0 alice ws.open", "0 alice signal.sent type=hello request=1", "0.02 server session.start session=s1 user=alice device=alice", "0.04 alice signal.received type=welcome request=1"},
			[]string{"0.000 alice WebSocket open", "0.000 alice→server hello +20ms", "0.040 server→alice welcome"}},
		{"lost both ways, and sent again", []string{"0 bob ws.open", "0.1 bob signal.sent type=rtc action=leave request=3", "0.2 server frame.out user=bob frame=rtc/ended seq=4", "0.3 server frame.out user=bob frame=rtc/negotiate seq=5",
			"0.5 bob signal.sent type=rtc action=leave request=3 repeated=true", "0.6 server frame.in user=bob frame=rtc/leave request=3", "0.65 bob signal.received type=rtc action=negotiate seq=5"},
			[]string{"0.000 bob WebSocket open", "0.100 bob→server leave LOST 1", "0.200 server→bob ended LOST 1", "0.300 server→bob negotiate +350ms", "0.500 bob→server leave +100ms"}},
		{"level 0, where only the order names frames", []string{"0 bob ws.open", "0.1 bob signal.sent type=rtc action=candidate", "0.1 bob signal.sent type=rtc action=candidate", "0.2 server frame.in user=bob frame=rtc/candidate seq=0", "0.3 server frame.in user=bob frame=rtc/candidate seq=0",
			"0.6 server frame.out user=bob frame=rtc/offer seq=0", "0.7 server frame.out user=bob frame=rtc/leave seq=0", "0.8 bob ws.closed code=1006", "0.9 bob ws.open attempt=1", "0.95 server frame.out user=bob frame=rtc/leave seq=0", "0.99 bob signal.received type=rtc action=leave"},
			[]string{"0.000 bob WebSocket open", "0.100 bob→server candidate ×2 +200ms", "0.600 server→bob offer LOST 1", "0.700 server→bob leave LOST 1", "0.800 bob WebSocket lost code=1006", "0.900 bob WebSocket open", "0.950 server→bob leave +40ms"}},
		{"the server's record first", []string{"0 bob ws.open", "0.1 server frame.in user=bob frame=rtc/leave request=3", "0.1 bob signal.sent type=rtc action=leave request=3", "0.2 bob signal.received type=ack request=3"},
			[]string{"0.000 bob WebSocket open", "0.100 bob→server leave [ack 100ms]"}},
		{"no server in the trace", []string{"0 bob ws.open", "0.1 bob signal.sent type=rtc action=leave request=3"}, []string{"0.000 bob WebSocket open", "0.100 bob→server leave"}},
		{"a refusal", []string{"0 bob ws.open", "0.1 server request.refused user=bob frame=rtc/offer code=bad_state", "0.1 server frame.out user=bob frame=error request=3 seq=0", "0.15 server frame.out user=bob frame=rtc/ended seq=3",
			"0.2 bob signal.received type=error code=bad_state request=3", "0.25 bob signal.received type=rtc action=ended seq=3", "0.3 bob signal.received type=error code=busy request=4"},
			[]string{"0.000 bob WebSocket open", "0.100 server refuses offer of bob: bad_state", "0.100 server→bob error bad_state +100ms", "0.150 server→bob ended +100ms", "0.300 server→bob error busy"}},
		{"closing", []string{"0 bob ws.open", "0.1 bob session.ended reason=closed", "0.1 server conn.closed user=bob error=close~1000", "0.1 server session.end user=bob cause=goodbye", "0.2 bob ws.closed code=1000", "0.3 server session.end user=alice cause=goodbye",
			"0.4 server conn.closed user=carol cause=superseded", "0.5 bob ws.closed code=1006 cause=pong_timeout", "0.6 bob session.ended reason=session_timeout"},
			[]string{"0.000 bob WebSocket open", "0.100 server session over (goodbye): bob, alice", "0.200 bob WebSocket closed", "0.400 server closes the connection of carol: superseded", "0.500 bob WebSocket lost code=1006 cause=pong_timeout", "0.600 bob session ended: session_timeout"}},
		{"folded", []string{"0 bob ws.open", "0.1 server frame.out user=bob frame=rtc/candidate seq=1", "0.1 server kms.event wanted=true type=IceCandidateFound object=e1", "0.1 server frame.out user=bob frame=rtc/candidate seq=2",
			"0.15 server kms.event wanted=true type=IceCandidateFound object=e1", "0.2 bob signal.received type=rtc action=candidate seq=1", "0.3 bob ice.state state=checking", "0.4 bob ice.state state=connected", "0.9 bob ice.state state=disconnected"},
			[]string{"0.000 bob WebSocket open", "0.100 server→bob candidate ×2 +100ms LOST 1", "0.100 kms→server IceCandidateFound ×2", "0.300 bob ICE checking → connected", "0.900 bob ICE disconnected"}},
		{"the media server", []string{"0 server leg.created user=bob endpoint=p/e1_kurento.WebRtcEndpoint", "0.1 server kms.request kms_request=7 method=invoke operation=processOffer object=p/e1_kurento.WebRtcEndpoint",
			"0.3 server kms.response kms_request=7 took_ms=200", "0.4 server kms.request kms_request=8 method=release object=p/e1_kurento.WebRtcEndpoint", "0.5 server kms.request kms_request=9 method=create type=MediaPipeline",
			"0.6 server kms.response kms_request=9 took_ms=100 error=out~of~memory", "0.7 server leg.flow_in user=bob medium=AUDIO state=FLOWING", "0.71 server leg.flow_in user=bob medium=VIDEO state=FLOWING",
			"0.8 server kms.event wanted=true type=MediaFlowInStateChanged object=p/e1", "0.9 server leg.ice user=bob state=FAILED", "1 server leg.released user=bob"},
			[]string{"0.000 server leg of bob made", "0.100 server→kms processOffer (bob) [200ms]", "0.400 server→kms release (bob) LOST 1", "0.500 server→kms create MediaPipeline [out of memory]",
				"0.700 kms→server flowing from bob: audio, video", "0.900 kms→server ICE of bob failed", "1.000 server leg of bob released"}},
		{"silence, with the media in it", []string{"0 bob ws.open", "0.1 bob media.flow media=audio state=flowing from=alice", "0.1 bob media.flow media=video state=flowing from=alice", "1.1 bob media.window media=audio units=50", "2.1 bob media.window media=audio units=49 lost=1",
			"2.1 bob media.window media=video units=0", "3 net net.cut host=bob", "4.5 bob media.flow media=audio state=flowing from=alice gap_ms=1500"},
			[]string{"0.000 bob WebSocket open", "0.100 kms→bob media of alice: audio, video", "0.100 SILENCE 2.9s [bob got 99 audio (1 lost), no video]", "3.000 bob network cut", "3.000 SILENCE 1.5s", "4.500 kms→bob media of alice: audio [after 1.5s]"}},
		{"script, TURN and strangers", []string{"0 bob ws.open", "0.1 script step.begin line=4 text=at~1s~~net~bob~cut", "0.2 script step.begin line=5 text=expect~bob~ended", "0.3 turn turn.refused user=bob code=486", "0.4 mysql row.written rows=1", "0.5 script run.end error=gone"},
			[]string{"0.000 bob WebSocket open", "0.100 STEP line 4: net bob cut", "0.300 turn turn.refused user=bob code=486", "0.400 mysql row.written rows=1", "0.500 FAIL the run broke: gone"}},
	} {
		s := compose(t, Scenario{}, c.events...)
		if diff := cmp.Diff(c.want, s.listen(s.rows)); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// The failure stands between what came before it and what after.
func TestScoreOfAFailure(t *testing.T) {
	c := compose(t, Scenario{Failures: []Failure{{File: "x.call", Line: 4, At: 200 * time.Millisecond, Message: "late"}, {File: "x.call", At: 300 * time.Millisecond, Message: "twice"}}},
		"0.1 bob ws.open", "0.2 bob call.ended reason=hangup", "0.2 script step.deadline step=1", "0.2 bob ws.closed code=1000")
	want := []string{"0.100 bob WebSocket open", "0.200 bob call ended: hangup", "0.200 FAIL x.call:4: late", "0.200 bob WebSocket closed", "0.300 FAIL x.call: twice"}
	if diff := cmp.Diff(want, c.listen(c.rows)); diff != "" {
		t.Error(diff)
	}
}

// Each call has what belongs to it; what came before them all is told with the first.
func TestScoreOfTwoCalls(t *testing.T) {
	c := compose(t, Scenario{}, "0 alice ws.open", "0 bob ws.open", "1 alice signal.sent type=rtc action=call request=1", "1.1 alice call.outgoing call=c1", "1.2 bob signal.sent type=rtc action=leave call=c1 request=2",
		"2 alice signal.sent type=rtc action=call request=3", "2.1 server kms.request kms_request=1 method=create type=MediaPipeline", "2.2 alice call.outgoing call=c2", "2.3 alice signal.sent type=rtc action=leave call=c2 request=4")
	calls := []Call{{ID: "c1", From: "alice", To: "bob", Begin: time.Second}, {ID: "c2", From: "alice", To: "bob", Begin: 2 * time.Second}}
	first := []string{"0.000 alice WebSocket open", "0.000 bob WebSocket open", "0.000 SILENCE 1s", "1.000 alice→server call", "1.200 bob→server leave"}
	second := []string{"2.000 alice→server call", "2.100 server→kms create MediaPipeline", "2.300 alice→server leave"}
	if diff := cmp.Diff(first, c.listen(c.part(calls, 0))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(second, c.listen(c.part(calls, 1))); diff != "" {
		t.Error(diff)
	}
	if lanes := c.lanes(c.part(calls, 0), "bob"); !cmp.Equal(lanes, []string{"bob", "server", "alice"}) {
		t.Errorf("lanes: %q", lanes)
	}
}

// However long a run is, its diagram has an end, and so has the memory for it.
func TestScoreOfALongRunIsBounded(t *testing.T) {
	c := newScore(Scenario{})
	for i := range 100_000 {
		at := time.Duration(i) * 400 * time.Millisecond // too far apart to be folded
		c.observe(trace.Event{T: at, Actor: "bob", Kind: "signal.sent", Attrs: []trace.Attr{trace.String("type", "ping"), trace.Int("request", i)}})
		c.observe(trace.Event{T: at, Actor: "server", Kind: "frame.out", Attrs: []trace.Attr{trace.String("user", "bob"), trace.String("frame", "pong"), trace.Int("seq", i+1)}})
	}
	if n := len(c.rows); n >= 2*(headRows+tailRows) {
		t.Errorf("%d rows", n)
	}
	if n := len(c.waiting); n > mostWaiting {
		t.Errorf("%d messages are awaited", n)
	}
	left := 0
	for _, r := range c.rows {
		if r.shape == omitted {
			left += r.count
		} else {
			left++
		}
	}
	if left != 200_000 {
		t.Errorf("the rows tell of %d events, not of all 200000", left)
	}
	s := c.draw(c.part(nil, 0), "bob", "x")
	if s.Height > 30_000 {
		t.Errorf("the drawing is %d pixels high", s.Height)
	}
}

// Nothing is drawn outside of the drawing, and rows do not overlap.
func TestSequenceStaysInItsFrame(t *testing.T) {
	long := strings.Repeat("very~long~", 20)
	c := compose(t, Scenario{Failures: []Failure{{File: long, At: time.Second, Message: long}}}, "0 alice ws.open", "0 bob ws.open", "0 bob "+long, "0 alice "+long, "0.1 alice signal.sent type="+long, "0.2 bob signal.received type="+long,
		"0.3 script step.begin text="+long, "0.4 turn turn.allocated user="+long, "0.5 server kms.request method="+long, "9 bob ws.closed code=1006")
	s := c.draw(c.part(nil, 0), "alice", "x")
	if len(s.Lanes) != 5 || s.Lanes[0].Class != "caller" || s.Lanes[3].Name != "turn" || s.Lanes[4].Class != "callee" {
		t.Fatalf("lanes: %+v", s.Lanes)
	}
	bottom := s.Top
	for _, m := range s.Marks {
		left, right := m.X1, m.X1+m.X2
		if m.Shape == "arrow" {
			left, right = min(m.X1, m.X2), max(m.X1, m.X2)
		}
		if left < gutter || right > s.Width || m.Y < bottom || m.Y+m.H > s.Height {
			t.Errorf("%s %q from %d to %d of %d, at %d after %d of %d", m.Shape, m.Label, left, right, s.Width, m.Y, bottom, s.Height)
		}
		bottom = m.Y + m.H
	}
}

func TestWaterfall(t *testing.T) {
	phases := []Phase{{Name: "invite_to_ring", Party: "alice", Begin: time.Second, Took: 200 * time.Millisecond}, {Name: "kms_create", Party: "bob", Begin: 1100 * time.Millisecond, Took: 100 * time.Millisecond},
		{Name: "ws_recovery", Party: "bob", Begin: 10 * time.Second, Took: 300 * time.Millisecond}, {Name: "ws_recovery", Party: "bob", Begin: 40 * time.Second, Took: 100 * time.Millisecond}, {Name: "teardown", Party: "server", Begin: 70 * time.Second, Took: 0}}
	call := Call{From: "alice", To: "bob", Begin: time.Second, Took: 69 * time.Second, Phases: phases}
	w := call.waterfall()
	if len(w.Parties) != 3 || w.Parties[1].Class != "callee" || w.Parties[2].Class != "server" {
		t.Errorf("parties: %+v", w.Parties)
	}
	if len(w.Breaks) != 3 || w.Breaks[0].Text != "8.8s" || w.Breaks[1].Text != "29.7s" {
		t.Errorf("breaks: %+v", w.Breaks)
	}
	var names []string
	for _, r := range w.Rows {
		names = append(names, r.Name)
		for _, b := range r.Phases {
			if b.X < 0 || b.W <= 0 || b.X+b.W > 100.5 || b.Y+8 > r.H {
				t.Errorf("%s: %+v", r.Name, b)
			}
		}
	}
	if diff := cmp.Diff([]string{"invite_to_ring", "kms_create", "ws_recovery", "teardown"}, names); diff != "" {
		t.Error(diff)
	}
	if took := w.Rows[2].Took; !cmp.Equal(took, [][]string{nil, {"300ms", "100ms"}, nil}) {
		t.Errorf("ws_recovery took %v", took)
	}
	for i, tick := range w.Ticks {
		if tick.X < 0 || tick.X > 100 || i > 0 && tick.X <= w.Ticks[i-1].X {
			t.Errorf("ticks: %+v", w.Ticks)
		}
	}
	if first, last := w.Ticks[0], w.Ticks[len(w.Ticks)-1]; first.Text != "1s" || last.Text != "1m10s" || !last.End {
		t.Errorf("ticks: %+v", w.Ticks)
	}
	if (Call{}).waterfall() != nil {
		t.Error("a call without phases has a waterfall")
	}
}

// Clients of level 0 know a call by its room, and the server by its id.
func TestCallByEitherName(t *testing.T) {
	calls := []Call{{ID: "c1", Room: "r1", From: "alice", To: "bob"}, {ID: "c2", From: "alice", To: "bob", Begin: time.Second}}
	c := newScore(Scenario{})
	for name, want := range map[string]int{"c1": 0, "r1": 0, "c2": 1, "": 1} {
		if got := c.callOf(calls, &row{at: 2 * time.Second, call: name}); got != want {
			t.Errorf("%q is told with call %d, want %d", name, got, want)
		}
	}
}
