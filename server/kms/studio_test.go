package kms_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/simclient/media"
)

// studio is a media server on sockets, with peers that send and receive media.
type studio struct {
	t        *testing.T
	url      string
	real     bool // a Kurento: it mixes, and moves media through its own threads
	loopback bool
	media    *kms.Media
	pacer    *media.Pacer
}

// studios runs a test with the mock, and with a real Kurento where
// CALLBENCH_KMS_URL names one.
func studios(t *testing.T, test func(t *testing.T, s *studio)) {
	t.Run("mock", func(t *testing.T) {
		if testing.Short() {
			t.Skip("media flow in real time, for seconds")
		}
		test(t, newStudio(t, serveMock(t), false))
	})
	t.Run("kurento", func(t *testing.T) { test(t, newStudio(t, kurentoURL(t), true)) })
}

// kurentoURL is where a real Kurento is, or skips the test.
func kurentoURL(t *testing.T) string {
	t.Helper()
	at := os.Getenv("CALLBENCH_KMS_URL")
	if at == "" {
		t.Skip("no Kurento: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
	}
	return at
}

func serveMock(t *testing.T) string {
	t.Helper()
	mock, err := kmsmock.New(kmsmock.Config{Interfaces: []string{"lo"}, Timing: kmsmock.Fast})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- mock.Serve(ln) }()
	t.Cleanup(func() {
		if left := mock.Left(); len(left) != 0 {
			t.Errorf("left on the media server: %q", left)
		}
		must(t, errors.Join(mock.Close(), <-served))
	})
	return "ws://" + ln.Addr().String() + "/kurento"
}

func newStudio(t *testing.T, at string, real bool) *studio {
	t.Helper()
	u, err := url.Parse(at)
	must(t, err)
	s := &studio{t: t, url: at, real: real, loopback: net.ParseIP(u.Hostname()).IsLoopback(), pacer: media.NewPacer(media.PacerConfig{})}
	s.media = s.dial()
	t.Cleanup(func() { _ = s.pacer.Close() })
	return s
}

func (s *studio) dial() *kms.Media {
	s.t.Helper()
	m, err := kms.Dial(s.t.Context(), kms.Config{URL: s.url})
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, m.Close()) })
	return m
}

// pipeline makes a pipeline that the test's end releases.
func (s *studio) pipeline() server.Pipeline {
	s.t.Helper()
	p, err := s.media.NewPipeline(s.t.Context())
	must(s.t, err)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(s.t, p.Release(ctx))
	})
	return p
}

// leg is what a peer is on the media server's side.
type leg struct {
	server.Endpoint
	events     events
	candidates chan server.Candidate
	flows      chan string // "audio FLOWING": of what comes out of the endpoint
}

// actor is a member of a room: a Pion peer, its endpoint, its media.
type actor struct {
	s      *studio
	name   string
	leg    *leg
	pc     *webrtc.PeerConnection
	tracks []*media.Track
	// sources outlive a PeerConnection, and so do sinks: gaps are measured
	// across them.
	sources []*media.Source
	sinks   map[media.Codec]*media.Sink
	viewer  *media.Viewer
	gaps    map[media.Codec]*gap
	readers sync.WaitGroup
	up      chan struct{}
}

// cast is what an actor sends.
type cast struct {
	audio, video string      // names of clips
	clip         *media.Clip // instead of video's name
	recvonly     bool        // nothing
	from         []string    // of whom it expects media
}

// actor makes a peer, and connects it with a new endpoint of the pipeline.
func (s *studio) actor(p server.Pipeline, name string, c cast) *actor {
	s.t.Helper()
	a := &actor{s: s, name: name, sinks: make(map[media.Codec]*media.Sink), viewer: media.NewViewer(media.ViewerConfig{}),
		gaps: map[media.Codec]*gap{media.Opus: {}, media.VP8: {}}}
	for _, codec := range []media.Codec{media.Opus, media.VP8} {
		sink, err := media.NewSink(media.SinkConfig{Codec: codec, Pacer: s.pacer, Expect: media.Expect{Call: s.t.Name(), Participants: c.from}})
		must(s.t, err)
		a.sinks[codec] = sink
	}
	if !c.recvonly {
		a.cast(c)
	}
	s.t.Cleanup(func() {
		a.close()
		for _, sink := range a.sinks {
			must(s.t, sink.Close())
		}
	})
	a.connect(p)
	return a
}

func (a *actor) cast(c cast) {
	t := a.s.t
	t.Helper()
	add := func(clip *media.Clip, err error) {
		must(t, err)
		track, err := media.NewTrack(clip.Codec(), string(clip.Codec().Kind()), a.name)
		must(t, err)
		source, err := media.NewSource(media.SourceConfig{Clip: clip, Writer: track, Pacer: a.s.pacer,
			Identity: media.Identity{Call: t.Name(), Participant: a.name}})
		must(t, err)
		a.tracks, a.sources = append(a.tracks, track), append(a.sources, source)
	}
	if c.audio != "" {
		add(media.Load(c.audio))
	}
	switch {
	case c.clip != nil:
		add(c.clip, nil)
	case c.video != "":
		add(media.Load(c.video))
	}
}

// connect makes an endpoint and a PeerConnection for the actor, beside those
// that it may have already.
func (a *actor) connect(p server.Pipeline) {
	t := a.s.t
	t.Helper()
	l := &leg{candidates: make(chan server.Candidate, 256), flows: make(chan string, 64)}
	e, err := p.NewEndpoint(t.Context(), nil, l.hear)
	must(t, err)
	l.Endpoint = e
	a.leg, a.up = l, make(chan struct{})
	a.peer()
	a.negotiate()
}

