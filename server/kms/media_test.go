package kms_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
)

// rig is a media server of the mock's, in a bubble's network.
type rig struct {
	t     *testing.T
	net   *netsim.Topology
	mock  *kmsmock.Server
	media *kms.Media
	log   events
}

// events collects what the endpoints report.
type events struct {
	mu    sync.Mutex
	lines []string
	of    map[string][]server.MediaEvent
}

func (e *events) add(who string) func(server.MediaEvent) {
	return func(ev server.MediaEvent) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.of == nil {
			e.of = make(map[string][]server.MediaEvent)
		}
		e.of[who] = append(e.of[who], ev)
		e.lines = append(e.lines, strings.TrimSpace(fmt.Sprint(who, " ", ev.Kind, " ", ev.State, " ", ev.Medium)))
	}
}

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lines)
}

func (e *events) candidates(who string) (cs []server.Candidate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.of[who] {
		if ev.Kind == server.MediaCandidate {
			cs = append(cs, ev.Candidate)
		}
	}
	return cs
}

func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		var err error
		r.net, err = netsim.NewTopology(netsim.TopologyConfig{})
		must(t, err)
		t.Cleanup(func() { must(t, r.net.Close()) })
		r.start()
		t.Cleanup(func() { must(t, r.mock.Close()) })
		near, err := r.net.Host("server")
		must(t, err)
		r.media, err = kms.Dial(t.Context(), kms.Config{URL: "ws://kms:8888/kurento", Dial: near.Dial})
		must(t, err)
		t.Cleanup(func() { must(t, r.media.Close()) })
		test(t, r)
	})
}

// start starts the media server, or a new one.
func (r *rig) start() {
	r.t.Helper()
	host, err := r.net.Host("kms")
	must(r.t, err)
	ln, err := host.Listen("kms:8888")
	must(r.t, err)
	mock, err := kmsmock.New(kmsmock.Config{Net: host.Net, Timing: kmsmock.Fast, Seed: uint64(time.Now().UnixNano())})
	must(r.t, err)
	r.mock = mock
	go func() { _ = mock.Serve(ln) }()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// legs makes a pipeline with two endpoints that are connected both ways.
func (r *rig) legs() (p server.Pipeline, a, b server.Endpoint) {
	r.t.Helper()
	ctx := r.t.Context()
	p, err := r.media.NewPipeline(ctx)
	must(r.t, err)
	a, err = p.NewEndpoint(ctx, nil, r.log.add("a"))
	must(r.t, err)
	b, err = p.NewEndpoint(ctx, nil, r.log.add("b"))
	must(r.t, err)
	must(r.t, a.Connect(ctx, b))
	must(r.t, b.Connect(ctx, a))
	return p, a, b
}

// peer is a Pion peer that only receives, and moves its fingerprint where
// Kurento needs it as the server does.
func (r *rig) peer(name string) *webrtc.PeerConnection {
	r.t.Helper()
	host, err := r.net.Host(name)
	must(r.t, err)
	var s webrtc.SettingEngine
	s.SetNet(host.Net)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	m := &webrtc.MediaEngine{}
	must(r.t, m.RegisterDefaultCodecs())
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(m)).NewPeerConnection(webrtc.Configuration{})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, pc.GracefulClose()) })
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err := pc.AddTransceiverFromKind(kind)
		must(r.t, err)
	}
	return pc
}

// negotiate does one leg's part of a call, with trickle both ways.
func (r *rig) negotiate(pc *webrtc.PeerConnection, e server.Endpoint, who string) {
	r.t.Helper()
	ctx := r.t.Context()
	offer, err := pc.CreateOffer(nil)
	must(r.t, err)
	gathered := webrtc.GatheringCompletePromise(pc)
	must(r.t, pc.SetLocalDescription(offer))
	answer, err := e.Negotiate(ctx, sessionFingerprintDown(pc.LocalDescription().SDP))
	must(r.t, err)
	must(r.t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	<-gathered
	var mine []server.Candidate
	for l := range strings.Lines(pc.LocalDescription().SDP) {
		if c, ok := strings.CutPrefix(strings.TrimSpace(l), "a=candidate:"); ok {
			mine = append(mine, server.Candidate{Text: "candidate:" + c, SDPMid: "0"})
		}
	}
	must(r.t, e.AddCandidates(ctx, mine))
	synctest.Wait()
	for _, c := range r.log.candidates(who) {
		index := uint16(c.SDPMLineIndex)
		must(r.t, pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c.Text, SDPMid: &c.SDPMid, SDPMLineIndex: &index}))
	}
}

// offer is one of a peer's.
func (r *rig) offer() string {
	r.t.Helper()
	pc := r.peer("offerer")
	offer, err := pc.CreateOffer(nil)
	must(r.t, err)
	return offer.SDP
}

func sessionFingerprintDown(text string) string {
	head, media, _ := strings.Cut(text, "m=")
	for l := range strings.Lines(head) {
		if strings.HasPrefix(l, "a=fingerprint:") {
			head = strings.Replace(head, l, "", 1)
			media = strings.ReplaceAll(media, "a=mid:", l+"a=mid:")
		}
	}
	return head + "m=" + media
}

