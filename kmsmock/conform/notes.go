package conform

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// note follows a note that tells what the client or the server did.
func (p *player) note(l *transcript.Line) {
	for _, a := range actions {
		if strings.HasPrefix(l.Note, a.prefix) {
			p.until(l)
			a.do(p, l)
			return
		}
	}
}

const clientCloses = "client closes websocket"

// actions are the notes that make the player do something.
var actions = []struct {
	prefix string
	do     func(p *player, l *transcript.Line)
}{
	{clientCloses, (*player).closeConn},
	{"client drops TCP", func(p *player, l *transcript.Line) { p.conn(l).drop() }},
	{"--- websocket close 1001", func(p *player, _ *transcript.Line) { p.closing = 1001 }},
	{"SIGKILL sent", (*player).stopServer},
	{"graceful stop", func(p *player, _ *transcript.Line) { p.stopping = true }},
	{"started again", (*player).startServer},
	{"dial failed", (*player).dialFails},
	{"websocket-level ping", (*player).ping},
	{"peer starts sending", (*player).startSending},
	{"peer stops sending", (*player).stopSending},
	{"pause sending", eachPeer(func(x *peer) { x.pause() })},
	{"resume sending", eachPeer(func(x *peer) { x.play() })},
	{"peer closes its PeerConnection", eachPeer((*peer).hangUp)},
	{"chromium pc.close()", eachPeer((*peer).hangUp)},
	{"peer connection closed", onePeer((*peer).hangUp)},
	{"chromium connectionState", (*player).browserState},
	{"the peer vanishes", eachPeer((*peer).vanish)},
	{"peer datachannel message", (*player).message},
	{"chromium dc message", (*player).message},
	{"peer OnDataChannel", (*player).channel},
}

func onePeer(f func(*peer)) func(*player, *transcript.Line) {
	return func(p *player, l *transcript.Line) {
		if x := p.peers[l.Peer]; x != nil {
			f(x)
		}
	}
}

func eachPeer(f func(*peer)) func(*player, *transcript.Line) {
	return func(p *player, _ *transcript.Line) {
		for _, x := range p.all {
			f(x)
		}
	}
}

func (p *player) closeConn(l *transcript.Line) {
	if c := p.conn(l); c.ws != nil && !c.over {
		c.close(cmp.Or(l.CloseCode, websocket.CloseNormalClosure), l.CloseText)
	}
}

// startSending lets a peer send, all that it has or the medium in the note.
func (p *player) startSending(l *transcript.Line) {
	if x := p.peers[l.Peer]; x != nil {
		x.play(mediaOf(l)...)
	}
}

func (p *player) stopSending(l *transcript.Line) {
	if x := p.peers[l.Peer]; x != nil {
		x.pause(mediaOf(l)...)
	}
}

// message sends a message that came back in the recording, and waits for it.
func (p *player) message(l *transcript.Line) {
	x := p.peers[l.Peer]
	if x == nil {
		return
	}
	text := l.Text
	if text == "" {
		_ = json.Unmarshal(l.Value, &text)
	}
	if err := x.echo(text); err != nil {
		p.differs("message %q over the data channel: %v", text, err)
	}
}

// channel waits for a data channel that the server opens.
func (p *player) channel(l *transcript.Line) {
	if x := p.peers[l.Peer]; x != nil {
		if err := x.isGiven(l.Label); err != nil {
			p.differs("data channel %q of the server: %v", l.Label, err)
		}
	}
}

func (p *player) stopServer(*transcript.Line) {
	if err := p.target.Stop(); err != nil {
		p.differs("stop the server: %v", err)
	}
}

func (p *player) startServer(*transcript.Line) {
	if err := p.target.Start(); err != nil {
		p.differs("start the server: %v", err)
	}
}
