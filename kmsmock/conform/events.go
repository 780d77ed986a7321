package conform

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// An event is an onEvent frame, of the recording or of this run.
type event struct {
	object, typ string
	data        map[string]any
	line        int           // of the transcript, or where the player was
	at          time.Duration // since the beginning
	serial      int           // among those that came
}

func eventValue(msg map[string]any) map[string]any {
	params, _ := msg["params"].(map[string]any)
	v, _ := params["value"].(map[string]any)
	return v
}

func newEvent(msg map[string]any, line int, at time.Duration) event {
	v := eventValue(msg)
	e := event{line: line, at: at}
	e.object, _ = v["object"].(string)
	e.typ, _ = v["type"].(string)
	e.data, _ = v["data"].(map[string]any)
	return e
}

// isEvent takes a frame in if it is an event.
func (p *player) isEvent(a arrival) bool {
	var msg map[string]any
	if json.Unmarshal(a.frame, &msg) != nil || msg["method"] != "onEvent" {
		return false
	}
	e := newEvent(msg, p.current.Number, a.at.Sub(p.start))
	p.form(a.frame)
	if id, noted := msg["id"]; noted {
		p.differs("an event has the id %v", id)
	}
	if !p.dyingHere(e) {
		p.got = append(p.got, e)
		if e.certain() {
			p.certain++
		}
	}
	if e.typ == "IceCandidateFound" {
		p.pass(e)
	}
	return true
}

// pass gives a candidate of the server to the peer that it is for, unless the
// recorded client kept such candidates back.
func (p *player) pass(e event) {
	c, _ := e.data["candidate"].(map[string]any)
	text, _ := c["candidate"].(string)
	if slices.Contains(p.withheld, kindOf(text)) {
		return
	}
	mid, _ := c["sdpMid"].(string)
	index, _ := c["sdpMLineIndex"].(float64)
	line := uint16(index)
	for recorded, x := range p.byObject {
		if p.ours(recorded) == e.object {
			init := webrtc.ICECandidateInit{Candidate: text, SDPMid: &mid, SDPMLineIndex: &line}
			switch second := componentOf(text) == "2"; {
			case !second:
				x.trickle(init)
			case x.relay:
				time.AfterFunc(secondLater, func() { x.trickle(init) })
			}
		}
	}
}

// secondLater is by how much the candidates of component 2 come to a peer behind
// those of component 1. Pion takes candidates in any order, and whichever it had
// first it chooses among equals. Only a peer behind a relay, which waits before it
// chooses, gets them: others are connected before they come to component 2, or
// would have to be lucky not to choose it.
const secondLater = 3 * time.Millisecond

func componentOf(candidate string) string {
	if fields := strings.Fields(candidate); len(fields) > 1 {
		return fields[1]
	}
	return ""
}

// kindOf is transport and type of a candidate.
func kindOf(candidate string) string {
	fields := strings.Fields(candidate)
	if len(fields) < 8 {
		return ""
	}
	return fields[2] + " " + fields[7]
}

// dyingHere is dying for an event of this run.
func (p *player) dyingHere(e event) bool {
	if e.typ != "ElementDisconnected" {
		return false
	}
	text, _ := e.data["timestampMillis"].(string)
	at, _ := strconv.ParseInt(text, 10, 64)
	for object, released := range p.released {
		if !strings.Contains(object, "/") && strings.HasPrefix(e.object, p.ours(object)) && at >= released {
			return true
		}
	}
	return false
}

var millis = regexp.MustCompile(`^\d{12,13}$`)

// key writes an event so that those of two runs can be compared.
func (e event) key() string {
	clean := map[string]any{}
	for k, v := range e.data {
		clean[k] = masked(v)
	}
	if ts, ok := e.data["timestampMillis"].(string); ok && millis.MatchString(ts) {
		clean["timestampMillis"] = "T"
	}
	b, _ := json.Marshal(clean)
	return e.typ + " of " + e.object + " " + string(b)
}

func masked(v any) any {
	switch v := v.(type) {
	case string:
		return mask(v)
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = masked(item)
		}
		return out
	}
	return v
}

// own is a recorded event with the ids of this run.
func (p *player) own(e event) event {
	b, err := json.Marshal(map[string]any{"object": e.object, "data": e.data})
	if err != nil {
		return e
	}
	var out struct {
		Object string
		Data   map[string]any
	}
	if json.Unmarshal([]byte(p.ours(string(b))), &out) == nil {
		e.object, e.data = out.Object, out.Data
	}
	return e
}

