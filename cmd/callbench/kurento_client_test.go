package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/simclient/media"
)

// TestServiceKurentoClient runs the flows of Kurento's tutorials with the
// official client of npm against `callbench mock`, or against the server at
// CALLBENCH_KMS_URL, with peers that send and receive real media.
func TestServiceKurentoClient(t *testing.T) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := installKurentoClient(t)
	url := os.Getenv("CALLBENCH_KMS_URL")
	mixes := url != "" // a real Composite mixes: no marker survives it
	if url == "" {
		url, _ = startMockCommand(t, "-interfaces", "lo")
	}
	t.Run("hello world", func(t *testing.T) {
		f := startFlow(t, dir, url, "helloWorld")
		f.join("ann", "ann")
		f.proves(200, 100)
		f.finish()
	})
	t.Run("one to one", func(t *testing.T) {
		f := startFlow(t, dir, url, "one2one")
		f.join("ann", "ben")
		f.join("ben", "ann")
		f.proves(200, 100)
		f.finish()
	})
	t.Run("one to one, recorded", func(t *testing.T) {
		folder := t.TempDir()
		clients, stop := startRecording(t, url, folder, "one2one", "-mask")
		t.Run("played", func(t *testing.T) { // until the client has ended
			f := startFlow(t, dir, clients, "one2one")
			f.join("ann", "ben")
			f.join("ben", "ann")
			f.proves(200, 100)
			f.finish()
		})
		stop()
		conforms(t, filepath.Join(folder, "one2one.jsonl"))
	})
	t.Run("one to many", func(t *testing.T) {
		f := startFlow(t, dir, url, "one2many")
		f.join("ann", "")
		f.join("ben", "ann")
		f.join("cid", "ann")
		f.proves(200, 100)
		f.finish()
	})
	t.Run("recorder", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "made", "by-the-recorder.webm")
		f := startFlow(t, dir, url, "recorder", "file://"+file)
		f.join("ann", "ann")
		f.proves(200, 100)
		f.finish()
		if info, err := os.Stat(file); err != nil || info.Size() < 50_000 {
			t.Errorf("the recording: %v, %v", info, err)
		}
		for _, want := range []string{"Recording", "UriEndpointStateChanged START", "UriEndpointStateChanged STOP", "Stopped"} {
			f.saw("recorder", want)
		}
	})
	t.Run("composite", func(t *testing.T) {
		f := startFlow(t, dir, url, "composite")
		f.mixed = mixes
		// Whoever speaks last is heard by all, themselves included.
		f.join("ann", "ann", "ben")
		f.join("ben", "ann", "ben")
		f.proves(200, 100)
		f.finish()
	})
}

// installKurentoClient installs the official client as the lock file says.
func installKurentoClient(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "kurento-client"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// A flow is one run of the script with its peers.
type flow struct {
	t     *testing.T
	pacer *media.Pacer
	in    io.WriteCloser
	mixed bool // media comes transcoded: it flows and proves no origin
	// anywhere lets peers use every interface: the server is no process of this host.
	anywhere bool

	mu     sync.Mutex
	peers  map[string]*flowPeer
	events []flowMessage
	end    chan struct{} // closed when the script's output ends
}

// A flowMessage is a line that the script says.
type flowMessage struct {
	Error, Peer, Answer, Event, State, Media, Description string
	Candidate                                             *webrtc.ICECandidateInit
	Ready, Stopped, Left                                  bool
	Stats                                                 map[string][]string
}

func startFlow(t *testing.T, dir, url, name string, args ...string) *flow {
	t.Helper()
	f := &flow{t: t, pacer: media.NewPacer(media.PacerConfig{}), peers: map[string]*flowPeer{}, end: make(chan struct{})}
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", append([]string{"flows.js", url, name}, args...)...)
	cmd.Dir = dir
	complaints := &said{}
	cmd.Stderr = complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go f.listen(out)
	t.Cleanup(func() {
		defer kill()
		_ = in.Close()
		stuck := time.AfterFunc(20*time.Second, kill)
		defer stuck.Stop()
		<-f.end
		if err := cmd.Wait(); err != nil {
			t.Errorf("flows.js: %v\n%s", err, complaints)
		}
		for _, p := range f.peers {
			p.close()
		}
		_ = f.pacer.Close()
	})
	return f
}

func (f *flow) say(message map[string]any) {
	b, err := json.Marshal(message)
	if err == nil {
		_, err = f.in.Write(append(b, '\n'))
	}
	if err != nil {
		f.t.Error(err)
	}
}

func (f *flow) listen(out io.Reader) {
	defer close(f.end)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m flowMessage
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			f.t.Errorf("flows.js says %q: %v", lines.Text(), err)
			continue
		}
		f.hear(m)
	}
}

