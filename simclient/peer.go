package simclient

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// leg is one PeerConnection of a call. A media server cannot restart ICE, so a
// call whose connection is lost for good goes on with a new leg.
type leg struct {
	c    *Client
	call *call
	n    int // from 1
	pc   *webrtc.PeerConnection
	ice  *webrtc.ICETransport

	iceState  webrtc.ICEConnectionState
	dtlsState webrtc.DTLSTransportState
	state     webrtc.PeerConnectionState
	pair      string // that was logged last
	early     []webrtc.DTLSTransportState

	ufrag            string
	gathered, remote int                       // candidates
	relayed          int                       // of those gathered, the ones of a TURN server
	batch            []signaling.ICECandidate  // gathered, to be sent together
	flush            *timer                    // sends the batch
	written          candidateWriter           // of the local ones
	waiting          []webrtc.ICECandidateInit // until the answer is set
	answered         bool
}

// renew replaces the call's leg because the server or this client wants to.
func (c *Client) renew(k *call, reason signaling.Reason, wants string) {
	c.callEvent(k, eventNegotiate, slog.String("reason", string(reason)), slog.String("from", wants), slog.Int("leg", k.legs+1))
	c.newLeg(k)
}

// newLeg makes the call's leg, in place of the last one if there was one, and
// sends its offer.
func (c *Client) newLeg(k *call) {
	k.renew = false
	if k.media == nil {
		return // the call is over
	}
	if err := k.media.layOut(); err != nil {
		c.failure(k, "prepare media", err)
		return
	}
	c.closeLeg(k)
	k.legs++
	k.state = callAccepted
	c.withICE(k, func() { c.startLeg(k) })
}

func (c *Client) startLeg(k *call) {
	l, err := c.openLeg(k)
	if err != nil {
		c.failure(k, "make PeerConnection", err)
		return
	}
	k.leg = l
	if err := l.offer(); err != nil {
		c.failure(k, "make offer", err)
	}
}

func (c *Client) openLeg(k *call) (*leg, error) {
	api, err := c.stack.api()
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(c.configuration())
	if err != nil {
		return nil, err
	}
	l := &leg{c: c, call: k, n: k.legs, pc: pc, written: c.newCandidateWriter(k), iceState: webrtc.ICEConnectionStateNew,
		dtlsState: webrtc.DTLSTransportStateNew, state: webrtc.PeerConnectionStateNew}
	for _, s := range k.media.sections {
		if err := c.openSection(pc, s); err != nil {
			c.group.Go(func() { pc.GracefulClose() })
			return nil, fmt.Errorf("add %s: %w", s.kind, err)
		}
	}
	l.watch(pc.SCTP().Transport())
	return l, nil
}

// openSection adds the track of a media section, or the transceiver of one that
// only receives or only sends.
func (c *Client) openSection(pc *webrtc.PeerConnection, s section) error {
	if s.sender == nil {
		_, err := pc.AddTransceiverFromKind(webrtc.NewRTPCodecType(string(s.kind)),
			webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	}
	direction := webrtc.RTPTransceiverDirectionSendrecv
	if s.sendOnly {
		direction = webrtc.RTPTransceiverDirectionSendonly
	}
	t, err := pc.AddTransceiverFromTrack(s.sender, webrtc.RTPTransceiverInit{Direction: direction})
	if err != nil {
		return err
	}
	c.group.Go(func() { s.sender.readRTCP(t.Sender()) })
	return nil
}

// do runs f on the client's queue unless the leg was replaced or closed.
func (l *leg) do(f func()) {
	l.c.q.Do(func() {
		if l.call.leg == l {
			f()
		}
	})
}

// closeLeg lets the PeerConnection go, which takes some time.
func (c *Client) closeLeg(k *call) {
	if l := k.leg; l != nil {
		k.leg = nil
		l.flush.stop()
		c.group.Go(func() {
			if err := l.pc.GracefulClose(); err != nil {
				c.q.Do(func() { c.failure(k, "close PeerConnection", err) })
			}
		})
	}
}

// watch follows the PeerConnection and the one transport that all media shares.
func (l *leg) watch(dtls *webrtc.DTLSTransport) {
	l.ice = dtls.ICETransport()
	l.pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		l.do(func() { l.onLocalCandidate(candidate) })
	})
	l.pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) { l.do(func() { l.onICE(s) }) })
	dtls.OnStateChange(func(s webrtc.DTLSTransportState) { l.do(func() { l.onDTLS(s) }) })
	l.ice.OnSelectedCandidatePairChange(func(p *webrtc.ICECandidatePair) { l.do(func() { l.onPair(p) }) })
	l.pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		l.do(func() { l.call.media.receive(track, receiver) })
	})
}

func (l *leg) event(kind string, attrs ...slog.Attr) {
	l.c.callEvent(l.call, kind, append(attrs, slog.Int("leg", l.n))...)
}