// compareEvents finds a partner for each event, and checks times and order.
func (p *player) compareEvents() {
	got := map[string][]event{}
	for i, e := range p.got {
		e.serial = i
		if !p.foreign(e) && !p.isByChance(e.object, e.data) {
			got[e.key()] = append(got[e.key()], e)
		}
	}
	var pairs []pair
	chance := brief(p.expected, p.expectedEnd)
	overlooked := brief(p.got, p.gotEnd)
	for i, recorded := range p.expected {
		w := p.own(recorded)
		if p.foreign(w) {
			continue
		}
		k := w.key()
		for len(got[k]) > 0 && overlooked[got[k][0].serial] && w.at-got[k][0].at > eventSlack {
			got[k] = got[k][1:]
		}
		if chance[i] && (len(got[k]) == 0 || got[k][0].at-w.at > eventSlack) {
			continue
		}
		if len(got[k]) == 0 && p.onTheWay(w, func(x endOf) time.Duration { return x.was }) {
			continue
		}
		if len(got[k]) == 0 {
			p.at(w.line, "no event %s", k)
			continue
		}
		g := got[k][0]
		got[k] = got[k][1:]
		pairs = append(pairs, pair{w, g})
	}
	for _, k := range slices.Sorted(keys(got)) {
		for _, e := range got[k] {
			if overlooked[e.serial] || p.onTheWay(e, func(x endOf) time.Duration { return x.is }) || p.isPassing(e) {
				continue
			}
			p.at(e.line, "an event too many: %s", k)
		}
	}
	p.compareTimes(pairs)
	p.compareOrder(pairs)
}

// isByChance tells whether a state of component 2 depends on what its peer tried
// first: over TCP, one that had dialled both components checks the second or
// does not get to it. object is the endpoint's id in this run.
func (p *player) isByChance(object string, state map[string]any) bool {
	if state["componentId"] != 2.0 || state["state"] == "GATHERING" {
		return false
	}
	for recorded, x := range p.byObject {
		if x.tcp && p.ours(recorded) == object {
			return true
		}
	}
	return false
}

// isPassing tells whether a pair was selected again: the peer's check may come
// before the request with its candidate, and is peer-reflexive until then.
func (p *player) isPassing(e event) bool {
	reflexive, pairs := false, 0
	for _, other := range p.got {
		if other.typ == "NewCandidatePairSelected" && other.object == e.object {
			reflexive = reflexive || strings.Contains(jsonText(other.data), "typ prflx")
			pairs++
		}
	}
	return e.typ == "NewCandidatePairSelected" && reflexive && pairs > 1
}

// onTheWay tells whether an event came when its object was being released, or
// the run ended: such events come or do not.
func (p *player) onTheWay(e event, when func(endOf) time.Duration) bool {
	for _, x := range p.ends {
		d := e.at - when(x)
		if strings.HasPrefix(e.object, p.ours(x.object)) && d > -atOnce && d < atOnce {
			return true
		}
	}
	return false
}

// at notes a difference at a line other than the current one.
func (p *player) at(line int, format string, args ...any) {
	p.current = &p.lines[slices.IndexFunc(p.lines, func(l transcript.Line) bool { return l.Number == line })]
	p.differs(format, args...)
}

type pair struct{ want, got event }

// eventSlack is how much earlier or later than recorded an event may come. It
// covers what is slow once in a process, and a busy machine.
const eventSlack = 2500 * time.Millisecond

func (p *player) compareTimes(pairs []pair) {
	for _, x := range pairs {
		if d := x.got.at - x.want.at; d > eventSlack || d < -eventSlack {
			p.at(x.want.line, "%s of %s came %v after the beginning, was recorded %v after", x.want.typ, x.want.object,
				x.got.at.Round(time.Millisecond), x.want.at.Round(time.Millisecond))
		}
	}
}

// atOnce is how near to each other two events may be for chance to decide which
// is first: worker threads send them, and Nagle's algorithm holds them back.
const atOnce = 60 * time.Millisecond

// compareOrder checks that the states of one thing come in the recorded order.
func (p *player) compareOrder(pairs []pair) {
	bySubject := map[string][]pair{}
	for _, x := range pairs {
		if s := x.want.subject(); s != "" {
			bySubject[s] = append(bySubject[s], x)
		}
	}
	for _, s := range slices.Sorted(keys(bySubject)) {
		list := bySubject[s]
		for i, later := range list {
			for _, earlier := range list[:i] {
				if later.want.at-earlier.want.at > atOnce && earlier.got.at-later.got.at > atOnce {
					p.at(later.want.line, "%s of %s: %v comes before %v", s, later.want.object, later.want.state(), earlier.want.state())
				}
			}
		}
	}
}

// subject names what an event tells the state of, empty if it tells none.
func (e event) subject() string {
	if e.state() == nil {
		return ""
	}
	s := e.object + " " + e.typ
	for _, member := range []string{"streamId", "componentId", "mediaType", "padName"} {
		if v, ok := e.data[member]; ok {
			s += " " + jsonText(v)
		}
	}
	return s
}

func (e event) state() any {
	if v, ok := e.data["state"]; ok {
		return v
	}
	return e.data["newState"]
}

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// foreign tells whether an event of the server manager is about an object that
// someone else made, on a server that is not ours alone.
func (p *player) foreign(e event) bool {
	subject, _ := e.data["objectId"].(string)
	if subject == "" {
		subject, _ = e.data["object"].(string)
	}
	if e.object != "manager_ServerManager" {
		return false
	}
	for _, own := range p.ids {
		if strings.Contains(subject, own) {
			return false
		}
	}
	return true
}