func (f *flow) hear(m flowMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, m)
	p := f.peers[m.Peer]
	switch {
	case m.Error != "" || m.Event == "Error":
		f.t.Errorf("flows.js: %s%s", m.Error, m.Description)
	case m.Answer != "":
		p.answered(m.Answer)
	case m.Candidate != nil:
		p.candidate(*m.Candidate)
	}
}

// heard tells whether the script has said something.
func (f *flow) heard(match func(flowMessage) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.events {
		if match(m) {
			return true
		}
	}
	return false
}

// saw checks that an event came, named with its state.
func (f *flow) saw(peer, want string) {
	f.t.Helper()
	if !f.heard(func(m flowMessage) bool { return m.Peer == peer && strings.TrimSpace(m.Event+" "+m.State) == want }) {
		f.t.Errorf("no %s of %s", want, peer)
	}
}

// join adds a peer that expects the media of others, and waits until it is
// connected.
func (f *flow) join(name string, from ...string) {
	f.t.Helper()
	p := newFlowPeer(f, name, from)
	f.mu.Lock()
	f.peers[name] = p
	f.mu.Unlock()
	f.say(map[string]any{"peer": name, "offer": p.offer()})
	until(f.t, name+" is connected", func() bool {
		return p.pc.ConnectionState() == webrtc.PeerConnectionStateConnected || f.t.Failed()
	})
	p.send()
}

// proves waits until each peer that expects media has that many units of audio
// and video, and checks that they are the right ones.
func (f *flow) proves(audio, video uint64) {
	f.t.Helper()
	for _, p := range f.peers {
		if len(p.from) == 0 || p.from[0] == "" {
			continue
		}
		for codec, least := range map[media.Codec]uint64{media.Opus: audio, media.VP8: video} {
			until(f.t, p.name+" has its media", func() bool { return f.units(p, codec) >= least })
			s := p.sinks[codec].Stats()
			if s.WrongOrigin > 0 || (!f.mixed && s.Unmarked > 0) || s.Corrupt > 0 {
				f.t.Errorf("%s: %s of wrong origin %d, unmarked %d, corrupt %d", p.name, codec, s.WrongOrigin, s.Unmarked, s.Corrupt)
			}
		}
	}
}

func (f *flow) units(p *flowPeer, codec media.Codec) uint64 {
	s := p.sinks[codec].Stats()
	if f.mixed {
		return s.Unmarked
	}
	return s.Good
}

// finish ends the flow and checks that the server knows of it no more.
func (f *flow) finish() {
	f.t.Helper()
	f.say(map[string]any{"stop": true})
	until(f.t, "the flow ends", func() bool {
		return f.heard(func(m flowMessage) bool { return m.Stopped }) || f.t.Failed()
	})
	if f.heard(func(m flowMessage) bool { return m.Left }) {
		f.t.Error("the released pipeline is still listed")
	}
	for name, p := range f.peers {
		f.saw(name, "MediaStateChanged CONNECTED")
		f.saw(name, "ConnectionStateChanged CONNECTED")
		if !f.heard(func(m flowMessage) bool { return len(m.Stats[name]) >= 2 }) {
			f.t.Errorf("no statistics of %s", p.name)
		}
	}
}

