package signaling

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files and the generated part of docs/protocol.md")

func index(i int) *int { return &i }

// golden is every frame of docs/protocol.md: the file's name, and what it says.
var golden = map[string]struct {
	frame   Frame
	payload any
}{
	"hello":        {Frame{Type: TypeHello, ID: "1"}, &Hello{Version: 1, Token: "jwt", Device: "phone-1", Features: []string{FeatureResume}}},
	"hello-resume": {Frame{Type: TypeHello, ID: "1"}, &Hello{Version: 1, Resume: "secret", LastSeq: 12}},
	"welcome": {Frame{Type: TypeWelcome, ID: "1"}, &Welcome{Version: 1, Features: []string{FeatureResume, FeatureCallID, FeatureAck, FeatureTURN}, SessionID: "s-1", UserID: "alice", ResumeToken: "secret", Heartbeat: 30, Timeout: 90, ResumeWindow: 60,
		TokenTTL: 3600, ICEServers: []ICEServer{{URLs: []string{"turn:192.0.2.1:3478?transport=udp"}, Username: "1700000300:alice", Credential: "base64"}}, ICETTL: 300}},
	"welcome-resumed": {Frame{Type: TypeWelcome, ID: "1"}, &Welcome{Version: 1, Features: []string{FeatureResume}, SessionID: "s-1", UserID: "alice", ResumeToken: "next", Resumed: true, Heartbeat: 30, Timeout: 90, ResumeWindow: 60, Call: &CallRef{CallID: "c-1", RoomID: "r-1", Peer: "bob", State: "active"}}},
	"rtc-join-room":   {Frame{Type: TypeRTC, Action: ActionJoin, ID: "3"}, &RTC{RoomID: "standup", RoomType: "mcu", Role: RolePublisher}},
	"ack-join": {Frame{Type: TypeAck, ID: "3"}, &RTC{RoomID: "standup", RoomType: "mcu", Role: RolePublisher,
		Members: []Member{{"bob", RolePublisher}, {"alice", RolePublisher}}, Recording: string(RecordingRuns), RecordingID: "r-2"}},
	"rtc-joined":       {Frame{Type: TypeRTC, Action: ActionJoined, Seq: 4}, &RTC{RoomID: "standup", UserID: "carol", Role: RoleSubscriber}},
	"rtc-left":         {Frame{Type: TypeRTC, Action: ActionLeft, Seq: 5}, &RTC{RoomID: "standup", UserID: "carol", Reason: ReasonLeft}},
	"rtc-role":         {Frame{Type: TypeRTC, Action: ActionRole, ID: "4"}, &RTC{RoomID: "stage", UserID: "carol", Role: RolePublisher}},
	"rtc-kick":         {Frame{Type: TypeRTC, Action: ActionKick, ID: "5"}, &RTC{RoomID: "standup", UserID: "carol"}},
	"rtc-record":       {Frame{Type: TypeRTC, Action: ActionRecord, ID: "6"}, &RTC{RoomID: "standup", Recording: RecordStart}},
	"rtc-recording":    {Frame{Type: TypeRTC, Action: ActionRecording, Seq: 6}, &RTC{RoomID: "standup", Recording: string(RecordingReady), RecordingID: "r-2"}},
	"error-overloaded": {Frame{Type: TypeError, ID: "8"}, &Error{Code: CodeOverloaded, Message: "the media server is near its limit", RetryAfter: 5}},
	"ack-call":         {Frame{Type: TypeAck, ID: "2"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"error":            {Frame{Type: TypeError, ID: "7"}, &Error{Code: CodeBusy, Message: "bob is in a call"}},
	"rtc-call":         {Frame{Type: TypeRTC, Action: ActionCall, ID: "2"}, &RTC{TargetUser: "bob"}},
	"rtc-invite":       {Frame{Type: TypeInvite, Seq: 1}, &Invite{RoomID: "r-1", CallID: "c-1", From: "alice", Expire: 60}},
	"rtc-ringing":      {Frame{Type: TypeRTC, Action: ActionRinging, Seq: 1}, &RTC{RoomID: "r-1", CallID: "c-1", UserID: "bob"}},
	"rtc-answer":       {Frame{Type: TypeRTC, Action: ActionAnswer, ID: "3"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"rtc-answer-sdp":   {Frame{Type: TypeRTC, Action: ActionAnswer, Seq: 3}, &RTC{RoomID: "r-1", CallID: "c-1", SDP: "v=0\r\n"}},
	"rtc-offer":        {Frame{Type: TypeRTC, Action: ActionOffer, ID: "4"}, &RTC{RoomID: "r-1", CallID: "c-1", SDP: "v=0\r\n"}},
	"rtc-candidate":    {Frame{Type: TypeRTC, Action: ActionCandidate, ID: "5"}, &RTC{RoomID: "r-1", CallID: "c-1", Candidate: "candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host", SDPMid: "0", SDPMLineIndex: index(0), UsernameFragment: "abcd"}},
	"rtc-candidates": {Frame{Type: TypeRTC, Action: ActionCandidate, ID: "5"}, &RTC{RoomID: "r-1", CallID: "c-1", Candidates: []ICECandidate{
		{Candidate: "candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host", SDPMid: "0", SDPMLineIndex: index(0), UsernameFragment: "abcd"},
		{SDPMid: "0", SDPMLineIndex: index(0), UsernameFragment: "abcd"}}}},
	"rtc-join":        {Frame{Type: TypeRTC, Action: ActionJoin, ID: "3"}, &RTC{RoomID: "r-1"}},
	"rtc-reject":      {Frame{Type: TypeRTC, Action: ActionReject, ID: "3"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"rtc-busy":        {Frame{Type: TypeRTC, Action: ActionBusy, ID: "3"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"rtc-cancel":      {Frame{Type: TypeRTC, Action: ActionCancel, ID: "3"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"level0-invite":   {Frame{Type: TypeInvite}, &Invite{RoomID: "r-1", From: "alice", Expire: 60}},
	"level0-accepted": {Frame{Type: TypeRTC, Action: ActionAnswer}, &RTC{RoomID: "r-1", UserID: "bob"}},
	"level0-ended":    {Frame{Type: TypeRTC, Action: ActionLeave}, &RTC{RoomID: "r-1", UserID: "alice"}},
	"receipt":         {Frame{Type: TypeAck}, &Receipt{Seq: 12}},
	"turn":            {Frame{Type: TypeTURN, ID: "8"}, nil},
	"ack-turn":        {Frame{Type: TypeAck, ID: "8"}, &TURN{ICEServers: []ICEServer{{URLs: []string{"turn:192.0.2.1:3478?transport=udp"}, Username: "1700000300:alice", Credential: "base64"}}, TTL: 300}},
	"token":           {Frame{Type: TypeToken, ID: "9"}, &Token{Token: "jwt"}},
	"ack-token":       {Frame{Type: TypeAck, ID: "9"}, &TokenTTL{TokenTTL: 3600}},
	"message-sent":    {Frame{Type: TypeMessage, ID: "10"}, &Message{MessageID: "m-1", To: "bob", Content: "..."}},
	"ack-message":     {Frame{Type: TypeAck, ID: "10"}, &Message{MessageID: "m-1", From: "alice", To: "bob", Timestamp: 1700000000000}},
	"message-call":    {Frame{Type: TypeMessage, Seq: 4}, &Message{MessageID: "m-2", From: "alice", To: "bob", Content: "Call, 1:05", Timestamp: 1700000000000, Call: &CallLog{CallID: "c-1", RoomID: "r-1", Outcome: OutcomeAccepted, Duration: 65}}},
	"history":         {Frame{Type: TypeHistory, ID: "12"}, &HistoryQuery{What: HistoryMissed, Limit: 1}},
	"ack-history": {Frame{Type: TypeAck, ID: "12"}, &HistoryPage{Items: []any{CallItem{CallID: "c-1", RoomID: "r-1", Caller: "alice", Callee: "bob", StartedAt: 1700000000000, RingingAt: 1700000001000,
		EndedAt: 1700000060000, Reason: ReasonNoAnswer, Outcome: OutcomeMissed}}, Next: "bWlzc2VkOjE3MDAwMDAwMDAwMDA6Yy0x"}},
	"state-ask":        {Frame{Type: TypeState, ID: "11"}, &State{UserID: "bob"}},
	"state-push":       {Frame{Type: TypeState, Seq: 5}, &State{UserID: "bob", Status: Offline, LastSeen: 1700000000000, Version: 8}},
	"rtc-leave":        {Frame{Type: TypeRTC, Action: ActionLeave, ID: "6"}, &RTC{RoomID: "r-1", CallID: "c-1"}},
	"rtc-ended":        {Frame{Type: TypeRTC, Action: ActionEnded, Seq: 9}, &RTC{RoomID: "r-1", CallID: "c-1", UserID: "alice", Reason: ReasonHangup}},
	"rtc-negotiate":    {Frame{Type: TypeRTC, Action: ActionNegotiate, Seq: 5}, &RTC{RoomID: "r-1", CallID: "c-1", Reason: ReasonDTLSTimeout}},
	"rtc-reconnecting": {Frame{Type: TypeRTC, Action: ActionReconnecting, Seq: 6}, &RTC{RoomID: "r-1", CallID: "c-1", UserID: "bob"}},
	"rtc-reconnected":  {Frame{Type: TypeRTC, Action: ActionReconnected, Seq: 7}, &RTC{RoomID: "r-1", CallID: "c-1", UserID: "bob"}},
	"message":          {Frame{Type: TypeMessage}, &Message{From: "user1", To: "user2", Content: "...", Timestamp: 1234567890}},
	"state":            {Frame{Type: TypeState}, &State{UserID: "user1", Status: "online", LastSeen: 1234567890}},
}

func TestGolden(t *testing.T) {
	for name, g := range golden {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "golden", name+".json")
			f, err := New(g.frame.Type, g.frame.Action, g.payload)
			if err != nil {
				t.Fatal(err)
			}
			f.ID, f.Seq = g.frame.ID, g.frame.Seq
			wire, err := Encode(f)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				writeFile(t, path, append(wire, '\n'))
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(bytes.TrimSpace(file)), string(wire)); diff != "" {
				t.Errorf("encoded frame differs from %s:\n%s", path, diff)
			}
			back, err := Decode(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f, back); diff != "" {
				t.Error(diff)
			}
		})
	}
	files, _ := filepath.Glob("testdata/golden/*.json")
	if len(files) != len(golden) {
		t.Errorf("%d golden files for %d frames", len(files), len(golden))
	}
}

// The design document shows fields beside action as well; both read the same.
func TestDecodeReadsBothSpellings(t *testing.T) {
	for _, c := range []struct{ flat, nested string }{
		{`{"type":"rtc","action":"call","targetUser":"user_b"}`, `{"type":"rtc","action":"call","data":{"targetUser":"user_b"}}`},
		{`{"type":"rtc","action":"answer","roomId":"123"}`, `{"type":"rtc","action":"answer","data":{"roomId":"123"}}`},
		{`{"type":"rtc","action":"offer","sdp":"v=0\r\n","id":"4"}`, `{"type":"rtc","action":"offer","id":"4","data":{"sdp":"v=0\r\n"}}`},
		{`{"type":"rtc","action":"candidate","candidate":"c","sdpMLineIndex":0}`, `{"type":"rtc","action":"candidate","data":{"candidate":"c","sdpMLineIndex":0}}`},
		{`{"type":"rtc","action":"candidate","candidate":"c","usernameFragment":"u"}`, `{"type":"rtc","action":"candidate","data":{"candidate":"c","usernameFragment":"u"}}`},
		{`{"type":"rtc","action":"call","data":null,"targetUser":"user_b"}`, `{"type":"rtc","action":"call","data":{"targetUser":"user_b"}}`},
	} {
		a, err := Decode([]byte(c.flat))
		if err != nil {
			t.Fatal(err)
		}
		wire, err := Encode(a)
		if err != nil || string(wire) != c.nested {
			t.Errorf("%s\nbecame %s (%v)\nwant   %s", c.flat, wire, err, c.nested)
		}
	}
}

func TestDecodeRefusesWithACode(t *testing.T) {
	for _, bad := range []string{``, `x`, `null`, `[]`, `"s"`, `{}`, `{"type":5}`, `{"type":"rtc"}`, `{"type":"rtc","action":`, `{"action":"call"}`} {
		_, err := Decode([]byte(bad))
		if e := AsError(err); err == nil || e.Code != CodeBadFrame {
			t.Errorf("%q: %v", bad, err)
		}
	}
	f, err := Decode([]byte(`{"type":"rtc","action":"call","data":{"targetUser":5}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e := AsError(f.Into(&RTC{})); e.Code != CodeBadData {
		t.Errorf("wrong type of field: %v", e)
	}
}

func TestErrorTable(t *testing.T) {
	codes, closes := map[Code]bool{}, map[int]bool{}
	for _, e := range Errors {
		if codes[e.Code] || e.Close != 0 && closes[e.Close] {
			t.Errorf("%s or its close code is there twice", e.Code)
		}
		codes[e.Code], closes[e.Close] = true, true
		if (e.Close == 0) != (e.Retry == "") || !strings.HasSuffix(e.Meaning, ".") {
			t.Errorf("%s: close %d with retry %q: %s", e.Code, e.Close, e.Retry, e.Meaning)
		}
		if e.Code.Info() != e {
			t.Errorf("%s is not found by its code", e.Code)
		}
		if got, ok := OfClose(e.Close); ok != (e.Close != 0) || ok && got != e {
			t.Errorf("%s is not found by its close code", e.Code)
		}
	}
}

// TestProtocolPage checks docs/protocol.md: its error table is the one in the
// code, and every frame that it shows whole can be decoded.
func TestProtocolPage(t *testing.T) {
	const path = "../docs/protocol.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for name, table := range map[string]string{"errors": errorTable(), "reasons": reasonTable()} {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
		before, rest, _ := strings.Cut(want, begin)
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			t.Fatalf("the page lacks the marks around its %s", name)
		}
		want = before + begin + table + end + after
	}
	if *update {
		writeFile(t, path, []byte(want))
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("a table differs (go test ./signaling -update):\n%s", diff)
	}
	for _, line := range strings.Split(string(page), "`") {
		if strings.HasPrefix(line, `{"type"`) && !strings.Contains(line, "…}") {
			if _, err := Decode([]byte(line)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func errorTable() string {
	var b strings.Builder
	b.WriteString("| code | meaning | close | then |\n| --- | --- | --- | --- |\n")
	for _, e := range Errors {
		closes := ""
		if e.Close != 0 {
			closes = fmt.Sprint(e.Close)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Code, e.Meaning, closes, e.Retry)
	}
	return b.String()
}

func reasonTable() string {
	var b strings.Builder
	b.WriteString("| reason | of | meaning |\n| --- | --- | --- |\n")
	for _, r := range Reasons {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", r.Reason, r.Of, r.Meaning)
	}
	return b.String()
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	for name := range golden {
		if b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json")); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Decode(b)
		if err != nil {
			return
		}
		wire, err := Encode(frame)
		if err != nil {
			t.Fatalf("%q decodes and does not encode: %v", b, err)
		}
		if !json.Valid(wire) {
			t.Fatalf("%q became invalid JSON %q", b, wire)
		}
		var rtc RTC
		_ = frame.Into(&rtc)
	})
}

// TestRender is byte for byte what Encode makes of the same frame.
func TestRender(t *testing.T) {
	for name := range golden {
		b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{f.ID, "", "plain ~", `quote " and \\`, "new\nline", "ümlaut \u2028", "\xff"} {
			f.ID = id
			again, err := New(f.Type, f.Action, f.Data)
			if err != nil {
				t.Fatal(err)
			}
			again.ID, again.Seq = f.ID, f.Seq
			want, err := Encode(f)
			if err != nil {
				t.Fatal(err)
			}
			if got := Render(again); string(got) != string(want) {
				t.Errorf("%s rendered %s, want %s", name, got, want)
			}
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	sdp := bytes.Repeat([]byte("a=rtpmap:96 VP8/90000\\r\\n"), 400)
	in := []byte(`{"type":"rtc","action":"offer","id":"4","data":{"roomId":"r-1","callId":"c-1","sdp":"` + string(sdp) + `"}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		f, err := Decode(in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Encode(f); err != nil {
			b.Fatal(err)
		}
	}
}
