package media_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/simclient/media"
)

// mixed is what a Composite is expected to show each of n participants: the numbers of those
// whose pictures it must show.
type mixed func(n int) []int

// everyone is in the mix of a real Composite, the viewer too.
func everyone(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// A real Kurento scales every participant into a tile and codes the mix anew: markers die there, barcodes
// are read by everybody.
func TestServiceCompositeShowsEveryone(t *testing.T) {
	url := os.Getenv("CALLBENCH_KMS_URL")
	if url == "" {
		t.Skip("no Kurento, and so no real mix: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
	}
	for _, n := range []int{2, 3, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			peers := mixPeers(t, url, n)
			for _, p := range peers {
				p.send(t)
			}
			waitMixed(t, peers, everyone)
			for i, p := range peers {
				st, audio := p.viewer.Stats(), p.audio.Stats()
				if audio.RTP.Packets == 0 || audio.Good > 0 {
					t.Errorf("participant %d: %d audio packets, %d with markers that should have died", i, audio.RTP.Packets, audio.Good)
				}
				t.Logf("participant %d: %d key frames, %d broken; of %d barcodes %d read, %d unreadable; all seen after %v; %d audio packets",
					i, st.KeyFrames, st.Broken, st.Read+st.Unreadable, st.Read, st.Unreadable, p.complete.Sub(p.sending).Round(time.Millisecond), audio.RTP.Packets)
				for _, s := range p.viewer.Seen() {
					if !slices.ContainsFunc(everyone(n), func(j int) bool { return s.Barcode.Names(mixIdentity(j)) }) {
						t.Errorf("participant %d saw %v, who is not here", i, s.Barcode)
					}
				}
			}
		})
	}
}

func mixIdentity(i int) media.Identity {
	return media.Identity{Call: "room", Participant: fmt.Sprintf("user-%d", i), Track: 1}
}

// waitMixed returns when everybody has seen in one picture all whom the mix shows.
func waitMixed(t *testing.T, peers []*mixPeer, shows mixed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i, p := range peers {
		if err := p.wait(ctx, shows(len(peers))); err != nil {
			t.Fatalf("participant %d: %v; %+v, saw %v", i, err, p.viewer.Stats(), p.viewer.Seen())
		}
	}
}

// mixPeer is a participant of a Composite: its barcode and its sound go into a port, the mix comes out.
type mixPeer struct {
	pc      *webrtc.PeerConnection
	video   *media.Source
	sound   *media.Source
	viewer  *media.Viewer
	audio   *media.Sink
	looks   chan []media.Sighting
	readers sync.WaitGroup
	up      chan struct{}

	sending, complete time.Time
}

// mixPeers connects n peers with a Composite.
func mixPeers(t *testing.T, url string, n int) []*mixPeer {
	t.Helper()
	c, err := kurento.Dial(t.Context(), kurento.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	pipeline, err := c.CreateMediaPipeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := pipeline.Release(ctx); err != nil {
			t.Error(err)
		}
	})
	hub, err := c.Create(t.Context(), "Composite", map[string]any{"mediaPipeline": pipeline.ID()})
	if err != nil {
		t.Fatal(err)
	}
	pacer := media.NewPacer(media.PacerConfig{})
	t.Cleanup(func() { _ = pacer.Close() })
	peers := make([]*mixPeer, n)
	for i := range peers {
		peers[i] = newMixPeer(t, pacer, mixIdentity(i))
		peers[i].join(t, c, pipeline, hub)
	}
	for i, p := range peers {
		select {
		case <-p.up:
		case <-time.After(15 * time.Second):
			t.Fatalf("participant %d is not connected: %v", i, p.pc.ConnectionState())
		}
	}
	return peers
}

func newMixPeer(t *testing.T, pacer *media.Pacer, id media.Identity) *mixPeer {
	t.Helper()
	p := &mixPeer{looks: make(chan []media.Sighting, 1), up: make(chan struct{})}
	p.viewer = media.NewViewer(media.ViewerConfig{OnLook: func(l media.Look) {
		select { // the newest look is what counts
		case <-p.looks:
		default:
		}
		p.looks <- slices.Clone(l.Found)
	}})
	var err error
	if p.audio, err = media.NewSink(media.SinkConfig{Codec: media.Opus}); err != nil {
		t.Fatal(err)
	}
	p.connection(t)
	p.video = p.source(t, pacer, media.ClipBarcode, id)
	p.sound = p.source(t, pacer, media.ClipOpus, media.Identity{Call: id.Call, Participant: id.Participant})
	t.Cleanup(func() {
		p.video.Stop()
		p.sound.Stop()
		_ = p.pc.Close()
		p.readers.Wait()
	})
	return p
}