func (l *leg) hear(e server.MediaEvent) {
	l.events.add("leg")(e)
	switch e.Kind {
	case server.MediaCandidate:
		l.candidates <- e.Candidate
	case server.MediaFlowOut:
		l.flows <- e.Medium + " " + e.State
	}
}

// peer makes the PeerConnection.
func (a *actor) peer() {
	t := a.s.t
	t.Helper()
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetSDPMediaLevelFingerprints(true) // as browsers do; Kurento repeats one of the session
	if a.s.loopback {
		se.SetIncludeLoopbackCandidate(true)
		se.SetIPFilter(net.IP.IsLoopback)
	}
	me, reg := &webrtc.MediaEngine{}, &interceptor.Registry{}
	must(t, errors.Join(me.RegisterDefaultCodecs(), webrtc.ConfigureRTCPReports(reg), webrtc.ConfigureNack(me, reg)))
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(reg)).
		NewPeerConnection(webrtc.Configuration{})
	must(t, err)
	a.pc = pc
	sent := map[webrtc.RTPCodecType]bool{}
	for i, track := range a.tracks {
		sender, err := pc.AddTrack(track)
		must(t, err)
		sent[track.Kind()] = true
		source := a.sources[i]
		a.readers.Go(func() {
			b := make([]byte, 1500)
			for {
				n, _, err := sender.Read(b)
				if err != nil {
					return
				}
				source.HandleRTCP(b[:n])
			}
		})
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if !sent[kind] && len(a.tracks) == 0 {
			_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
			must(t, err)
		}
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { a.readers.Go(func() { a.receive(pc, track) }) })
	up, once := a.up, sync.Once{}
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(up) })
		}
	})
}

// receive reads a track, and asks for a key frame while the viewer wants one.
func (a *actor) receive(pc *webrtc.PeerConnection, track *webrtc.TrackRemote) {
	codec := media.Opus
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		codec = media.VP8
	}
	var asked time.Time
	b := make([]byte, 1500)
	for {
		n, _, err := track.Read(b)
		if err != nil {
			return
		}
		now := time.Now()
		a.sinks[codec].Push(b[:n], now)
		a.gaps[codec].packet(now)
		if codec != media.VP8 {
			continue
		}
		a.viewer.Push(b[:n], now)
		if a.s.real && now.Sub(asked) >= 500*time.Millisecond && a.viewer.Due(now) {
			asked = now
			_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
		}
	}
}

// negotiate takes the actor through offer, answer and candidates until it is
// connected.
func (a *actor) negotiate() {
	t, pc, l := a.s.t, a.pc, a.leg
	t.Helper()
	ctx := t.Context()
	offer, err := pc.CreateOffer(nil)
	must(t, err)
	gathered := webrtc.GatheringCompletePromise(pc)
	must(t, pc.SetLocalDescription(offer))
	answer, err := l.Negotiate(ctx, offer.SDP)
	must(t, err)
	must(t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	<-gathered
	var mine []server.Candidate
	for line := range strings.Lines(pc.LocalDescription().SDP) {
		if c, ok := strings.CutPrefix(strings.TrimSpace(line), "a=candidate:"); ok {
			mine = append(mine, server.Candidate{Text: "candidate:" + c, SDPMid: "0"})
		}
	}
	must(t, l.AddCandidates(ctx, mine))
	late := time.After(20 * time.Second)
	for {
		select {
		case c := <-l.candidates:
			a.take(c)
		case <-a.up:
			return
		case <-late:
			t.Fatalf("%s is not connected: %v; %q", a.name, pc.ConnectionState(), l.events.list())
		}
	}
}

// take gives ICE what it can use: component 2 never does DTLS.
func (a *actor) take(c server.Candidate) {
	fields := strings.Fields(c.Text)
	if len(fields) < 5 || fields[1] != "1" || fields[2] != "UDP" {
		return
	}
	if ip := net.ParseIP(fields[4]); ip.To4() == nil || ip.IsLoopback() != a.s.loopback {
		return
	}
	index := uint16(c.SDPMLineIndex)
	must(a.s.t, a.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c.Text, SDPMid: &c.SDPMid, SDPMLineIndex: &index}))
}

// send starts the actor's sources and waits until all of it flows out of its
// endpoint.
func (a *actor) send() {
	a.s.t.Helper()
	for _, s := range a.sources {
		must(a.s.t, s.Start())
	}
	a.flowing()
}

func (a *actor) flowing() {
	a.s.t.Helper()
	for missing := len(a.sources); missing > 0; {
		select {
		case f := <-a.leg.flows:
			if strings.HasSuffix(f, " FLOWING") {
				missing--
			}
		case <-time.After(10 * time.Second):
			a.s.t.Fatalf("%d media of %s do not flow: %q", missing, a.name, a.leg.events.list())
		}
	}
}

// hang ends the actor's PeerConnection.
func (a *actor) hang() { must(a.s.t, a.pc.GracefulClose()) }

func (a *actor) close() {
	for _, s := range a.sources {
		s.Stop()
	}
	a.hang()
	a.readers.Wait()
}

// gap is the longest time without a packet.
type gap struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (g *gap) packet(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

// take returns the longest gap since it was taken last.
func (g *gap) take() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.longest
	g.longest = 0
	return d.Round(time.Millisecond)
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// gets waits until the actor got so many units of a codec: good ones, or where
// they come mixed those without a marker.
func (a *actor) gets(codec media.Codec, units uint64, mixed bool) {
	a.s.t.Helper()
	until(a.s.t, fmt.Sprintf("%s gets %d units of %v", a.name, units, codec), func() bool {
		st := a.sinks[codec].Stats()
		if mixed {
			return st.Unmarked >= units
		}
		return st.Good >= units
	})
}
