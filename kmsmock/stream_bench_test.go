package kmsmock

import (
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// BenchmarkForwardedStream sends video over loopback sockets, first between two
// bare Pion peers and then between the same kind of peers through the mock, and
// compares the CPU time of the process: what the mock adds for each packet
// (mock-ns/packet) beside what the two peers need themselves (bare-ns/packet).
func BenchmarkForwardedStream(b *testing.B) {
	bare := cpuPerPacket(b, func(from, to *streamPeer) {
		offer := from.describe(b, from.pc.CreateOffer)
		to.accept(b, webrtc.SDPTypeOffer, offer)
		from.accept(b, webrtc.SDPTypeAnswer, to.describe(b, to.pc.CreateAnswer))
	})
	through := cpuPerPacket(b, func(from, to *streamPeer) {
		s, err := New(Config{Timing: Fast, Interfaces: []string{"lo"}})
		must(b, err)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		go func() { _ = s.Serve(l) }()
		b.Cleanup(func() { _ = s.Close() })
		kms := dialURL(b, "ws://"+l.Addr().String()+"/kurento", (&net.Dialer{}).DialContext)
		b.Cleanup(kms.close)
		pipe := kms.create("MediaPipeline", nil)
		source, sink := from.join(b, kms, pipe), to.join(b, kms, pipe)
		kms.invoke(source, "connect", map[string]any{"sink": sink})
	})
	b.ReportMetric(0, "ns/op") // wall time says nothing here
	b.ReportMetric(bare, "bare-ns/packet")
	b.ReportMetric(through-bare, "mock-ns/packet")
	b.ReportMetric((through-bare)/bare, "mock/bare")
}

// cpuPerPacket connects two peers and sends b.N packets of 1,000 bytes.
func cpuPerPacket(b *testing.B, connect func(from, to *streamPeer)) float64 {
	from, to := newStreamPeer(b), newStreamPeer(b)
	connect(from, to)
	from.deliver(b, to, 1) // until the way is open
	start := processCPU(b)
	from.deliver(b, to, int64(b.N))
	return float64(processCPU(b)-start) / float64(b.N)
}

func processCPU(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// A streamPeer is a Pion peer without interceptors that sends or counts video.
type streamPeer struct {
	pc    *webrtc.PeerConnection
	track *webrtc.TrackLocalStaticRTP
	seq   uint16
	got   atomic.Int64
	came  chan struct{}
}

func newStreamPeer(b *testing.B) *streamPeer {
	se := webrtc.SettingEngine{LoggerFactory: quiet{}}
	se.SetSDPMediaLevelFingerprints(true)
	se.SetIncludeLoopbackCandidate(true)
	se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	me := &webrtc.MediaEngine{}
	must(b, me.RegisterDefaultCodecs())
	api := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	must(b, err)
	b.Cleanup(func() { _ = pc.GracefulClose() })
	p := &streamPeer{pc: pc, came: make(chan struct{}, 1)}
	p.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "v")
	must(b, err)
	_, err = pc.AddTrack(p.track)
	must(b, err)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		buf := make([]byte, 1500)
		for {
			if _, _, err := track.Read(buf); err != nil {
				return
			}
			p.got.Add(1)
			select {
			case p.came <- struct{}{}:
			default:
			}
		}
	})
	return p
}

// describe makes an offer or answer that holds all candidates.
func (p *streamPeer) describe(b *testing.B, make any) string {
	var d webrtc.SessionDescription
	var err error
	switch make := make.(type) {
	case func(*webrtc.OfferOptions) (webrtc.SessionDescription, error):
		d, err = make(nil)
	case func(*webrtc.AnswerOptions) (webrtc.SessionDescription, error):
		d, err = make(nil)
	}
	must(b, err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	must(b, p.pc.SetLocalDescription(d))
	<-gathered
	return p.pc.LocalDescription().SDP
}

func (p *streamPeer) accept(b *testing.B, typ webrtc.SDPType, sdp string) {
	must(b, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: typ, SDP: sdp}))
}

// join connects the peer to an endpoint of its own.
func (p *streamPeer) join(b *testing.B, kms *testClient, pipe string) string {
	endpoint := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
	done := make(chan struct{})
	kms.mu.Lock()
	kms.onEvent = func(e testEvent) {
		if e.typ == "IceGatheringDone" && e.object == endpoint {
			close(done)
		}
	}
	kms.mu.Unlock()
	kms.subscribe(endpoint, "IceGatheringDone")
	kms.invoke(endpoint, "processOffer", map[string]any{"offer": p.describe(b, p.pc.CreateOffer)})
	kms.invoke(endpoint, "gatherCandidates", nil)
	<-done
	p.accept(b, webrtc.SDPTypeAnswer, kms.invoke(endpoint, "getLocalSessionDescriptor", nil).(string))
	return endpoint
}

// window is how many packets are on their way at most, so that no socket
// buffer overflows.
const window = 32

// deliver sends packets until n are there; what has not come in a while is
// taken for lost.
func (p *streamPeer) deliver(b *testing.B, to *streamPeer, n int64) {
	payload := append([]byte{0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0}, make([]byte, 989)...)
	before := to.got.Load()
	for sent := int64(0); to.got.Load() < before+n; {
		underway := sent - (to.got.Load() - before)
		if underway < window {
			p.seq++
			sent++
			header := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: p.seq, Timestamp: uint32(p.seq) * 3000, Marker: true}
			must(b, p.track.WriteRTP(&rtp.Packet{Header: header, Payload: payload}))
			continue
		}
		select {
		case <-to.came:
		case <-time.After(50 * time.Millisecond):
			sent -= underway
		}
	}
}
