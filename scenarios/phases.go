package scenarios

import (
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// phaseRule is a phase of a call: it begins with the first event of one sort
// and ends with the first one of another, as one party saw them. docs/metrics.md
// gives the definitions and the names that others use for them.
type phaseRule struct {
	name     string
	begin    moment
	end      moment
	perMedia bool // audio and video each have it
	again    bool // may occur again in the same call, such as a recovery
}

// moment picks an event by its kind and one attribute.
type moment struct {
	kind       trace.Kind
	key, value string
}

func (m moment) is(e trace.Event) bool {
	return e.Kind == m.kind && (m.key == "" || e.Get(m.key) == m.value)
}

var phaseRules = []phaseRule{
	{name: "invite_to_ring", begin: moment{kind: "call.outgoing"}, end: moment{kind: "call.ringing"}},
	{name: "ring_duration", begin: moment{kind: "call.ringing"}, end: moment{kind: "call.accepted"}},
	{name: "sdp_offer_answer", begin: moment{"signal.sent", "action", "offer"}, end: moment{"signal.received", "action", "answer"}},
	{name: "ice_connect", begin: moment{"ice.state", "state", "checking"}, end: moment{"ice.state", "state", "connected"}},
	{name: "dtls_handshake", begin: moment{"ice.state", "state", "connected"}, end: moment{kind: "call.connected"}},
	{name: "first_marked_media", begin: moment{kind: "call.accepted"}, end: moment{kindFlow, "state", "flowing"}, perMedia: true},
	{name: "ws_recovery", begin: moment{kind: "session.reconnecting"}, end: moment{kind: "session.resumed"}, again: true},
	{name: "media_gap", begin: moment{kindFlow, "state", "silent"}, end: moment{kindFlow, "state", "flowing"}, perMedia: true, again: true},
}

// keys are the phases that an event may begin or end: one, or one for each kind
// of media.
func (r phaseRule) keys(call string, e trace.Event) []phaseKey {
	k := phaseKey{call: call, party: e.Actor, name: r.name}
	if !r.perMedia {
		return []phaseKey{k}
	}
	if m := e.Get("media"); m != "" {
		k.name += "." + m
		return []phaseKey{k}
	}
	audio, video := k, k
	audio.name += ".audio"
	video.name += ".video"
	return []phaseKey{audio, video}
}

// phases follows the calls of a run.
type phases struct {
	byCall map[string]*reports.Call
	order  []string
	open   map[phaseKey]time.Duration // when the phases under way began
	done   map[phaseKey]bool
	party  map[string]string // client to its call, for events that name none
}

type phaseKey struct{ call, party, name string }

func newPhases() phases {
	return phases{byCall: map[string]*reports.Call{}, open: map[phaseKey]time.Duration{}, done: map[phaseKey]bool{}, party: map[string]string{}}
}

func (p *phases) observe(e trace.Event) {
	switch e.Kind {
	case "call.outgoing":
		p.party[e.Actor] = e.Get("call")
		p.start(e)
	case "call.incoming":
		p.party[e.Actor] = e.Get("call")
	}
	id := e.Get("call")
	if id == "" {
		id = p.party[e.Actor]
	}
	c := p.byCall[id]
	if c == nil || e.Actor == "server" || e.Actor == "kms" {
		return
	}
	for _, r := range phaseRules {
		p.apply(r, c, e)
	}
	if e.Kind == "call.ended" && c.Reason == "" {
		c.Reason, c.Took = e.Get("reason"), e.T-c.Begin
	}
}

func (p *phases) start(e trace.Event) {
	id := e.Get("call")
	if p.byCall[id] != nil {
		return
	}
	p.byCall[id] = &reports.Call{ID: id, From: e.Actor, To: e.Get("to"), Begin: e.T}
	p.order = append(p.order, id)
}

func (p *phases) apply(r phaseRule, c *reports.Call, e trace.Event) {
	for _, k := range r.keys(c.ID, e) {
		begin, open := p.open[k]
		switch {
		case open && r.end.is(e):
			delete(p.open, k)
			p.done[k] = true
			begin += silenceBefore(r, e, begin)
			c.Phases = append(c.Phases, reports.Phase{Name: k.name, Party: k.party, Begin: begin, Took: e.T - begin})
		case !open && r.begin.is(e) && (r.again || !p.done[k]):
			p.open[k] = e.T
		}
	}
}

// silenceBefore moves the beginning of a media gap back to the last good unit:
// silence is only noticed some time after it.
func silenceBefore(r phaseRule, e trace.Event, begin time.Duration) time.Duration {
	if gap := e.Number("gap_ms"); r.name == "media_gap" && gap > 0 {
		return e.T - time.Duration(gap*float64(time.Millisecond)) - begin
	}
	return 0
}

func (p *phases) calls() []reports.Call {
	var out []reports.Call
	for _, id := range p.order {
		out = append(out, *p.byCall[id])
	}
	return out
}
