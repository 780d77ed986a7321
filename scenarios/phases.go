package scenarios

import (
	"maps"
	"slices"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// phaseRule is a phase of a call: it begins with the first event of one sort
// and ends with the first one of another. docs/metrics.md gives the definitions
// and the names that others use for them; a test holds it to this table.
type phaseRule struct {
	name     string
	begin    []moment // any of them; none if the event that ends it says how long it took
	end      moment
	view     view
	length   string // attribute of the last event that says how long it really took, in milliseconds
	perMedia bool   // audio and video each have it
	again    bool   // may occur again in the same call, such as a recovery
	outside  bool   // may occur outside of a call
}

// view says by whose events a phase is measured, and with that whose it is.
type view int

const (
	own      view = iota // one party's, from beginning to end
	across               // begins with one party's and ends with another's, whose it is
	ofServer             // the server's; it belongs to the party that the server does it for
	both                 // begins with the caller's and ends when both parties have all that they should get
)

// moment picks an event by its kind and one attribute.
type moment struct {
	kind       trace.Kind
	key, value string
	server     bool // it is the server's event, not a client's
}

func (m moment) is(e trace.Event) bool {
	return e.Kind == m.kind && (m.key == "" || e.Get(m.key) == m.value) && m.server == (e.Actor == "server")
}

func sent(action string) []moment {
	return []moment{{kind: "signal.sent", key: "action", value: action}}
}

var (
	flowing = moment{kind: kindFlow, key: "state", value: "flowing"}
	invited = sent("call")
)

var phaseRules = []phaseRule{
	{name: "ws_connect", end: moment{kind: "ws.open"}, length: "took_ms", again: true, outside: true},
	{name: "register", begin: []moment{{kind: "signal.sent", key: "type", value: "hello"}}, end: moment{kind: "session.welcome"}, again: true, outside: true},
	{name: "invite_to_ring", begin: invited, end: moment{kind: "call.ringing"}},
	{name: "ring_delivery", begin: invited, end: moment{kind: "call.incoming"}, view: across},
	{name: "ring_duration", begin: []moment{{kind: "call.ringing"}}, end: moment{kind: "call.accepted"}},
	{name: "answer_propagation", begin: sent("answer"), end: moment{kind: "call.accepted"}, view: across},
	{name: "sdp_offer_answer", begin: sent("offer"), end: moment{kind: "signal.received", key: "action", value: "answer"}},
	{name: "kms_create", begin: []moment{{kind: "call.start", server: true}, {kind: "frame.in", key: "frame", value: "rtc/answer", server: true}, {kind: "leg.rebuild", server: true}},
		end: moment{kind: "leg.created", server: true}, view: ofServer, again: true},
	{name: "kms_process_offer", begin: []moment{{kind: "call.offer", server: true}}, end: moment{kind: "call.answer", server: true}, view: ofServer, again: true},
	{name: "kms_gather", begin: []moment{{kind: "call.offer", server: true}}, // candidates are asked for along with the answer
		end: moment{kind: "kms.event", key: "type", value: "IceGatheringDone", server: true}, view: ofServer, again: true},
	{name: "ice_gathering", begin: sent("offer"), end: moment{kind: "ice.gathered"}, again: true},
	{name: "ice_connect", begin: []moment{{kind: "ice.state", key: "state", value: "checking"}}, end: moment{kind: "ice.state", key: "state", value: "connected"}},
	{name: "dtls_handshake", begin: []moment{{kind: "ice.state", key: "state", value: "connected"}}, end: moment{kind: "call.connected"}},
	{name: "first_marked_media", begin: []moment{{kind: "call.accepted"}}, end: flowing, perMedia: true},
	{name: "call_setup_total", begin: invited, end: flowing, view: both},
	{name: "ws_recovery", begin: []moment{{kind: "session.reconnecting"}}, end: moment{kind: "session.resumed"}, again: true, outside: true},
	{name: "media_gap", begin: []moment{{kind: kindFlow, key: "state", value: "silent"}}, end: flowing, length: "gap_ms", perMedia: true, again: true},
	{name: "end_propagation", begin: sent("leave"), end: moment{kind: "call.ended"}, view: across},
	{name: "teardown", begin: sent("leave"), end: moment{kind: "call.state", key: "to", value: "ended", server: true}, view: across},
}

func (r phaseRule) begins(e trace.Event) bool {
	for _, m := range r.begin {
		if m.is(e) {
			return true
		}
	}
	return false
}

// keys are the phases that an event of a party may begin or end: one, or one
// for each kind of media.
func (r phaseRule) keys(call, party string, e trace.Event) []phaseKey {
	k := phaseKey{call: call, party: party, name: r.name}
	if r.view == across || r.view == both {
		k.party = "" // known when it ends
	}
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
	users   map[string]string // client to its user
	byCall  map[string]*reports.Call
	order   []string
	outside []reports.Phase        // of clients that are in no call
	open    map[phaseKey]opened    // the phases under way
	done    map[phaseKey]bool      // those that were, and do not come again
	party   map[string]string      // client or user to its call, for events that name none
	asked   map[string]trace.Event // caller to its request for a call that has no id yet
	legs    map[string]leg         // endpoint of the media server to whose it is
	media   map[string]*exchange   // by call
	rooms   map[string]string      // room to the call in it: clients of level 0 know no other name
}

type phaseKey struct{ call, party, name string }

type opened struct {
	at time.Duration
	by string
}

type leg struct{ call, user string }

// exchange is what the parties of a call send and what has come of it.
type exchange struct {
	sends, got map[[2]string]bool // party and kind of media
	parties    map[string]bool    // that send
}

// complete reports whether two parties or more send, and each has all that the
// others do.
func (x *exchange) complete() bool {
	for s := range x.sends {
		for p := range x.parties {
			if p != s[0] && !x.got[[2]string{p, s[1]}] {
				return false
			}
		}
	}
	return len(x.parties) > 1
}

func newPhases(clients []Client) phases {
	users := map[string]string{}
	for _, c := range clients {
		users[c.Name] = c.User
	}
	return phases{users: users, byCall: map[string]*reports.Call{}, open: map[phaseKey]opened{}, done: map[phaseKey]bool{}, party: map[string]string{},
		asked: map[string]trace.Event{}, legs: map[string]leg{}, media: map[string]*exchange{}, rooms: map[string]string{}}
}

func (p *phases) observe(e trace.Event) {
	switch {
	case invited[0].is(e):
		p.asked[e.Actor] = e
		return // it is applied as soon as the call is known
	case e.Kind == "call.start" || e.Kind == "call.outgoing" || e.Kind == "call.incoming":
		p.enter(e)
	case e.Kind == "leg.created":
		p.legs[e.Get("endpoint")] = leg{e.Get("call"), e.Get("user")}
	}
	call, who := p.whose(e)
	c := p.byCall[call]
	if c != nil {
		p.exchange(call, e)
	}
	for _, r := range phaseRules {
		if c != nil || r.outside {
			p.apply(r, c, who, e)
		}
	}
	if c != nil {
		p.leave(c, e)
	}
}

// leave ends a call for a client, or for good where no client was ever told.
func (p *phases) leave(c *reports.Call, e trace.Event) {
	switch {
	case e.Kind == "call.ended" && e.Actor != "server":
		delete(p.party, e.Actor)
	case e.Kind == "call.state" && e.Get("to") == "ended":
	default:
		return
	}
	if c.Reason == "" {
		c.Reason, c.Took = e.Get("reason"), e.T-c.Begin
	}
}

// whose says which call an event belongs to and which party of it.
func (p *phases) whose(e trace.Event) (call, party string) {
	call, party = p.name(e), e.Actor
	if e.Actor == "server" {
		if l, ok := p.legs[e.Get("object")]; ok {
			return l.call, l.user
		}
		if user := e.Get("user"); user != "" {
			party = user
		}
	}
	if call == "" {
		call = p.party[party]
	}
	return call, party
}

// name is the call that an event names, by its id wherever that is known.
func (p *phases) name(e trace.Event) string {
	call := e.Get("call")
	if id, ok := p.rooms[call]; ok {
		return id
	}
	return call
}

// enter takes a client into a call, which begins with the caller's request,
// whoever is the first to tell of it. A caller of level 0 cannot say which call
// it is: somebody else will.
func (p *phases) enter(e trace.Event) {
	id, room, caller, callee := p.name(e), e.Get("room"), e.Actor, e.Get("to")
	if id == "" {
		return
	}
	switch e.Kind {
	case "call.start":
		caller, callee = p.callerOf(e.Get("user")), e.Get("callee")
		p.party[e.Get("user")] = id
	case "call.incoming":
		caller, callee = p.callerOf(e.Get("from")), p.users[e.Actor]
	}
	if e.Actor != "server" {
		p.party[e.Actor], p.party[p.users[e.Actor]] = id, id
	}
	c := p.byCall[id]
	if c == nil {
		c = &reports.Call{ID: id, From: caller, To: callee, Begin: e.T}
		p.byCall[id], p.media[id] = c, &exchange{sends: map[[2]string]bool{}, got: map[[2]string]bool{}, parties: map[string]bool{}}
		p.order = append(p.order, id)
	}
	if room != "" {
		c.Room, p.rooms[room] = room, id
	}
	if ask, ok := p.asked[caller]; ok {
		delete(p.asked, caller)
		c.From, c.Begin = caller, ask.T
		for _, r := range phaseRules {
			p.apply(r, c, caller, ask)
		}
	}
}

// callerOf is the client of a user that has asked for a call; the user's name
// if there is none.
func (p *phases) callerOf(user string) string {
	for _, client := range slices.Sorted(maps.Keys(p.asked)) {
		if p.users[client] == user {
			return client // a user has one call at a time
		}
	}
	return user
}

func (p *phases) exchange(call string, e trace.Event) {
	x, k := p.media[call], [2]string{e.Actor, e.Get("media")}
	switch {
	case e.Kind == "media.source" && e.Get("state") == "started":
		x.sends[k], x.parties[e.Actor] = true, true
	case flowing.is(e):
		x.got[k] = true
	}
}

func (p *phases) apply(r phaseRule, c *reports.Call, party string, e trace.Event) {
	id := ""
	if c != nil {
		id = c.ID
	}
	for _, k := range r.keys(id, party, e) {
		begun, open := p.open[k]
		switch {
		case r.end.is(e) && (open || r.begin == nil) && p.ends(r, id, begun, e):
			delete(p.open, k)
			p.done[k] = true
			p.add(c, r.phase(k, begun.at, e))
		case !open && r.begins(e) && (r.again || !p.done[k]):
			p.open[k] = opened{e.T, e.Actor}
		}
	}
}

// ends reports whether an event of the right sort ends a phase that is open.
func (p *phases) ends(r phaseRule, call string, begun opened, e trace.Event) bool {
	switch {
	case r.begin == nil:
		return e.Has(r.length)
	case r.view == across:
		return e.Actor != begun.by
	case r.view == both:
		return p.media[call].complete()
	}
	return true
}

// phase is the phase that an event ends. Where the event knows better how long
// it took, it counts from there: silence, say, is only noticed some time after
// it began.
func (r phaseRule) phase(k phaseKey, begin time.Duration, e trace.Event) reports.Phase {
	switch r.view {
	case across:
		k.party = e.Actor
	case both:
		k.party = "both"
	}
	if ms := e.Number(r.length); ms > 0 {
		begin = e.T - time.Duration(ms*float64(time.Millisecond))
	}
	return reports.Phase{Name: k.name, Party: k.party, Begin: begin, Took: e.T - begin}
}

func (p *phases) add(c *reports.Call, ph reports.Phase) {
	if c == nil {
		p.outside = append(p.outside, ph)
		return
	}
	c.Phases = append(c.Phases, ph)
}

func (p *phases) calls() []reports.Call {
	var out []reports.Call
	for _, id := range p.order {
		out = append(out, *p.byCall[id])
	}
	return out
}
