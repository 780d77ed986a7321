package kmsmock

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

var endpointEvents = []string{"Error", "IceCandidateFound", "IceGatheringDone", "IceComponentStateChanged", "NewCandidatePairSelected",
	"DtlsConnectionStateChange", "MediaSessionStarted", "MediaStateChanged", "ConnectionStateChanged", "MediaFlowInStateChanged",
	"MediaFlowOutStateChanged", "MediaTranscodingStateChanged", "ElementConnected", "ElementDisconnected"}

// testPeer is a Pion peer that sends audio and video which carry its name.
type testPeer struct {
	t         testing.TB
	name      string
	pc        *webrtc.PeerConnection
	endpoint  string
	kms       *testClient
	audio     *webrtc.TrackLocalStaticSample
	video     *webrtc.TrackLocalStaticSample
	net       *switchNet
	lastVideo rtp.Header
	own       string                                   // its first candidate
	set       map[string]any                           // properties of its endpoint
	mute      bool                                     // keep candidates to itself
	unbundled bool                                     // offer no BUNDLE group
	frame     int                                      // bytes of a video frame, 0 for few
	onRTCP    func(kind string, packets []rtcp.Packet) // of the server
	stop      chan struct{}                            // ends playing; nil while silent
	playing   sync.WaitGroup
	wg        sync.WaitGroup
	wantKey   atomic.Bool
	keys      atomic.Int64 // key frames sent

	mu       sync.Mutex
	more     *sync.Cond
	closed   bool
	received map[string]int // frames by the name in them
	first    map[string]bool
	queued   []webrtc.ICECandidateInit
	ready    bool
}

// newTestPeer makes a peer on a virtual host, or on the loopback interface. Its
// fingerprint stands in each m-section as browsers have it, or at the head of
// the description as Pion has it.
func newTestPeer(t testing.TB, name string, n transport.Net, sessionFingerprint bool) *testPeer {
	t.Helper()
	return newTestPeerWith(t, name, n, sessionFingerprint, func(*webrtc.SettingEngine) {})
}

// newTestPeerWith makes a peer with settings of its own.
func newTestPeerWith(t testing.TB, name string, n transport.Net, sessionFingerprint bool, settings func(*webrtc.SettingEngine)) *testPeer {
	t.Helper()
	p := &testPeer{t: t, name: name, received: map[string]int{}, first: map[string]bool{}, net: &switchNet{Net: n}}
	p.more = sync.NewCond(&p.mu)
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetSDPMediaLevelFingerprints(!sessionFingerprint)
	if n == nil {
		std, err := stdnet.NewNet()
		must(t, err)
		p.net.Net = std
		se.SetIncludeLoopbackCandidate(true)
		se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	}
	se.SetNet(p.net)
	settings(&se)
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
		if p.onRTCP != nil {
			p.onRTCP(sender.Track().Kind().String(), packets)
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
			p.lastVideo = packet.Header
			if !p.first[kind] && !key {
				p.t.Errorf("%s: video begins without a key frame", p.name)
			}
			p.first[kind] = true
			p.mu.Unlock()
		}
		p.mu.Lock()
		p.received[kind+string(payload[len(payload)-1:])]++
		p.more.Broadcast()
		p.mu.Unlock()
	}
}

// await blocks until so many packets have come, or the peer is closed.
func (p *testPeer) await(what string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.received[what] < n && !p.closed {
		p.more.Wait()
	}
}

func (p *testPeer) got(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received[what]
}

// offer makes the peer's offer, without candidates.
func (p *testPeer) offer() string {
	p.t.Helper()
	offer, err := p.pc.CreateOffer(nil)
	must(p.t, err)
	found := make(chan string, 16)
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			found <- c.ToJSON().Candidate
		}
	})
	must(p.t, p.pc.SetLocalDescription(offer))
	p.own = <-found
	return offer.SDP
}

