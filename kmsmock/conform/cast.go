package conform

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A part is what a live peer plays in the place of a recorded one: it describes
// itself to one endpoint, in an offer or in an answer.
type part struct {
	name     string
	endpoint string // recorded id
	sdp      string // recorded description
	answers  bool   // the server offers
	deaf     bool   // it never took the server's answer
	line     int    // index of the request that carries the description

	peer *peer  // nil before it plays
	text string // its own description, in the form of the recorded one
}

// A call is one operation of a request: there are several in a transaction.
type call struct {
	operation string
	endpoint  string // recorded id of the object
	args      map[string]any
}

// calls are the operations of a recorded request, in the order of their
// results. What a transaction makes is known by the recorded response.
func (p *player) calls(i int, msg map[string]any) []call {
	params, _ := msg["params"].(map[string]any)
	if msg["method"] != "transaction" {
		return []call{newCall(msg, nil)}
	}
	response := p.responseTo(i, msg["id"])
	operations, _ := params["operations"].([]any)
	var out []call
	for _, o := range operations {
		m, _ := o.(map[string]any)
		out = append(out, newCall(m, results(response)))
	}
	return out
}

// newCall reads a request; made are the results that newref:N stands for.
func newCall(msg map[string]any, made []string) call {
	params, _ := msg["params"].(map[string]any)
	c := call{}
	c.operation, _ = msg["method"].(string)
	c.endpoint, _ = params["object"].(string)
	c.args, _ = params["operationParams"].(map[string]any)
	if op, ok := params["operation"].(string); ok {
		c.operation = op
	}
	if ref, ok := strings.CutPrefix(c.endpoint, "newref:"); ok {
		if n, err := strconv.Atoi(ref); err == nil && n >= 0 && n < len(made) {
			c.endpoint = made[n]
		}
	}
	return c
}

// results are the values of a response: one, or one for each operation of a
// transaction; "" for what is not a text.
func results(response map[string]any) []string {
	result, _ := response["result"].(map[string]any)
	switch v := result["value"].(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			m, _ := one.(map[string]any)
			inner, _ := m["result"].(map[string]any)
			text, _ := inner["value"].(string)
			out = append(out, text)
		}
		return out
	}
	return nil
}

// responseTo is the recorded response to the request of that id at a line.
func (p *player) responseTo(i int, id any) map[string]any {
	for k := i + 1; k < len(p.lines); k++ {
		l := &p.lines[k]
		if l.Dir != transcript.Recv || l.Conn != p.lines[i].Conn {
			continue
		}
		var msg map[string]any
		if json.Unmarshal([]byte(l.Frame()), &msg) == nil && msg["method"] == nil && msg["id"] == id {
			return msg
		}
	}
	return nil
}

// cast notes the parts of the recorded peers, whose names come in the order of
// their descriptions, and what the recorded client kept from them.
func (p *player) cast() {
	names, absent := p.names()
	watched := slices.ContainsFunc(p.lines, tellsState)
	for i := range p.lines {
		l := &p.lines[i]
		if l.Note == "recorder drops KMS candidate" {
			p.withheld = append(p.withheld, kindOf(l.CandidateText()))
		}
		var msg map[string]any
		if l.Dir != transcript.Send || json.Unmarshal([]byte(l.Frame()), &msg) != nil {
			continue
		}
		for n, c := range p.calls(i, msg) {
			if strings.Contains(c.candidateText(), signature) {
				p.signed[c.endpoint] = true
			}
			sdp, answers := c.description()
			if sdp == "" || len(names) == 0 {
				continue
			}
			live := p.isLive(i, n, msg["id"], sdp)
			if !live && !absent[names[0]] || answers && !live {
				continue
			}
			name := names[0]
			names = names[1:]
			if !absent[name] {
				p.parts = append(p.parts, &part{name: name, endpoint: c.endpoint, sdp: sdp, answers: answers, line: i, deaf: watched && !p.heard(name)})
			}
		}
	}
}

// description is the one that a call carries, and whether it answers one.
func (c call) description() (sdp string, answers bool) {
	switch c.operation {
	case "processOffer":
		sdp, _ = c.args["offer"].(string)
	case "processAnswer":
		sdp, _ = c.args["answer"].(string)
		answers = true
	}
	return sdp, answers
}

// isLive tells whether a peer may have made a description: Kurento made it
// itself if it says so, and one that was refused leads nowhere.
func (p *player) isLive(line, n int, id any, sdp string) bool {
	if strings.Contains(sdp, "\ns=Kurento Media Server") || !strings.Contains(sdp, "a=ice-ufrag:") {
		return false
	}
	values := results(p.responseTo(line, id))
	return n < len(values) && values[n] != ""
}

// states begin the notes on what becomes of a peer that took an answer.
var states = []string{"peer ICE state", "peer connection state", "chromium"}

func tellsState(l transcript.Line) bool {
	return slices.ContainsFunc(states, func(prefix string) bool { return strings.HasPrefix(l.Note, prefix) })
}