func (p *mixPeer) connection(t *testing.T) {
	t.Helper()
	codecs := new(webrtc.MediaEngine)
	for _, c := range []struct {
		codec media.Codec
		typ   webrtc.PayloadType
		kind  webrtc.RTPCodecType
		chans uint16
	}{{media.VP8, 96, webrtc.RTPCodecTypeVideo, 0}, {media.Opus, 111, webrtc.RTPCodecTypeAudio, 2}} {
		capability := webrtc.RTPCodecCapability{MimeType: c.codec.MimeType(), ClockRate: c.codec.ClockRate(), Channels: c.chans}
		if c.kind == webrtc.RTPCodecTypeVideo {
			capability.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}}
		}
		if err := codecs.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: capability, PayloadType: c.typ}, c.kind); err != nil {
			t.Fatal(err)
		}
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetSDPMediaLevelFingerprints(true) // as browsers do; Kurento repeats one of the session
	var err error
	if p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{}); err != nil {
		t.Fatal(err)
	}
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.readers.Go(func() { p.receive(track) }) })
	var once sync.Once
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(p.up) })
		}
	})
}

func (p *mixPeer) source(t *testing.T, pacer *media.Pacer, name string, id media.Identity) *media.Source {
	t.Helper()
	clip, err := media.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	track, err := media.NewTrack(clip.Codec(), name, "mix")
	if err != nil {
		t.Fatal(err)
	}
	source, err := media.NewSource(media.SourceConfig{Clip: clip, Identity: id, Writer: track, Pacer: pacer})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := p.pc.AddTrack(track)
	if err != nil {
		t.Fatal(err)
	}
	p.readers.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := sender.Read(buf)
			if err != nil {
				return
			}
			source.HandleRTCP(buf[:n])
		}
	})
	return source
}

// receive reads a track of the mix, and asks for a key frame a few times a second.
func (p *mixPeer) receive(track *webrtc.TrackRemote) {
	const ask = 300 * time.Millisecond
	var asked time.Time
	buf := make([]byte, 1500)
	for {
		n, _, err := track.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			p.audio.Push(buf[:n], now)
			continue
		}
		p.viewer.Push(buf[:n], now)
		if now.Sub(asked) >= ask && p.viewer.Due(now) {
			asked = now
			if p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}}) != nil {
				return
			}
		}
	}
}

// join makes an endpoint for the peer, and a port of the hub beside it.
func (p *mixPeer) join(t *testing.T, c *kurento.Client, pipeline kurento.MediaPipeline, hub kurento.ObjectID) {
	t.Helper()
	ctx := t.Context()
	endpoint, err := pipeline.CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.Create(ctx, "HubPort", map[string]any{"hub": hub})
	if err != nil {
		t.Fatal(err)
	}
	port := kurento.MediaElement{Object: c.Object(id)}
	candidates := make(chan webrtc.ICECandidateInit, 64)
	if _, err := endpoint.Subscribe(ctx, func(e kurento.Event) {
		if body, err := e.Decode(); err == nil {
			if found, ok := body.(kurento.IceCandidateFound); ok && usable(found.Candidate.Candidate) {
				line := uint16(found.Candidate.SDPMLineIndex)
				candidates <- webrtc.ICECandidateInit{Candidate: found.Candidate.Candidate, SDPMid: &found.Candidate.SDPMid, SDPMLineIndex: &line}
			}
		}
	}, kurento.EventIceCandidateFound); err != nil {
		t.Fatal(err)
	}
	if err := endpoint.Connect(ctx, port.ID()); err != nil {
		t.Fatal(err)
	}
	if err := port.Connect(ctx, endpoint.ID()); err != nil {
		t.Fatal(err)
	}
	p.negotiate(t, endpoint)
	p.readers.Go(func() {
		for {
			select {
			case candidate := <-candidates:
				_ = p.pc.AddICECandidate(candidate)
			case <-ctx.Done():
				return
			}
		}
	})
}

// usable keeps to IPv4 and UDP.
func usable(candidate string) bool {
	var foundation, transport, address string
	var component, priority int
	_, err := fmt.Sscanf(candidate, "candidate:%s %d %s %d %s", &foundation, &component, &transport, &priority, &address)
	ip := net.ParseIP(address)
	return err == nil && transport == "UDP" && ip != nil && ip.To4() != nil
}

func (p *mixPeer) negotiate(t *testing.T, endpoint kurento.WebRtcEndpoint) {
	t.Helper()
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	answer, err := endpoint.ProcessOffer(t.Context(), p.pc.LocalDescription().SDP)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	if err := endpoint.GatherCandidates(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *mixPeer) send(t *testing.T) {
	t.Helper()
	p.sending = time.Now()
	for _, s := range []*media.Source{p.video, p.sound} {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// wait returns when one picture shows these participants, and nobody else.
func (p *mixPeer) wait(ctx context.Context, shown []int) error {
	for {
		select {
		case found := <-p.looks:
			if len(found) == len(shown) && !slices.ContainsFunc(shown, func(i int) bool {
				return !slices.ContainsFunc(found, func(s media.Sighting) bool { return s.Names(mixIdentity(i)) })
			}) {
				p.complete = time.Now()
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("participants %v were not in one picture: %w", shown, ctx.Err())
		}
	}
}
