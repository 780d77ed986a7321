package media

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
)

// peers are two PeerConnections on an emulated network, so that whole calls run in
// virtual time.
type peers struct {
	router     *vnet.Router
	alice, bob *webrtc.PeerConnection
}

func newPeers(t *testing.T) *peers {
	t.Helper()
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", MinDelay: 20 * time.Millisecond, LoggerFactory: quiet})
	check(t, err)
	p := &peers{router: router}
	p.alice, p.bob = newPeer(t, router, "10.0.0.1", quiet), newPeer(t, router, "10.0.0.2", quiet)
	check(t, router.Start())
	return p
}

func newPeer(t *testing.T, router *vnet.Router, ip string, quiet logging.LoggerFactory) *webrtc.PeerConnection {
	t.Helper()
	net, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
	check(t, err)
	check(t, router.AddNet(net))
	engine := webrtc.SettingEngine{LoggerFactory: quiet}
	engine.SetNet(net)
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	codecs := &webrtc.MediaEngine{}
	check(t, codecs.RegisterDefaultCodecs())
	api := webrtc.NewAPI(webrtc.WithSettingEngine(engine), webrtc.WithMediaEngine(codecs),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	check(t, err)
	return pc
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *peers) close(t *testing.T) {
	t.Helper()
	check(t, p.alice.Close())
	check(t, p.bob.Close())
	check(t, p.router.Stop())
}

// negotiate exchanges whole descriptions, without trickle.
func (p *peers) negotiate(t *testing.T) {
	t.Helper()
	offer, err := p.alice.CreateOffer(nil)
	check(t, err)
	gathered := webrtc.GatheringCompletePromise(p.alice)
	check(t, p.alice.SetLocalDescription(offer))
	<-gathered
	check(t, p.bob.SetRemoteDescription(*p.alice.LocalDescription()))
	answer, err := p.bob.CreateAnswer(nil)
	check(t, err)
	gathered = webrtc.GatheringCompletePromise(p.bob)
	check(t, p.bob.SetLocalDescription(answer))
	<-gathered
	check(t, p.alice.SetRemoteDescription(*p.bob.LocalDescription()))
}

// sendFrom adds a track and a source for it to alice.
func (p *peers) sendFrom(t *testing.T, pacer *Pacer, clip string) (*Source, *webrtc.RTPSender) {
	t.Helper()
	codec := mustLoad(t, clip).Codec()
	track, err := NewTrack(codec, string(codec.Kind()), "alice")
	check(t, err)
	sender, err := p.alice.AddTrack(track)
	check(t, err)
	return newTestSource(t, pacer, clip, track), sender
}

// readRTCP hands what a sender receives to its source until the sender stops.
func readRTCP(sender *webrtc.RTPSender, source *Source) {
	buf := make([]byte, 1500)
	for {
		n, _, err := sender.Read(buf)
		if err != nil {
			return
		}
		source.HandleRTCP(buf[:n])
	}
}

func readTrack(remote *webrtc.TrackRemote, sink *Sink) {
	buf := make([]byte, 1500)
	for {
		n, _, err := remote.Read(buf)
		if err != nil {
			return
		}
		sink.Push(buf[:n], time.Now())
	}
}

// Ten seconds of a call through ICE, DTLS and SRTP.
func TestTrackThroughPeerConnections(t *testing.T) {
	for _, clip := range everyCodec {
		t.Run(clip, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pacer := NewPacer(PacerConfig{})
				defer pacer.Close()
				p := newPeers(t)
				sink := newTestSink(t, SinkConfig{Codec: mustLoad(t, clip).Codec(), Expect: aliceOnly, Pacer: pacer})
				defer sink.Close()
				var remote *webrtc.TrackRemote
				p.bob.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
					remote = track
					go readTrack(track, sink)
				})
				source, sender := p.sendFrom(t, pacer, clip)
				go readRTCP(sender, source)
				check(t, source.Start()) // before there is a connection, as an app does
				p.negotiate(t)
				sleep(10 * time.Second)

				before := source.Stats()
				if err := p.bob.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(remote.SSRC())}}); err != nil {
					t.Fatal(err)
				}
				sleep(100 * time.Millisecond)
				source.Stop()
				sleep(50 * time.Millisecond)
				checkCall(t, source, sink.Stats(), before)
				p.close(t)
				synctest.Wait()
			})
		})
	}
}