func (p *testPeer) accept(answer string) {
	p.t.Helper()
	must(p.t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	p.mu.Lock()
	p.ready = true
	queued := p.queued
	p.mu.Unlock()
	for _, c := range queued {
		must(p.t, p.pc.AddICECandidate(c))
	}
}

// join negotiates with an endpoint of the server, trickling both ways.
func (p *testPeer) join(kms *testClient, endpoint string) {
	p.t.Helper()
	p.kms, p.endpoint = kms, endpoint
	offer := p.offer()
	if p.unbundled {
		offer = strings.Replace(offer, "a=group:BUNDLE 0 1\r\n", "", 1)
	}
	answer := kms.invoke(endpoint, "processOffer", map[string]any{"offer": offer}).(string)
	if p.unbundled {
		answer = strings.Replace(answer, "m=audio", "a=group:BUNDLE 0 1\r\nm=audio", 1)
	}
	if !p.mute {
		kms.invoke(endpoint, "addIceCandidate", map[string]any{
			"candidate": map[string]any{"candidate": p.own, "sdpMid": "0", "sdpMLineIndex": 0},
		})
	}
	p.accept(answer)
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

// vp8Frame is a frame whose header parses, with the peer's name at its end.
func (p *testPeer) vp8Frame(key bool) []byte {
	const partition = 16
	frame := []byte{0x10 | (partition&7)<<5, partition >> 3, 0}
	if !key {
		frame[0] |= 1
	} else {
		frame = append(frame, 0x9d, 0x01, 0x2a, 64, 0, 64, 0)
	}
	return append(frame, append(make([]byte, max(p.frame, 40)), p.name[len(p.name)-1])...)
}

// play sends 50 audio packets and 30 video frames a second; every 90th frame
// is a key frame, and the first after a request.
func (p *testPeer) play() {
	stop := make(chan struct{})
	p.stop = stop
	audio := append([]byte{0xfc}, append(make([]byte, 20), p.name[len(p.name)-1])...)
	p.playing.Go(func() { p.every(stop, 20*time.Millisecond, p.audio, func(int) []byte { return audio }) })
	p.playing.Go(func() {
		p.every(stop, time.Second/30, p.video, func(n int) []byte {
			key := p.wantKey.Swap(false) || n%90 == 0
			if key {
				p.keys.Add(1)
			}
			return p.vp8Frame(key)
		})
	})
}

func (p *testPeer) every(stop chan struct{}, period time.Duration, track *webrtc.TrackLocalStaticSample, frame func(int) []byte) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
			_ = track.WriteSample(media.Sample{Data: frame(n), Duration: period})
		}
	}
}

// pause ends playing; the network stays.
func (p *testPeer) pause() {
	if p.stop != nil {
		close(p.stop)
		p.playing.Wait()
		p.stop = nil
	}
}

func (p *testPeer) close() {
	p.pause()
	p.mu.Lock()
	p.closed = true
	p.more.Broadcast()
	p.mu.Unlock()
	_ = p.pc.GracefulClose()
	p.wg.Wait()
}

// A switchNet is a network whose packets can be made to vanish.
type switchNet struct {
	transport.Net
	down  atomic.Bool
	heard atomic.Int64 // RTP packets that arrived
	lose  atomic.Bool  // lose the next packet of VP8
}

func (n *switchNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return &switchConn{UDPConn: c, net: n}, nil
}

type switchConn struct {
	transport.UDPConn
	net *switchNet
}

func (c *switchConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	if err == nil && n > 1 && b[0] >= 128 && (b[1]&0x7f < 64 || b[1]&0x7f > 95) {
		c.net.heard.Add(1)
	}
	return n, from, err
}

func (c *switchConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if c.net.down.Load() || (len(b) > 60 && b[0] >= 128 && b[1]&0x7f == 96 && c.net.lose.Swap(false)) {
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, addr)
}

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
				a, b := newTestPeer(t, "A", nets[1], false), newTestPeer(t, "B", nets[2], false)
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
				if left := s.Left(); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		})
	}
}
