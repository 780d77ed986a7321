package conform

import (
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"
)

// cast notes the names of the recorded peers in the order of their offers, and
// what the recorded client kept from them.
func (p *player) cast() {
	gathered := map[string]bool{}
	for i := range p.lines {
		l := &p.lines[i]
		again := l.Note == "peer gathering complete" && gathered[l.Peer]
		if l.Peer != "" && (again || !slices.Contains(p.names, l.Peer)) {
			p.names = append(p.names, l.Peer)
		}
		if l.Note == "peer gathering complete" {
			gathered[l.Peer] = true
		}
		if l.Note == noPeer {
			p.absent[l.Peer] = true
		}
		if l.Note == "recorder drops KMS candidate" {
			p.withheld = append(p.withheld, kindOf(l.CandidateText()))
		}
	}
}

// withPeer replaces the description or the candidate of a recorded peer in a
// request by that of a live one, and the port of a recorded STUN server by that
// of this run's. It tells whether it did.
func (p *player) withPeer(msg map[string]any) bool {
	params, _ := msg["params"].(map[string]any)
	args, _ := params["operationParams"].(map[string]any)
	endpoint, _ := params["object"].(string)
	switch params["operation"] {
	case "processOffer":
		offer, _ := args["offer"].(string)
		if p.begun == len(p.names) || offer == "" {
			return false
		}
		name := p.names[p.begun]
		p.begun++
		if p.absent[name] {
			return false
		}
		edited, err := p.begin(name, endpoint, offer)
		if err != nil {
			p.differs("peer %s: %v", name, err)
			return false
		}
		args["offer"] = edited
		return true
	case "addIceCandidate":
		x, candidate := p.byObject[endpoint], args["candidate"]
		c, ok := candidate.(map[string]any)
		if x == nil || !ok || !p.replaceable(c) {
			return false
		}
		c["candidate"] = x.candidate()
		return true
	case "setStunServerPort":
		port, ok := args["stunServerPort"].(float64)
		if ok {
			args["stunServerPort"] = p.port(port)
		}
		return ok
	}
	return false
}

// replaceable tells whether a recorded candidate is one of a peer's own: the end
// of candidates is not, and names and what goes nowhere are sent as they were.
func (p *player) replaceable(c map[string]any) bool {
	text, _ := c["candidate"].(string)
	return strings.HasPrefix(text, "candidate:") && !strings.Contains(text, ".local ") && !strings.Contains(text, " 9 typ host")
}

// begin makes the peer of a recorded offer and returns the offer to send.
func (p *player) begin(name, endpoint, offer string) (string, error) {
	x, err := p.newPeer(name, offer)
	if err != nil {
		return "", err
	}
	p.peers[name], p.byObject[endpoint] = x, x
	p.all = append(p.all, x)
	own, err := x.offer()
	if err != nil {
		return "", err
	}
	return impersonate(offer, own)
}

// hand gives a peer its answer.
func (p *player) hand(q asked, got map[string]any) {
	x := p.byObject[q.endpoint]
	if q.operation != "processOffer" || x == nil {
		return
	}
	result, _ := got["result"].(map[string]any)
	answer, _ := result["value"].(string)
	if answer == "" || x.pc.SignalingState() != webrtc.SignalingStateHaveLocalOffer {
		return
	}
	if err := x.accept(answer); err != nil {
		p.differs("peer %s does not take the answer: %v", x.name, err)
	}
}