func TestCall(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, a, b := r.legs()
		pcA, pcB := r.peer("alice"), r.peer("bob")
		r.negotiate(pcA, a, "a")
		r.negotiate(pcB, b, "b")
		time.Sleep(5 * time.Second)
		for name, pc := range map[string]*webrtc.PeerConnection{"alice": pcA, "bob": pcB} {
			if s := pc.ConnectionState(); s != webrtc.PeerConnectionStateConnected {
				t.Errorf("%s is %s", name, s)
			}
		}
		lines := r.log.list()
		for _, who := range []string{"a", "b"} {
			for _, want := range []string{"gathered", "ice CONNECTED", "dtls CONNECTED", "connection CONNECTED"} {
				if !slices.Contains(lines, who+" "+want) {
					t.Errorf("%s never reported %s; all there was: %q", who, want, lines)
				}
			}
		}
		for _, c := range r.log.candidates("a") {
			if !strings.HasPrefix(c.Text, "candidate:") || c.SDPMid == "" {
				t.Errorf("candidate %+v", c)
			}
		}
		must(t, a.Release(t.Context()))
		must(t, a.Release(t.Context()))
		must(t, p.Release(t.Context()))
		r.empty()
	})
}

// empty fails if the media server holds anything.
func (r *rig) empty() {
	r.t.Helper()
	time.Sleep(time.Second)
	if left := r.mock.Left(); len(left) != 0 {
		r.t.Errorf("left on the media server: %q", left)
	}
}

// TestErrors says in the server's terms what Kurento refuses.
func TestErrors(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, a, b := r.legs()
		if _, err := a.Negotiate(ctx, "nonsense"); !errors.Is(err, server.ErrSDPRefused) {
			t.Errorf("nonsense: %v", err)
		}
		pc := r.peer("alice")
		r.negotiate(pc, a, "a") // the refusal left the endpoint usable
		if _, err := a.Negotiate(ctx, pc.LocalDescription().SDP); err == nil || errors.Is(err, server.ErrSDPRefused) {
			t.Errorf("a second offer: %v", err)
		}
		good := server.Candidate{Text: "candidate:1 1 udp 1 10.0.0.9 9 typ host", SDPMid: "0"}
		bad := server.Candidate{Text: good.Text, SDPMid: "9", SDPMLineIndex: 9}
		if err := a.AddCandidates(ctx, []server.Candidate{good, bad, good}); err == nil {
			t.Error("a candidate for a section that does not exist passed")
		}
		must(t, b.Release(ctx))
		if err := a.Connect(ctx, b); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("connecting with a released endpoint: %v", err)
		}
		must(t, p.Release(ctx))
		if _, err := p.NewEndpoint(ctx, nil, r.log.add("c")); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("an endpoint in a released pipeline: %v", err)
		}
		r.empty()
	})
}

// TestOneRoundTrip is what each step of a call costs, at 100 ms a round trip.
func TestOneRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		host, err := r.net.Host("server")
		must(t, err)
		host.Link.SetDelay(50 * time.Millisecond)
		var p server.Pipeline
		var a, b server.Endpoint
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"call", func() (err error) { p, a, err = r.media.NewCall(ctx, r.log.add("a")); return err }},
			{"endpoint", func() (err error) { b, err = p.NewEndpoint(ctx, nil, r.log.add("b")); return err }},
			{"endpoint with a peer", func() error { return second(p.NewEndpoint(ctx, a, r.log.add("c"))) }},
			{"join", func() error { return a.Join(ctx, b) }},
			{"negotiate", func() error { return second(b.Negotiate(ctx, sessionFingerprintDown(r.offer()))) }},
			{"release", func() error { return a.Release(ctx) }},
			{"release with", func() error { return p.ReleaseWith(ctx, b) }},
		} {
			start := time.Now()
			must(t, step.do())
			if took := time.Since(start); took < 100*time.Millisecond || took > 190*time.Millisecond {
				t.Errorf("%s took %v", step.name, took)
			}
		}
		host.Link.SetDelay(0)
		r.empty()
		if lines := r.log.list(); !slices.Contains(lines, "b gathered") {
			t.Errorf("the endpoints told %q", lines)
		}
	})
}

// TestMediaServerDies tells the endpoints, once there is a media server again
// that does not know them.
func TestMediaServerDies(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, a, b := r.legs()
		must(t, b.Release(t.Context()))
		must(t, r.mock.Close())
		synctest.Wait()
		start := time.Now()
		if err := a.Release(t.Context()); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("release without a media server: %v", err)
		}
		if err := p.ReleaseWith(t.Context(), a); !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("release of both without a media server: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("hanging up waited %v for a media server that is gone", took)
		}
		c, err := p.NewEndpoint(shortly(t), nil, r.log.add("c"))
		if !errors.Is(err, server.ErrMediaGone) {
			t.Errorf("an endpoint without a media server: %v, %v", c, err)
		}
		r.start()
		time.Sleep(10 * time.Second)
		if lines := r.log.list(); len(lines) != 0 {
			t.Errorf("released endpoints reported %q", lines)
		}
		p2, err := r.media.NewPipeline(t.Context())
		must(t, err)
		_, err = p2.NewEndpoint(t.Context(), nil, r.log.add("d"))
		must(t, err)
		must(t, r.mock.Close())
		r.start()
		time.Sleep(10 * time.Second)
		if lines := r.log.list(); !slices.Equal(lines, []string{"d lost"}) {
			t.Errorf("reported %q, want d lost", lines)
		}
	})
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestReleasePutOff loses the connection but not the media server, and hangs up
// meanwhile.
func TestReleasePutOff(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, a, _ := r.legs()
		host, err := r.net.Host("server")
		must(t, err)
		host.Link.Reset()
		host.Link.Cut()
		synctest.Wait()
		for what, release := range map[string]func(context.Context) error{"endpoint": a.Release, "pipeline": p.Release} {
			if err := release(t.Context()); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("release %s: %v", what, err)
			}
		}
		if len(r.mock.Left()) == 0 {
			t.Error("it reached the media server")
		}
		time.Sleep(30 * time.Second)
		host.Link.Restore()
		time.Sleep(time.Minute)
		r.empty()
		if lines := r.log.list(); len(lines) != 0 {
			t.Errorf("reported %q", lines)
		}
	})
}
