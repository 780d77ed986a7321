package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// peer is a PeerConnection that has its offer and all its candidates before the
// clock starts: what is measured is how long it takes to connect.
type peer struct {
	pc    *webrtc.PeerConnection
	offer string
	up    chan struct{} // closed when it is connected
	upAt  time.Time

	mu    sync.Mutex
	ready bool // it has its answer
	early []webrtc.ICECandidateInit
	err   error
}

func peerAPI() (*webrtc.API, error) {
	var s webrtc.SettingEngine
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetIncludeLoopbackCandidate(true)
	s.SetInterfaceFilter(func(name string) bool { return strings.HasPrefix(name, "lo") })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(m)), nil
}

func newPeer(api *webrtc.API) (*peer, error) {
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	p := &peer{pc: pc, up: make(chan struct{})}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			p.upAt = time.Now()
			close(p.up)
		}
	})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := pc.AddTransceiverFromKind(kind); err != nil {
			return nil, err
		}
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	<-gathered
	p.offer = pc.LocalDescription().SDP
	return p, nil
}

// answer takes the media server's answer, and the candidates that were there
// before it.
func (p *peer) answer(sdp string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		p.err = err
		return
	}
	p.ready = true
	for _, c := range p.early {
		p.add(c)
	}
}

// candidate takes a candidate of the media server's.
func (p *peer) candidate(c signaling.ICECandidate) {
	if c.Candidate == "" {
		return
	}
	in := webrtc.ICECandidateInit{Candidate: c.Candidate, SDPMid: &c.SDPMid}
	if c.SDPMLineIndex != nil {
		index := uint16(*c.SDPMLineIndex)
		in.SDPMLineIndex = &index
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ready {
		p.early = append(p.early, in)
		return
	}
	p.add(in)
}

// add adds a candidate. One that the peer cannot use, as those of TCP, is none.
func (p *peer) add(c webrtc.ICECandidateInit) { _ = p.pc.AddICECandidate(c) }

// wait waits until the peer is connected.
func (p *peer) wait(ctx context.Context) error {
	select {
	case <-p.up:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err != nil {
			return p.err
		}
		return errLate
	}
}

// kurentoOffer is the offer with its fingerprint where Kurento reads it: in the
// media sections.
func kurentoOffer(sdp string) string {
	head, media, _ := strings.Cut(sdp, "m=")
	for l := range strings.Lines(head) {
		if strings.HasPrefix(l, "a=fingerprint:") {
			head = strings.Replace(head, l, "", 1)
			media = strings.ReplaceAll(media, "a=mid:", l+"a=mid:")
		}
	}
	return fmt.Sprint(head, "m=", media)
}
