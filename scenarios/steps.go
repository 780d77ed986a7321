package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/callbench/callbench/reports/trace"
)

// designStep is a step of the 1v1 call as the design document numbers them, and
// the event that shows that it was done.
type designStep struct {
	n     int
	what  string
	after []int // the steps that must have come before; nil: the one before
	actor string
	kind  trace.Kind
	where map[string]string // attributes; A and B stand for caller and callee, * for anything; owner is whose endpoint it is
}

// designSteps is the document's list. The two legs are negotiated at the same
// time, so steps 15 to 20 and 21 to 25 are two strands. Pipeline and endpoint may be
// made in one transaction: then the server knows of both at once, behind step 5.
var designSteps = []designStep{
	{1, "A is connected on the IM WebSocket", []int{}, "server", "session.start", map[string]string{"user": "A"}},
	{2, "A calls", nil, "server", "frame.in", map[string]string{"user": "A", "frame": "rtc/call"}},
	{3, "the identity is the session's", nil, "server", "call.start", map[string]string{"user": "A", "session": "*"}},
	{4, "the room is made, with its pipeline", nil, "server", "room.created", nil},
	{5, "KMS makes the endpoint of A", []int{3}, "kms", "kms.object.created", map[string]string{"class": "WebRtcEndpoint"}},
	{6, "Redis: the session of A", []int{4, 5}, "redis", "redis.command", map[string]string{"script": "open", "class": "rtc:session:*"}},
	{7, "the invitation goes through IM", nil, "server", "frame.out", map[string]string{"user": "B", "frame": "rtc_invite"}},
	{8, "B is told", nil, "B", "call.incoming", nil},
	{9, "B's user accepts", nil, "B", "signal.sent", map[string]string{"action": "answer"}},
	{10, "B answers", nil, "server", "frame.in", map[string]string{"user": "B", "frame": "rtc/answer"}},
	{11, "B comes into the room", nil, "server", "call.state", map[string]string{"to": "accepting"}},
	{12, "KMS makes the endpoint of B", nil, "kms", "kms.object.created", map[string]string{"class": "WebRtcEndpoint"}},
	{13, "KMS connects the two", nil, "kms", "kms.request", map[string]string{"method": "invoke", "operation": "connect"}},
	{14, "Redis: the members", nil, "redis", "redis.command", map[string]string{"script": "join", "class": "rtc:room:*:members"}},
	{15, "A offers", nil, "server", "frame.in", map[string]string{"user": "A", "frame": "rtc/offer"}},
	{16, "KMS processes the offer of A", nil, "kms", "kms.request", map[string]string{"method": "invoke", "owner": "A", "operation": "processOffer"}},
	{17, "A gets the answer", nil, "server", "frame.out", map[string]string{"user": "A", "frame": "rtc/answer"}},
	{18, "A sets it", nil, "A", "ice.state", map[string]string{"state": "checking"}},
	{19, "A sends a candidate", []int{15}, "server", "frame.in", map[string]string{"user": "A", "frame": "rtc/candidate"}},
	{20, "KMS gets it", []int{16, 19}, "kms", "kms.request", map[string]string{"method": "invoke", "owner": "A", "operation": "addIceCandidate"}},
	{21, "B offers", []int{10}, "server", "frame.in", map[string]string{"user": "B", "frame": "rtc/offer"}},
	{22, "KMS processes the offer of B", []int{12, 21}, "kms", "kms.request", map[string]string{"method": "invoke", "owner": "B", "operation": "processOffer"}},
	{23, "B gets the answer", nil, "server", "frame.out", map[string]string{"user": "B", "frame": "rtc/answer"}},
	{24, "B sends a candidate", []int{21}, "server", "frame.in", map[string]string{"user": "B", "frame": "rtc/candidate"}},
	{25, "KMS gets it", []int{22, 24}, "kms", "kms.request", map[string]string{"method": "invoke", "owner": "B", "operation": "addIceCandidate"}},
	{26, "media flows", []int{18, 20, 23, 25}, "A", kindFlow, map[string]string{"state": "flowing"}},
	{27, "A hangs up", nil, "server", "frame.in", map[string]string{"user": "A", "frame": "rtc/leave"}},
	{28, "KMS releases the endpoint of A", nil, "kms", "kms.object.released", map[string]string{"owner": "A", "class": "WebRtcEndpoint"}},
	{29, "Redis: the room without A", nil, "redis", "redis.command", map[string]string{"script": "leave", "class": "rtc:room:*:members"}},
	{30, "B is told the end", nil, "server", "frame.out", map[string]string{"user": "B", "frame": "rtc/ended|rtc/leave"}},
	{31, "B confirms", nil, "server", "frame.in", map[string]string{"user": "B", "frame": "rtc/leave"}},
	{32, "KMS releases the endpoint of B", nil, "kms", "kms.object.released", map[string]string{"owner": "B", "class": "WebRtcEndpoint"}},
	{33, "KMS destroys the pipeline", nil, "kms", "kms.object.released", map[string]string{"class": "MediaPipeline"}},
	{34, "MySQL: the call is recorded", nil, "history", "history.room.ended", nil},
}

// steps follows the first call of a run through the design's steps.
type steps struct {
	a, b  string            // users
	owner map[string]string // endpoint to user
	done  map[int]bool
}

// observe takes an event; it shows the first step that it fits and whose
// predecessors were seen.
func (t *steps) observe(s *Scenario, e trace.Event) {
	if t.done == nil {
		t.done, t.owner = map[int]bool{}, map[string]string{}
		for _, st := range s.Steps {
			if t.a == "" && st.Kind == Action && st.Clauses[0].Verb == "call" {
				t.a, t.b = s.user(st.Actors[0]), s.user(st.Clauses[0].Args[0])
			}
		}
	}
	if e.Kind == "leg.created" {
		t.owner[e.Get("endpoint")] = e.Get("user")
	}
	for i := range designSteps {
		if d := &designSteps[i]; !t.done[d.n] && t.ready(d) && t.shows(s, d, e) {
			t.done[d.n] = true
			return
		}
	}
}

func (t *steps) ready(d *designStep) bool {
	if d.after == nil {
		return t.done[d.n-1]
	}
	return !slices.ContainsFunc(d.after, func(n int) bool { return !t.done[n] })
}

func (t *steps) shows(s *Scenario, d *designStep, e trace.Event) bool {
	actor := e.Actor
	if d.actor == "A" || d.actor == "B" {
		actor = s.user(actor)
	}
	if e.Kind != d.kind || actor != t.party(d.actor) {
		return false
	}
	for k, want := range d.where {
		have := e.Get(k)
		if k == "owner" {
			have = t.owner[e.Get("object")]
		}
		if want == "*" && have == "" || want != "*" && !slices.Contains(strings.Split(t.party(want), "|"), have) {
			return false
		}
	}
	return true
}

// party puts the users in the place of A and B.
func (t *steps) party(word string) string {
	switch word {
	case "A":
		return t.a
	case "B":
		return t.b
	}
	return word
}

// missing says which step was not seen in its place, "" if all were.
func (t *steps) missing() string {
	for _, d := range designSteps {
		if !t.done[d.n] {
			return fmt.Sprintf("step %d (%s) was not seen in its place", d.n, d.what)
		}
	}
	return ""
}