// heard tells whether the peer of that name took what the server described.
func (p *player) heard(name string) bool {
	return slices.ContainsFunc(p.lines, func(l transcript.Line) bool {
		return l.Peer == name && tellsState(l) && !strings.HasSuffix(l.Note, " closed")
	})
}

// names are those of the recorded peers in their order, a name as often as it
// gathered candidates, and which of them stand for no peer.
func (p *player) names() (names []string, absent map[string]bool) {
	gathered := map[string]bool{}
	absent = map[string]bool{}
	for i := range p.lines {
		l := &p.lines[i]
		again := l.Note == "peer gathering complete" && gathered[l.Peer]
		if l.Peer != "" && (again || !slices.Contains(names, l.Peer)) {
			names = append(names, l.Peer)
		}
		if l.Note == "peer gathering complete" {
			gathered[l.Peer] = true
		}
		if l.Note == noPeer {
			absent[l.Peer] = true
		}
	}
	return names, absent
}

// part finds the part that is played for an endpoint from a line on; nil if none is.
func (p *player) part(line int, endpoint string) *part {
	for _, x := range p.parts {
		if x.line >= line && x.endpoint == endpoint {
			return x
		}
	}
	return nil
}

// withPeer replaces the descriptions and candidates of recorded peers in a
// request by those of live ones, and the port of a recorded STUN server by that
// of this run's. It tells whether it did.
func (p *player) withPeer(line int, msg map[string]any) (edited bool) {
	for _, c := range p.calls(line, msg) {
		switch c.operation {
		case "processOffer", "processAnswer":
			sdp, answers := c.description()
			x := p.part(line, c.endpoint)
			if x == nil || x.line != line || x.sdp != sdp || !p.begin(x) {
				continue
			}
			if answers {
				c.args["answer"] = x.text
			} else {
				c.args["offer"] = x.text
			}
			edited = true
		case "addIceCandidate":
			edited = p.candidate(line, c) || edited
		case "setStunServerPort":
			if port, ok := c.args["stunServerPort"].(float64); ok {
				c.args["stunServerPort"], edited = p.port(port), true
			}
		}
	}
	return edited
}

// candidate puts a live peer's candidate in the place of a recorded one, which
// may come before the peer's offer.
func (p *player) candidate(line int, c call) bool {
	candidate, ok := c.args["candidate"].(map[string]any)
	if !ok || !p.replaceable(c) {
		return false
	}
	if p.byObject[c.endpoint] == nil {
		if early := p.part(line, c.endpoint); early == nil || early.answers || !p.begin(early) {
			return false
		}
	}
	candidate["candidate"] = p.byObject[c.endpoint].candidate()
	return true
}

// signature is what a peer that signs its candidates puts into them.
const signature = " ufrag "

// candidateText is the candidate that a call carries, "" if it carries none.
func (c call) candidateText() string {
	candidate, _ := c.args["candidate"].(map[string]any)
	text, _ := candidate["candidate"].(string)
	return text
}

// replaceable tells whether a recorded candidate is one of a peer's own: the end
// of candidates is not, and names and what goes nowhere are sent as they were,
// as is what a peer that signs its candidates has not signed.
func (p *player) replaceable(c call) bool {
	text := c.candidateText()
	return strings.HasPrefix(text, "candidate:") && !strings.Contains(text, ".local ") && !strings.Contains(text, " 9 typ host") &&
		(strings.Contains(text, signature) || !p.signed[c.endpoint])
}

// begin makes the peer of a part and has it describe itself, unless it has
// already. It tells whether there is such a peer.
func (p *player) begin(part *part) bool {
	if part.peer != nil {
		return part.text != ""
	}
	x, err := p.newPeer(part.name, part.sdp)
	if err != nil {
		p.differs("peer %s: %v", part.name, err)
		return false
	}
	part.peer = x
	x.deaf = part.deaf
	p.peers[part.name], p.byObject[part.endpoint] = x, x
	p.all = append(p.all, x)
	describe := x.offer
	if part.answers {
		describe = func() (string, error) { return x.answer(p.offers[part.endpoint]) }
	}
	own, err := describe()
	if err == nil {
		part.text, err = impersonate(part.sdp, own)
	}
	if err != nil {
		p.differs("peer %s: %v", part.name, err)
	}
	return err == nil
}

// hand gives peers what the server has described to them.
func (p *player) hand(q asked, got map[string]any) {
	values := results(got)
	for i, c := range q.calls {
		if i >= len(values) || values[i] == "" {
			continue
		}
		switch c.operation {
		case "generateOffer":
			p.offers[c.endpoint] = values[i]
			if x := p.part(q.line, c.endpoint); x != nil && x.answers {
				p.begin(x) // candidates may come before its answer is sent
			}
		case "processOffer":
			p.handAnswer(p.byObject[c.endpoint], values[i])
		}
	}
}

func (p *player) handAnswer(x *peer, answer string) {
	if x == nil || x.deaf || x.pc.SignalingState() != webrtc.SignalingStateHaveLocalOffer {
		return
	}
	if err := x.accept(webrtc.SDPTypeAnswer, answer); err != nil {
		p.differs("peer %s does not take the answer: %v", x.name, err)
	}
}
