package simclient

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// hub is a media server that forwards what it receives on one leg to the newest
// leg of the other user. Its methods are called with the server's lock.
type hub struct {
	t    *testing.T
	api  *webrtc.API
	legs []*hubLeg // of all calls; the newest of a user counts
	// extra candidates are sent to a client along with the real ones.
	extra []string
	// echo sends media back to where it came from.
	echo bool
	wg   sync.WaitGroup

	mu sync.Mutex // for what Pion's callbacks look at
}

type hubLeg struct {
	user string
	pc   *webrtc.PeerConnection
	out  map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP
	in   map[webrtc.RTPCodecType]webrtc.SSRC
}

func newHub(t *testing.T, network transport.Net) *hub {
	t.Helper()
	codecs := new(webrtc.MediaEngine)
	vp8, opus := Electron().Video[0], Electron().Audio[0]
	if err := codecs.RegisterCodec(vp8, webrtc.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	if err := codecs.RegisterCodec(opus, webrtc.RTPCodecTypeAudio); err != nil {
		t.Fatal(err)
	}
	var s webrtc.SettingEngine
	if network != nil {
		s.SetNet(network)
	}
	s.SetIncludeLoopbackCandidate(network == nil)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.LoggerFactory = settings(&Config{}).LoggerFactory
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleClient); err != nil {
		t.Fatal(err)
	}
	none := Interceptors(Lean)
	registry, err := none.registry()
	if err != nil {
		t.Fatal(err)
	}
	return &hub{t: t, api: webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithSettingEngine(s),
		webrtc.WithInterceptorRegistry(registry))}
}

// offer answers an offer with a new leg.
func (h *hub) offer(s *fakeSession, in signaling.RTC) error {
	pc, err := h.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	l := &hubLeg{user: s.user, pc: pc, out: map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP{},
		in: map[webrtc.RTPCodecType]webrtc.SSRC{}}
	if err := h.addTracks(l); err != nil {
		return err
	}
	h.mu.Lock()
	h.legs = append(h.legs, l)
	h.mu.Unlock()
	ref := signaling.RTC{CallID: in.CallID, RoomID: in.RoomID}
	var found []signaling.RTC
	var mu sync.Mutex
	answered := false
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		rtc := ref
		if c != nil {
			rtc.Candidate = c.ToJSON().Candidate
		}
		mu.Lock()
		defer mu.Unlock()
		if !answered {
			found = append(found, rtc)
			return
		}
		h.wg.Go(func() { s.srv.locked(func() { s.rtc(signaling.ActionCandidate, rtc) }) })
	})
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { h.forward(l, track) })
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: in.SDP}); err != nil {
		return err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := pc.SetLocalDescription(answer); err != nil {
		return err
	}
	for _, c := range h.extra {
		rtc := ref
		rtc.Candidate = c
		s.rtc(signaling.ActionCandidate, rtc)
	}
	s.rtc(signaling.ActionAnswer, signaling.RTC{CallID: in.CallID, RoomID: in.RoomID, SDP: answer.SDP})
	mu.Lock()
	defer mu.Unlock()
	answered = true
	for _, rtc := range found {
		s.rtc(signaling.ActionCandidate, rtc)
	}
	return nil
}

func (h *hub) addTracks(l *hubLeg) error {
	for _, codec := range []webrtc.RTPCodecParameters{Electron().Audio[0], Electron().Video[0]} {
		kind := webrtc.NewRTPCodecType(strings.Split(codec.MimeType, "/")[0])
		track, err := webrtc.NewTrackLocalStaticRTP(codec.RTPCodecCapability, kind.String(), "default")
		if err != nil {
			return err
		}
		l.out[kind] = track
		sender, err := l.pc.AddTrack(track)
		if err != nil {
			return err
		}
		h.wg.Go(func() { h.passRTCP(l, kind, sender) })
	}
	return nil
}

// passRTCP hands a request for a key frame on to who sends.
func (h *hub) passRTCP(l *hubLeg, kind webrtc.RTPCodecType, sender *webrtc.RTPSender) {
	for {
		if _, _, err := sender.ReadRTCP(); err != nil {
			return
		}
		h.keyFrame(l)
	}
}

// keyFrame asks who sends to this leg for a key frame.
func (h *hub) keyFrame(l *hubLeg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from := h.other(l); from != nil {
		if ssrc, ok := from.in[webrtc.RTPCodecTypeVideo]; ok {
			from.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}})
		}
	}
}

// other is where a leg's media goes; h.mu is held.
func (h *hub) other(l *hubLeg) *hubLeg {
	for _, o := range slices.Backward(h.legs) {
		if (o.user == l.user) == h.echo {
			return o
		}
	}
	return nil
}

func (h *hub) forward(l *hubLeg, track *webrtc.TrackRemote) {
	h.mu.Lock()
	l.in[track.Kind()] = track.SSRC()
	h.mu.Unlock()
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		h.mu.Lock()
		to := h.other(l)
		h.mu.Unlock()
		if to != nil {
			to.out[track.Kind()].WriteRTP(p)
		}
	}
}

func (h *hub) candidate(s *fakeSession, in signaling.RTC) error {
	if l := h.of(s.user); l != nil {
		return l.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: in.Candidate})
	}
	return signaling.Errorf(signaling.CodeBadState, "candidate before offer")
}

// of is the newest leg of a user.
func (h *hub) of(user string) *hubLeg {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range slices.Backward(h.legs) {
		if l.user == user {
			return l
		}
	}
	return nil
}

func (h *hub) close() {
	h.mu.Lock()
	legs := slices.Clone(h.legs)
	h.mu.Unlock()
	for _, l := range legs {
		l.pc.GracefulClose()
	}
	h.wg.Wait()
}
