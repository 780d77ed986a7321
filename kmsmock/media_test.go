package kmsmock

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

var endpointEvents = []string{"Error", "IceCandidateFound", "IceGatheringDone", "IceComponentStateChanged", "NewCandidatePairSelected",
	"DtlsConnectionStateChange", "MediaSessionStarted", "MediaStateChanged", "ConnectionStateChanged", "MediaFlowInStateChanged",
	"MediaFlowOutStateChanged", "MediaTranscodingStateChanged", "ElementConnected", "ElementDisconnected"}

// testPeer is a Pion peer that sends audio and video which carry its name.
type testPeer struct {
	t        testing.TB
	name     string
	pc       *webrtc.PeerConnection
	endpoint string
	kms      *testClient
	audio    *webrtc.TrackLocalStaticSample
	video    *webrtc.TrackLocalStaticSample
	stop     chan struct{}
	wg       sync.WaitGroup
	wantKey  atomic.Bool
	keys     atomic.Int64 // key frames sent

	mu       sync.Mutex
	received map[string]int // frames by the name in them
	first    map[string]bool
	queued   []webrtc.ICECandidateInit
	ready    bool
}

func newTestPeer(t testing.TB, name string, n transport.Net) *testPeer {
	t.Helper()
	p := &testPeer{t: t, name: name, stop: make(chan struct{}), received: map[string]int{}, first: map[string]bool{}}
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetSDPMediaLevelFingerprints(true)
	if n != nil {
		se.SetNet(n)
	} else {
		se.SetIncludeLoopbackCandidate(true)
		se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	}
	me := &webrtc.MediaEngine{}
	must(t, me.RegisterDefaultCodecs())
	reg := &interceptor.Registry{}
	must(t, webrtc.ConfigureRTCPReports(reg))
	api := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(reg))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	must(t, err)
	p.pc = pc
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.wg.Go(func() { p.receive(track) }) })
	p.audio, err = webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", name)
	must(t, err)
	p.video, err = webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", name)
	must(t, err)
	for _, track := range []webrtc.TrackLocal{p.audio, p.video} {
		sender, err := pc.AddTrack(track)
		must(t, err)
		p.wg.Go(func() { p.feedback(sender) })
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *testPeer) feedback(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.FullIntraRequest, *rtcp.PictureLossIndication:
				p.wantKey.Store(true)
			}
		}
	}
}

// receive counts packets by the name that the sender put into them. Video
// carries it behind the two bytes of a minimal VP8 frame.
func (p *testPeer) receive(track *webrtc.TrackRemote) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		kind, payload := "audio:", packet.Payload
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			kind = "video:"
			key := vp8KeyFrame(payload)
			p.mu.Lock()
			if !p.first[kind] && !key {
				p.t.Errorf("%s: video begins without a key frame", p.name)
			}
			p.first[kind] = true
			p.mu.Unlock()
			payload = payload[len(payload)-1:]
		}
		p.mu.Lock()
		p.received[kind+string(payload[len(payload)-1:])]++
		p.mu.Unlock()
	}
}

func (p *testPeer) got(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received[what]
}

// join negotiates with an endpoint of the server, trickling both ways.
func (p *testPeer) join(kms *testClient, endpoint string) {
	p.t.Helper()
	p.kms, p.endpoint = kms, endpoint
	offer, err := p.pc.CreateOffer(nil)
	must(p.t, err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	must(p.t, p.pc.SetLocalDescription(offer))
	<-gathered
	answer := kms.invoke(endpoint, "processOffer", map[string]any{"offer": p.pc.LocalDescription().SDP}).(string)
	must(p.t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	p.mu.Lock()
	p.ready = true
	queued := p.queued
	p.mu.Unlock()
	for _, c := range queued {
		must(p.t, p.pc.AddICECandidate(c))
	}
	kms.invoke(endpoint, "gatherCandidates", nil)
}

func (p *testPeer) candidate(e testEvent) {
	c := e.data["candidate"].(map[string]any)
	mid, index := c["sdpMid"].(string), uint16(c["sdpMLineIndex"].(float64))
	init := webrtc.ICECandidateInit{Candidate: c["candidate"].(string), SDPMid: &mid, SDPMLineIndex: &index}
	p.mu.Lock()
	ready := p.ready
	if !ready {
		p.queued = append(p.queued, init)
	}
	p.mu.Unlock()
	if ready {
		_ = p.pc.AddICECandidate(init)
	}
}

// play sends 50 audio packets and 30 video frames a second; every 90th frame
// is a key frame, and the first after a request.
func (p *testPeer) play() {
	p.wg.Go(func() {
		p.every(20*time.Millisecond, p.audio, func(int) []byte { return []byte{0xfc, 0, 0, p.name[0]} })
	})
	p.wg.Go(func() {
		p.every(time.Second/30, p.video, func(n int) []byte {
			frame := []byte{0x01, 0, 0, p.name[0]}
			if n%90 == 0 || p.wantKey.Swap(false) {
				frame[0] = 0x00
				p.keys.Add(1)
			}
			return frame
		})
	})
}

func (p *testPeer) every(period time.Duration, track *webrtc.TrackLocalStaticSample, frame func(int) []byte) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			_ = track.WriteSample(media.Sample{Data: frame(n), Duration: period})
		}
	}
}

