package media_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock"
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
	kms := os.Getenv("CALLBENCH_KMS_URL")
	if kms == "" {
		t.Skip("no Kurento, and so no real mix: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
	}
	for _, n := range []int{2, 3, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			peers := mixPeers(t, kms, n)
			for _, p := range peers {
				p.send(t)
			}
			waitMixed(t, peers, everyone)
			for i, p := range peers {
				p.judgeMix(t, i, n)
			}
		})
	}
}

// judgeMix looks at ten pictures more: nearly every barcode is read, none is of somebody else, each
// picture moves. Sound arrives, and no marker in it.
func (p *mixPeer) judgeMix(t *testing.T, i, n int) {
	t.Helper()
	const pictures = 10
	read := 0
	for range pictures {
		select {
		case found := <-p.looks:
			read += len(found)
		case <-time.After(15 * time.Second):
			t.Fatalf("participant %d: no more key frames: %+v", i, p.viewer.Stats())
		}
	}
	st, audio := p.viewer.Stats(), p.audio.Stats()
	t.Logf("participant %d: all seen after %v; then %d of %d barcodes in %d pictures; in all %d key frames, %d broken, %d barcodes unreadable; %d audio packets",
		i, p.complete.Sub(p.sending).Round(time.Millisecond), read, pictures*n, pictures, st.KeyFrames, st.Broken, st.Unreadable, audio.RTP.Packets)
	if read < pictures*n*9/10 || read > pictures*n {
		t.Errorf("participant %d read %d barcodes in %d pictures of %d", i, read, pictures, n)
	}
	if audio.RTP.Packets == 0 || audio.Good > 0 || audio.Unmarked == 0 {
		t.Errorf("participant %d: %d audio packets, %d with markers that should have died", i, audio.RTP.Packets, audio.Good)
	}
	for j := range n {
		if s, _ := p.viewer.Saw(mixIdentity(j)); !s.Moved.After(s.First.At) {
			t.Errorf("participant %d: the picture of %d stands still", i, j)
		}
	}
	if seen := p.viewer.Seen(); len(seen) != n {
		t.Errorf("participant %d saw others: %v", i, seen)
	}
}

// The mock mixes nothing: whoever began to speak last is seen by all, as a whole picture, and is heard
// with markers.
func TestMockCompositeShowsWhoSpokeLast(t *testing.T) {
	const n = 3
	peers := mixPeers(t, startMock(t), n)
	for i, p := range peers {
		p.send(t)
		waitMixed(t, peers, func(int) []int { return []int{i} })
	}
	for i, p := range peers {
		if st := p.audio.Stats(); st.Good == 0 || st.Unmarked > 0 {
			t.Errorf("participant %d: %d audio packets with markers, %d without", i, st.Good, st.Unmarked)
		}
	}
}

// startMock serves a mock on loopback.
func startMock(t *testing.T) (url string) {
	t.Helper()
	mock, err := kmsmock.New(kmsmock.Config{Interfaces: []string{"lo"}, Timing: kmsmock.Fast})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- mock.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(mock.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return "ws://" + ln.Addr().String() + "/kurento"
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
	loopback bool
	pc       *webrtc.PeerConnection
	video    *media.Source
	sound    *media.Source
	viewer   *media.Viewer
	audio    *media.Sink
	looks    chan []media.Sighting
	readers  sync.WaitGroup
	up       chan struct{}

	sending, complete time.Time
}

// mixPeers connects n peers with a Composite.
func mixPeers(t *testing.T, kms string, n int) []*mixPeer {
	t.Helper()
	c, err := kurento.Dial(t.Context(), kurento.Config{URL: kms})
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
		peers[i] = newMixPeer(t, pacer, mixIdentity(i), near(kms))
		peers[i].join(t, c, pipeline, hub)
	}
	for i, p := range peers {
		select {
		case <-p.up:
		case <-time.After(15 * time.Second):
			t.Fatalf("participant %d is not connected: %v, ICE %v", i, p.pc.ConnectionState(), p.pc.ICEConnectionState())
		}
	}
	return peers
}

// near tells whether the media server is reached over loopback; media keep to it then.
func near(kms string) bool {
	u, err := url.Parse(kms)
	return err == nil && net.ParseIP(u.Hostname()).IsLoopback()
}

func newMixPeer(t *testing.T, pacer *media.Pacer, id media.Identity, loopback bool) *mixPeer {
	t.Helper()
	p := &mixPeer{loopback: loopback, looks: make(chan []media.Sighting, 1), up: make(chan struct{})}
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
	if p.loopback {
		s.SetIncludeLoopbackCandidate(true)
		s.SetIPFilter(net.IP.IsLoopback)
	}
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
			if found, ok := body.(kurento.IceCandidateFound); ok && p.takes(found.Candidate.Candidate) {
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

// takes keeps to IPv4 and UDP, and to component 1: RTCP goes with RTP, but Kurento gathers for both
// components, and Pion, which knows one only, at times connects to the other, where nothing
// else happens.
func (p *mixPeer) takes(candidate string) bool {
	var foundation, transport, address string
	var component, priority int
	_, err := fmt.Sscanf(candidate, "candidate:%s %d %s %d %s", &foundation, &component, &transport, &priority, &address)
	ip := net.ParseIP(address)
	return err == nil && component == 1 && transport == "UDP" && ip.To4() != nil && ip.IsLoopback() == p.loopback
}

func (p *mixPeer) negotiate(t *testing.T, endpoint kurento.WebRtcEndpoint) {
	t.Helper()
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := make(chan webrtc.ICECandidateInit, 64)
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			close(gathered)
			return
		}
		gathered <- c.ToJSON()
	})
	if err := p.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	answer, err := endpoint.ProcessOffer(t.Context(), offer.SDP)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	if err := endpoint.GatherCandidates(t.Context()); err != nil {
		t.Fatal(err)
	}
	for c := range gathered {
		if err := endpoint.AddIceCandidate(t.Context(), kurento.IceCandidate{Candidate: c.Candidate, SDPMid: *c.SDPMid, SDPMLineIndex: int(*c.SDPMLineIndex)}); err != nil {
			t.Fatal(err)
		}
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
