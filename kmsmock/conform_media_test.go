package kmsmock

import (
	"strings"

	"github.com/gorilla/websocket"
	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"
)

// media follows the notes about peers.
func (p *player) media(l *line) {
	peer := p.peers[l.Peer]
	switch {
	case peer != nil && strings.HasPrefix(l.Note, "peer starts sending"):
		peer.play()
	case strings.HasPrefix(l.Note, "--- websocket close 1001"):
		p.closing = websocket.CloseGoingAway
	case strings.HasPrefix(l.Note, "pause sending"):
		p.until(l)
		p.eachPeer((*testPeer).pause)
	case strings.HasPrefix(l.Note, "resume sending"):
		p.until(l)
		p.eachPeer((*testPeer).play)
	case strings.HasPrefix(l.Note, "peer closes its PeerConnection"):
		p.until(l)
		p.eachPeer((*testPeer).close)
	case strings.HasPrefix(l.Note, "the peer vanishes"):
		p.until(l)
		p.eachPeer((*testPeer).vanish)
	}
}

func (p *player) eachPeer(f func(*testPeer)) {
	for _, name := range p.newPeers {
		if peer := p.peers[name]; peer != nil {
			f(peer)
		}
	}
}

// withPeer replaces the descriptions and candidates of a recorded peer by
// those of a live one; nil means that the request has none.
func (p *player) withPeer(msg map[string]any) map[string]any {
	params, _ := msg["params"].(map[string]any)
	args, _ := params["operationParams"].(map[string]any)
	endpoint, _ := params["object"].(string)
	switch params["operation"] {
	case "processOffer":
		if len(p.peers) == len(p.newPeers) {
			return nil
		}
		name := p.newPeers[len(p.peers)]
		var n transport.Net
		if p.nets != nil {
			n = p.nets[len(p.peers)]
		}
		peer := newTestPeer(p.t, name, n, strings.Contains(args["offer"].(string), "a=fingerprint") &&
			strings.Index(args["offer"].(string), "a=fingerprint") < strings.Index(args["offer"].(string), "m="))
		p.peers[name], p.byObject[endpoint] = peer, peer
		args["offer"] = peer.offer()
		return msg
	case "addIceCandidate":
		if peer := p.byObject[endpoint]; peer != nil {
			args["candidate"].(map[string]any)["candidate"] = peer.own
			return msg
		}
	}
	return nil
}

// answered gives a peer its answer.
func (p *player) answered(op string, want, got map[string]any) {
	if op != "processOffer" || len(p.peers) == 0 {
		return
	}
	result, _ := got["result"].(map[string]any)
	answer, _ := result["value"].(string)
	for _, peer := range p.peers {
		if peer.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
			peer.accept(answer)
		}
	}
}