// offer makes the offer and sends it; gathering begins.
func (l *leg) offer() error {
	offer, err := l.pc.CreateOffer(nil)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	l.ufrag = usernameFragment(offer.SDP)
	text, err := l.c.cfg.Profile.wording.write(offer.SDP, l.call.media.names)
	if err != nil {
		return err
	}
	if err := l.pc.SetLocalDescription(offer); err != nil {
		return fmt.Errorf("set local description: %w", err)
	}
	l.call.offers = append(l.call.offers, l)
	rtc := l.call.ref()
	rtc.SDP = text
	l.sendOffer(rtc)
	return nil
}

func usernameFragment(sdp string) string {
	_, after, _ := strings.Cut(sdp, "a=ice-ufrag:")
	ufrag, _, _ := strings.Cut(after, "\r\n")
	return ufrag
}

// setAnswer sets the media server's answer, and the candidates that came
// before it.
func (l *leg) setAnswer(sdp string) {
	err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp})
	if err != nil {
		l.c.failure(l.call, "set answer", err)
		return
	}
	l.answered = true
	waiting := l.waiting
	l.waiting = nil
	for _, candidate := range waiting {
		l.addRemote(candidate)
	}
}

func (l *leg) addRemote(candidate webrtc.ICECandidateInit) {
	if !l.answered {
		l.waiting = append(l.waiting, candidate)
		return
	}
	if err := l.pc.AddICECandidate(candidate); err != nil {
		l.c.failure(l.call, "add ICE candidate", err)
	}
}

func (l *leg) onICE(s webrtc.ICEConnectionState) {
	if s == l.iceState {
		return
	}
	l.iceState = s
	l.event(eventICE, slog.String("state", s.String()))
	if s == webrtc.ICEConnectionStateConnected {
		if pair, err := l.ice.GetSelectedCandidatePair(); err == nil && pair != nil {
			l.onPair(pair)
		}
	}
	l.update()
	early := l.early
	l.early = nil
	for _, d := range early {
		l.onDTLS(d)
	}
	switch s {
	case webrtc.ICEConnectionStateDisconnected:
		l.c.probe()
	case webrtc.ICEConnectionStateFailed:
		l.c.link.level.mediaLost(l.call)
	}
}

// onDTLS takes a state of DTLS. Pion tells ICE's and DTLS's from goroutines of
// their own; DTLS begins because ICE is connected, and is logged behind it.
func (l *leg) onDTLS(s webrtc.DTLSTransportState) {
	if l.iceState == webrtc.ICEConnectionStateNew || l.iceState == webrtc.ICEConnectionStateChecking {
		l.early = append(l.early, s)
		return
	}
	l.dtlsState = s
	l.event(eventDTLS, slog.String("state", s.String()))
	l.update()
}

// onPair logs a new pair, but not before ICE is connected: Pion tells both
// from goroutines of their own, and this way the order is always the same.
func (l *leg) onPair(p *webrtc.ICECandidatePair) {
	if l.iceState != webrtc.ICEConnectionStateConnected || p.String() == l.pair {
		return
	}
	l.pair = p.String()
	l.event(eventPair, slog.String("local_type", p.Local.Typ.String()), slog.String("remote_type", p.Remote.Typ.String()),
		slog.String("protocol", p.Local.Protocol.String()))
}

// update derives the state of the PeerConnection from those of its transports,
// as the W3C's WebRTC §4.4.3 does. Pion tells it from a new goroutine each
// time, so that its order would be chance.
func (l *leg) update() {
	state := combine(l.iceState, l.dtlsState)
	if state == l.state {
		return
	}
	l.state = state
	l.event(eventPC, slog.String("state", state.String()))
	if state == webrtc.PeerConnectionStateConnected && l.call.state == callAccepted {
		l.call.state = callConnected
		l.event(eventConnected)
		l.call.media.start()
	}
}

func combine(i webrtc.ICEConnectionState, d webrtc.DTLSTransportState) webrtc.PeerConnectionState {
	switch {
	case i == webrtc.ICEConnectionStateFailed || d == webrtc.DTLSTransportStateFailed:
		return webrtc.PeerConnectionStateFailed
	case i == webrtc.ICEConnectionStateDisconnected:
		return webrtc.PeerConnectionStateDisconnected
	case i == webrtc.ICEConnectionStateNew && d == webrtc.DTLSTransportStateNew:
		return webrtc.PeerConnectionStateNew
	case i == webrtc.ICEConnectionStateNew || i == webrtc.ICEConnectionStateChecking ||
		d == webrtc.DTLSTransportStateNew || d == webrtc.DTLSTransportStateConnecting:
		return webrtc.PeerConnectionStateConnecting
	default:
		return webrtc.PeerConnectionStateConnected
	}
}