func checkCall(t *testing.T, source *Source, got SinkStats, before SourceStats) {
	t.Helper()
	sent := source.Stats()
	if sent.KeyFrameRequests != before.KeyFrameRequests+1 {
		t.Errorf("%d requests for key frames", sent.KeyFrameRequests)
	}
	// Bob reads the first packets only after he saw what they are; nothing else is lost.
	if got.Good < sent.Sent-3 || got.Good < uint64(source.Clip().unitsIn(9500*time.Millisecond)) {
		t.Errorf("good %d of %d", got.Good, sent.Sent)
	}
	if got.Lost+got.RTP.Lost+got.Unmarked+got.WrongOrigin+got.Damaged+got.Freezes != 0 || sent.Errors != 0 {
		t.Errorf("%+v\n%+v", got, sent)
	}
	if d := got.Delay; d.Min < 20*time.Millisecond || d.Max > 25*time.Millisecond {
		t.Errorf("delay %v to %v on a link of 20 ms", d.Min, d.Max)
	}
}

func TestTrackUnbinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacer := NewPacer(PacerConfig{})
		defer pacer.Close()
		p := newPeers(t)
		source, sender := p.sendFrom(t, pacer, ClipVP8)
		check(t, source.Start())
		p.negotiate(t)
		sleep(2 * time.Second)
		check(t, p.alice.RemoveTrack(sender))
		sent := source.Stats()
		sleep(time.Second)
		if now := source.Stats(); now.Sent != sent.Sent || now.Errors != 0 || sent.Sent == 0 {
			t.Errorf("%d sent, then %d; %v", sent.Sent, now.Sent, now.LastError)
		}
		source.Stop()
		p.close(t)
		synctest.Wait()
	})
}

func TestTrackDescribesItself(t *testing.T) {
	for codec, want := range map[Codec]webrtc.RTPCodecType{
		VP8: webrtc.RTPCodecTypeVideo, H264: webrtc.RTPCodecTypeVideo, Opus: webrtc.RTPCodecTypeAudio,
	} {
		track, err := NewTrack(codec, "id", "stream")
		if err != nil || track.Kind() != want || track.ID() != "id" || track.StreamID() != "stream" || track.RID() != "" || track.Codec() != codec {
			t.Errorf("%v: %+v, %v", codec, track, err)
		}
		if n, err := track.WriteRTP(nil, nil); n != 0 || err != nil {
			t.Errorf("%v, unbound: %d, %v", codec, n, err)
		}
	}
	if _, err := NewTrack(0, "id", "stream"); err == nil {
		t.Error("a track without codec")
	}
}

// bindContext is what a PeerConnection that negotiated something else hands over.
type bindContext struct{ webrtc.TrackLocalContext }

func (bindContext) ID() string { return "x" }
func (bindContext) CodecParameters() []webrtc.RTPCodecParameters {
	return []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/VP9"}},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/H264", SDPFmtpLine: "packetization-mode=0"}},
	}
}

func TestTrackRefusesOtherCodecs(t *testing.T) {
	for _, codec := range []Codec{VP8, H264, Opus} {
		track, err := NewTrack(codec, "id", "stream")
		check(t, err)
		if _, err := track.Bind(bindContext{}); !errors.Is(err, webrtc.ErrUnsupportedCodec) {
			t.Errorf("%v: %v", codec, err)
		}
		if err := track.Unbind(bindContext{}); !errors.Is(err, webrtc.ErrUnbindFailed) {
			t.Errorf("%v: %v", codec, err)
		}
	}
}
