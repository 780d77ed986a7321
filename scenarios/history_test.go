package scenarios

import (
	"slices"
	"strings"
	"testing"

	"github.com/callbench/callbench/reports"
)

// What the clients saw of a call, and what the history must then say.
func TestHistoryEqualsWhatTheClientsSaw(t *testing.T) {
	answered := []string{"1 alice call.outgoing call=c1 room=r1 to=bob", "1 bob call.incoming call=c1 room=r1 from=alice",
		"2 bob call.accepted call=c1 user=bob", "2 alice call.accepted call=c1 user=bob", "3 alice call.ended call=c1 reason=hangup by=alice", "3 bob call.ended call=c1 reason=hangup by=alice"}
	crossed := []string{"1 alice call.outgoing call=c1 room=r1 to=bob", "1 bob call.incoming call=c1 room=r1 from=alice", "2 bob signal.sent action=answer call=c1",
		"2 alice call.ended call=c1 reason=cancelled by=alice", "3 bob call.ended call=c1 reason=hangup by=alice"}
	lost := []string{"1 alice call.outgoing call=c1 room=r1 to=bob", "1 bob call.incoming call=c1 room=r1 from=alice", "3 alice call.ended call=c1 reason=cancelled by=alice", "9 bob call.ended call=c1 reason=dropped"}
	const good = "probe what=room room=r1 call=c1 creator=alice status=ended reason=hangup users=alice,bob"
	for _, c := range []struct {
		name   string
		events []string
		rooms  []string
		say    string // what the failure says; "" if there is none
	}{
		{"as it was", answered, []string{good}, ""},
		{"nothing", nil, nil, ""},
		{"under way", answered[:4], nil, ""},
		{"no room", answered, nil, "c1) has 0 rooms"},
		{"two rooms", answered, []string{good, good}, "has 2 rooms"},
		{"a room of nobody's", answered, []string{good, "probe what=room room=r2 call=c2 creator=bob status=ended"}, "the room r2, and no client saw"},
		{"still active", answered, []string{"probe what=room room=r1 call=c1 creator=alice status=active reason=hangup users=alice,bob"}, "is active in the history"},
		{"another reason", answered, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=dropped users=alice,bob"}, "bob was told that c1 ended with hangup; the history says dropped"},
		{"a member too few", answered, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=hangup users=alice"}, "the history has the members alice"},
		{"a member too many", answered, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=hangup users=alice,bob,carol"}, "members alice and bob and carol"},
		{"a cancel that crossed the answer", crossed, []string{good}, ""},
		{"the same, and the answer came too late", crossed, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=hangup users=alice"}, ""},
		{"a session that was lost", lost, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice"}, ""},
		{"nobody accepted", lost, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice,bob"}, "members alice and bob"},
		{"another device answered", append(slices.Clone(answered), "2 bob.desk call.incoming call=c1 room=r1 from=alice", "2 bob.desk call.ended call=c1 reason=answered_elsewhere by=bob"), []string{good}, ""},
		{"another device answered a call that nobody answered", append(slices.Clone(lost), "2 bob.desk call.incoming call=c1 room=r1 from=alice", "2 bob.desk call.ended call=c1 reason=answered_elsewhere"),
			[]string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice"}, "another one had answered c1, and none had"},
		{"another device declined", append(slices.Clone(lost[:2]), "2 bob.desk call.incoming call=c1 room=r1 from=alice", "2 bob.desk call.ended call=c1 reason=declined_elsewhere", "3 alice call.ended call=c1 reason=declined by=bob"),
			[]string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=declined users=alice"}, ""},
		{"another device declined a call that was missed", append(slices.Clone(lost), "2 bob.desk call.incoming call=c1 room=r1 from=alice", "2 bob.desk call.ended call=c1 reason=declined_elsewhere"),
			[]string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice"}, "another one had declined c1; the history says cancelled"},
		{"no room is known", []string{"1 alice call.outgoing to=bob", "2 alice call.ended reason=cancelled by=alice"}, []string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice"}, ""},
		{"no room is known to the caller", []string{"1 alice call.outgoing to=bob", "1 bob call.incoming room=r1 from=alice", "2 alice call.ended reason=hangup by=alice", "2 bob call.ended reason=cancelled by=alice"},
			[]string{"probe what=room room=r1 call=c1 creator=alice status=ended reason=cancelled users=alice"}, ""},
	} {
		lines := append([]string{"1 begin 0", "1 end 0"}, c.events...)
		for _, r := range c.rooms {
			lines = append(lines, "20 "+r)
		}
		r := judge(t, record(t, pair+"clients bob.desk=electron\nalice call bob\n", "virtual", append(lines, "20 probe what=done final=true")...))
		switch {
		case c.say == "" && r.Verdict != reports.Pass:
			t.Errorf("%s: %+v", c.name, r.Failures)
		case c.say != "" && (r.Verdict != reports.Fail || r.Failures[0].Check != "history-differs" || !strings.Contains(r.Failures[0].Message, c.say)):
			t.Errorf("%s: %s %+v", c.name, r.Verdict, r.Failures)
		}
	}
}

// What members saw of a room of several, and what the history must then say.
func TestHistoryOfRooms(t *testing.T) {
	stage := []string{"1 alice room.entered call=stage type=mcu role=publisher members=1", "2 bob room.entered call=stage type=mcu role=publisher members=2"}
	gone := append(slices.Clone(stage), "3 bob room.ended call=stage reason=hangup by=bob", "4 alice room.ended call=stage reason=media_failed")
	row := func(rest string) string { return "20 probe what=room room=stage type=mcu creator=alice " + rest }
	good := row("status=ended reason=media_failed users=alice,bob")
	for _, c := range []struct {
		name   string
		events []string
		rooms  []string
		say    string // what the failure says; "" if there is none
	}{
		{"as it was", gone, []string{good}, ""},
		{"under way", stage, []string{row("status=active users=alice,bob")}, ""},
		{"two rooms of one name", append(slices.Clone(gone), "5 bob room.entered call=stage type=mcu", "6 bob room.ended call=stage reason=hangup by=bob"), []string{good, row("status=ended reason=hangup users=bob")}, ""},
		{"kicked", append(slices.Clone(stage), "3 bob room.ended call=stage reason=kicked by=alice"), []string{row("status=active users=alice,bob")}, ""},
		{"one had to go before the end", append(slices.Clone(stage), "3 bob room.ended call=stage reason=media_failed", "4 alice room.ended call=stage reason=hangup by=alice"), []string{row("status=ended reason=left users=alice,bob")}, ""},
		{"no room", gone, nil, "the room stage is not in the history"},
		{"a room of nobody's", nil, []string{good}, "the history has the room stage, and no client was in it"},
		{"still active", gone, []string{row("status=active reason=media_failed users=alice,bob")}, "everybody has gone out of the room stage, and it is active"},
		{"another reason", gone, []string{row("status=ended reason=hangup users=alice,bob")}, "alice was told that the room stage ended with media_failed; the history says hangup"},
		{"a member too few", gone, []string{row("status=ended reason=media_failed users=alice")}, "alice and bob were in the room stage; the history has the members alice"},
	} {
		lines := append(append([]string{"1 begin 0", "1 end 0"}, c.events...), c.rooms...)
		r := judge(t, record(t, pair+"alice hangup\n", "virtual", append(lines, "20 probe what=done final=true")...))
		switch {
		case c.say == "" && r.Verdict != reports.Pass:
			t.Errorf("%s: %+v", c.name, r.Failures)
		case c.say != "" && (r.Verdict != reports.Fail || r.Failures[0].Check != "history-differs" || !strings.Contains(r.Failures[0].Message, c.say)):
			t.Errorf("%s: %s %+v", c.name, r.Verdict, r.Failures)
		}
	}
}

// A room may be left and come into again, and ends once for each time.
func TestRoomsEndOncePerStay(t *testing.T) {
	stays := []string{"1 begin 0", "1 end 0", "1 bob room.entered call=stage", "2 bob room.ended call=stage reason=hangup by=bob", "3 bob room.entered call=stage", "4 bob room.ended call=stage reason=hangup by=bob"}
	if r := judge(t, record(t, pair+"alice hangup\n", "virtual", stays...)); r.Verdict != reports.Pass {
		t.Errorf("%+v", r.Failures)
	}
	if r := judge(t, record(t, pair+"alice hangup\n", "virtual", append(stays, "5 bob room.ended call=stage reason=hangup")...)); r.Verdict != reports.Fail || r.Failures[0].Check != "ended-twice" {
		t.Errorf("%s %+v", r.Verdict, r.Failures)
	}
}

// Clients of level 0 are not told why a call ended, and may guess wrong.
func TestHistoryOfLevel0(t *testing.T) {
	events := []string{"1 begin 0", "1 end 0", "1 alice call.outgoing call=c1 room=r1 to=bob", "2 alice call.ended call=c1 reason=hangup by=bob",
		"3 probe what=room room=r1 call=c1 creator=alice status=ended reason=declined users=alice", "3 probe what=done final=true"}
	for clients, want := range map[string]reports.Verdict{"alice=electron": reports.Fail, "alice=electron:level0": reports.Pass} {
		if r := judge(t, record(t, "clients bob=electron "+clients+"\nalice call bob\n", "virtual", events...)); r.Verdict != want {
			t.Errorf("%s: %s %+v", clients, r.Verdict, r.Failures)
		}
	}
}