// A flowPeer is a Pion peer that sends marked audio and video.
type flowPeer struct {
	flow    *flow
	name    string
	from    []string
	pc      *webrtc.PeerConnection
	sources []*media.Source
	sinks   map[media.Codec]*media.Sink
	wg      sync.WaitGroup

	queued []webrtc.ICECandidateInit // from before the answer; under the flow's lock
	ready  bool
}

func newFlowPeer(f *flow, name string, from []string) *flowPeer {
	f.t.Helper()
	p := &flowPeer{flow: f, name: name, from: from, sinks: map[media.Codec]*media.Sink{}}
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetSDPMediaLevelFingerprints(true) // as browsers do; Kurento repeats one of the session
	if !f.anywhere {
		se.SetIncludeLoopbackCandidate(true)
		se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	}
	me, reg := &webrtc.MediaEngine{}, &interceptor.Registry{}
	err := errors.Join(me.RegisterDefaultCodecs(), webrtc.ConfigureRTCPReports(reg))
	if err != nil {
		f.t.Fatal(err)
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(reg))
	if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		f.t.Fatal(err)
	}
	for _, clip := range []string{media.ClipOpus, media.ClipVP8} {
		p.addTrack(clip)
	}
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.wg.Go(func() { p.receive(track) }) })
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			f.say(map[string]any{"peer": name, "candidate": c.ToJSON()})
		}
	})
	return p
}

func (p *flowPeer) addTrack(name string) {
	t := p.flow.t
	t.Helper()
	clip, err := media.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	codec := clip.Codec()
	track, err := media.NewTrack(codec, string(codec.Kind()), p.name)
	if err != nil {
		t.Fatal(err)
	}
	source, err := media.NewSource(media.SourceConfig{Clip: clip, Writer: track, Pacer: p.flow.pacer,
		Identity: media.Identity{Call: t.Name(), Participant: p.name}})
	if err != nil {
		t.Fatal(err)
	}
	p.sources = append(p.sources, source)
	p.sinks[codec], err = media.NewSink(media.SinkConfig{Codec: codec, Pacer: p.flow.pacer,
		Expect: media.Expect{Call: t.Name(), Participants: p.from}})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := p.pc.AddTrack(track)
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
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

func (p *flowPeer) offer() string {
	offer, err := p.pc.CreateOffer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(offer)
	}
	if err != nil {
		p.flow.t.Fatal(err)
	}
	return offer.SDP
}

func (p *flowPeer) answered(sdp string) {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		p.flow.t.Error(err)
		return
	}
	p.ready = true
	for _, c := range p.queued {
		p.candidate(c)
	}
}

// candidate gives ICE what it can use: component 2 never does DTLS.
func (p *flowPeer) candidate(c webrtc.ICECandidateInit) {
	if !p.ready {
		p.queued = append(p.queued, c)
		return
	}
	if fields := strings.Fields(c.Candidate); len(fields) > 2 && fields[1] == "1" {
		if err := p.pc.AddICECandidate(c); err != nil {
			p.flow.t.Error(err)
		}
	}
}

func (p *flowPeer) send() {
	for _, s := range p.sources {
		if err := s.Start(); err != nil {
			p.flow.t.Error(err)
		}
	}
}

func (p *flowPeer) receive(track *webrtc.TrackRemote) {
	codec := media.Opus
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		codec = media.VP8
	}
	b := make([]byte, 1500)
	for {
		n, _, err := track.Read(b)
		if err != nil {
			return
		}
		p.sinks[codec].Push(b[:n], time.Now())
	}
}

func (p *flowPeer) close() {
	for _, s := range p.sources {
		s.Stop()
	}
	if err := p.pc.GracefulClose(); err != nil {
		p.flow.t.Error(err)
	}
	p.wg.Wait()
	for _, s := range p.sinks {
		_ = s.Close()
	}
}