func (p *testPeer) close() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	_ = p.pc.GracefulClose()
	p.wg.Wait()
}

func (p *testPeer) mute() { close(p.stop) }

// virtualNet is a network with one host for the server and one per peer.
func virtualNet(t testing.TB, hosts int) []transport.Net {
	t.Helper()
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", LoggerFactory: quiet{}, MinDelay: 10 * time.Millisecond})
	must(t, err)
	var out []transport.Net
	for i := range hosts {
		n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
		must(t, err)
		must(t, router.AddNet(n))
		out = append(out, n)
	}
	must(t, router.Start())
	t.Cleanup(func() { must(t, router.Stop()) })
	return out
}

// call sets a call up between two peers, connected both ways first.
func newCall(t testing.TB, kms *testClient, a, b *testPeer) (pipe string) {
	t.Helper()
	pipe = kms.create("MediaPipeline", nil)
	var ends []string
	for range 2 {
		ends = append(ends, kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe}))
	}
	peers := map[string]*testPeer{ends[0]: a, ends[1]: b}
	kms.mu.Lock()
	before := kms.onEvent
	kms.onEvent = func(e testEvent) {
		if before != nil {
			before(e)
		}
		if p := peers[e.object]; p != nil && e.typ == "IceCandidateFound" {
			p.candidate(e)
		}
	}
	kms.mu.Unlock()
	for _, id := range ends {
		kms.subscribe(id, endpointEvents...)
	}
	kms.invoke(ends[0], "connect", map[string]any{"sink": ends[1]})
	kms.invoke(ends[1], "connect", map[string]any{"sink": ends[0]})
	a.join(kms, ends[0])
	b.join(kms, ends[1])
	return pipe
}

func eventsOf(c *testClient, object string) []string {
	var out []string
	for _, e := range c.seen() {
		if e.object == object {
			out = append(out, e.String())
		}
	}
	return out
}

func TestCallInVirtualTime(t *testing.T) {
	for name, timing := range map[string]Timing{"recorded": Recorded, "fast": Fast} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nets := virtualNet(t, 3)
				s, l := startMock(t, Config{Net: nets[0], Timing: timing})
				kms := dialTest(t, l)
				defer kms.close()
				a, b := newTestPeer(t, "A", nets[1]), newTestPeer(t, "B", nets[2])
				defer a.close()
				defer b.close()
				pipe := newCall(t, kms, a, b)
				a.play()
				b.play()
				time.Sleep(30 * time.Second)
				for _, check := range []struct {
					p    *testPeer
					what string
					min  int
				}{{a, "audio:B", 1480}, {a, "video:B", 880}, {b, "audio:A", 1480}, {b, "video:A", 880}} {
					if n := check.p.got(check.what); n < check.min {
						t.Errorf("%s got %d of %s, want at least %d", check.p.name, n, check.what, check.min)
					}
				}
				if n := a.got("audio:A") + b.got("video:B"); n > 0 {
					t.Errorf("%d packets came back to their sender", n)
				}
				events := eventsOf(kms, a.endpoint)
				for _, want := range []string{"IceComponentStateChanged 1 READY", "ConnectionStateChanged CONNECTED",
					"MediaStateChanged CONNECTED", "MediaFlowInStateChanged AUDIO FLOWING", "MediaFlowOutStateChanged VIDEO FLOWING",
					"MediaTranscodingStateChanged VIDEO NOT_TRANSCODING"} {
					if !slices.Contains(events, want) {
						t.Errorf("no event %q in %q", want, events)
					}
				}
				kms.value("release", map[string]any{"object": pipe})
				if left := s.Empty(); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		})
	}
}
