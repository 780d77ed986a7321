package kurento_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/callbench/callbench/kurento"
)

// realKMS dials the KMS that CALLBENCH_KMS_URL names, or skips the test.
func realKMS(t testing.TB, change func(*kurento.Config)) *kurento.Client {
	t.Helper()
	cfg := kurento.Config{URL: os.Getenv("CALLBENCH_KMS_URL")}
	if cfg.URL == "" {
		t.Skip("no Kurento: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
	}
	if change != nil {
		change(&cfg)
	}
	c, err := kurento.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// recordedOffer returns the first SDP offer of a recording.
func recordedOffer(t testing.TB) string {
	for _, l := range readTranscript(t, "testdata/transcripts/23_one2one_media.jsonl")["A"] {
		var m struct {
			Params struct {
				Operation       string
				OperationParams struct{ Offer string }
			}
		}
		if json.Unmarshal(l.Msg, &m) == nil && m.Params.Operation == "processOffer" {
			return m.Params.OperationParams.Offer
		}
	}
	t.Fatal("no offer in the recording")
	return ""
}

// seen collects events and lets a test wait for one.
type seen struct {
	t      testing.TB
	mu     sync.Mutex
	bodies []any
	more   chan struct{}
}

func newSeen(t testing.TB) *seen { return &seen{t: t, more: make(chan struct{}, 1)} }

func (s *seen) handle(ev kurento.Event) {
	body, err := ev.Decode()
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// wait returns when n events that satisfy match have come since the start.
func (s *seen) wait(what string, n int, match func(any) bool) {
	s.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		got := 0
		for _, b := range s.bodies {
			if match(b) {
				got++
			}
		}
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-s.more:
		case <-deadline:
			s.t.Fatalf("%s: %d events, want %d, among %+v", what, got, n, s.bodies)
		}
	}
}

func is[E any](body any) bool { _, ok := body.(E); return ok }

// TestServiceCall takes two endpoints through what a call needs of KMS, peers
// apart, and checks with a second client that nothing is left.
func TestServiceCall(t *testing.T) {
	c, ctx := realKMS(t, nil), t.Context()
	info, err := c.ServerManager().Info(ctx)
	if err != nil || info.Type != "KMS" || !strings.HasPrefix(info.Version, "7.") {
		t.Fatalf("info %+v, %v", info, err)
	}
	watcher, objects := realKMS(t, nil), newSeen(t)
	if _, err := watcher.ServerManager().Subscribe(ctx, objects.handle, kurento.EventObjectCreated, kurento.EventObjectDestroyed); err != nil {
		t.Fatal(err)
	}
	pipeline, err := c.CreateMediaPipeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a, eventsA := negotiate(t, pipeline, kurento.WebRtcEndpointOptions{})
	b, eventsB := negotiate(t, pipeline, kurento.WebRtcEndpointOptions{UseDataChannels: true, CertificateKeyType: "ECDSA"})
	if err := a.Connect(ctx, b.ID()); err != nil {
		t.Error(err)
	}
	if err := b.Connect(ctx, a.ID(), kurento.Audio, kurento.Video); err != nil {
		t.Error(err)
	}
	eventsA.wait("connect", 3, is[kurento.ElementConnected])
	eventsB.wait("connect two kinds", 2, is[kurento.ElementConnected])
	if err := b.Disconnect(ctx, a.ID(), kurento.Video); err != nil {
		t.Error(err)
	}
	eventsB.wait("disconnect", 1, is[kurento.ElementDisconnected])

	checkRefusals(t, a)
	if children, err := pipeline.Children(ctx); err != nil || len(children) != 2 {
		t.Errorf("children %v, %v", children, err)
	}
	if d, err := c.Describe(ctx, a.ID()); err != nil || d.Type != "WebRtcEndpoint" || len(d.Hierarchy) == 0 {
		t.Errorf("description %+v, %v", d, err)
	}
	for name, call := range map[string]func() error{
		"keepAlive": func() error { return c.KeepAlive(ctx) },
		"ping":      func() error { return c.Ping(ctx) },
		"ref":       func() error { return c.Ref(ctx, a.ID()) },
		"unref":     func() error { return watcher.Unref(ctx, a.ID()) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.Release(ctx); err != nil {
		t.Error(err)
	}
	if _, err := a.Stats(ctx); !kurento.IsNotFound(err) {
		t.Errorf("after release: %v", err)
	}
	if err := pipeline.Release(ctx); err != nil {
		t.Error(err)
	}
	for _, id := range []kurento.ObjectID{a.ID(), b.ID(), pipeline.ID()} {
		objects.wait("created", 1, func(body any) bool { e, ok := body.(kurento.ObjectCreated); return ok && e.Object == id })
		objects.wait("destroyed", 1, func(body any) bool { e, ok := body.(kurento.ObjectDestroyed); return ok && e.ObjectID == id })
	}
	if left, err := watcher.ServerManager().Pipelines(ctx); err != nil || slices.Contains(left, pipeline.ID()) {
		t.Errorf("pipelines %v, %v", left, err)
	}
}

// negotiate creates an endpoint, negotiates a recorded offer and gathers.
func negotiate(t *testing.T, pipeline kurento.MediaPipeline, opts kurento.WebRtcEndpointOptions) (kurento.WebRtcEndpoint, *seen) {
	ctx, s := t.Context(), newSeen(t)
	ep, err := pipeline.CreateWebRtcEndpoint(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ep.Subscribe(ctx, s.handle,
		kurento.EventError, kurento.EventIceCandidateFound, kurento.EventIceGatheringDone, kurento.EventIceComponentStateChanged,
		kurento.EventNewCandidatePairSelected, kurento.EventDtlsConnectionStateChange, kurento.EventConnectionStateChanged,
		kurento.EventMediaStateChanged, kurento.EventMediaSessionStarted, kurento.EventMediaSessionTerminated,
		kurento.EventMediaFlowInStateChanged, kurento.EventMediaFlowOutStateChanged, kurento.EventMediaTranscodingStateChanged,
		kurento.EventElementConnected, kurento.EventElementDisconnected, kurento.EventDataChannelOpened, kurento.EventDataChannelClosed)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []struct {
		name string
		kbps int
		set  func(context.Context, int) error
	}{
		{"maxAudioRecvBandwidth", 64, ep.SetMaxAudioRecvBandwidth},
		{"maxVideoRecvBandwidth", 800, ep.SetMaxVideoRecvBandwidth},
		{"maxVideoSendBandwidth", 900, ep.SetMaxVideoSendBandwidth},
		{"minVideoSendBandwidth", 200, ep.SetMinVideoSendBandwidth},
	} {
		var got int
		if err := limit.set(ctx, limit.kbps); err != nil {
			t.Errorf("set %s: %v", limit.name, err)
		}
		if err := ep.Get(ctx, limit.name, &got); err != nil || got != limit.kbps {
			t.Errorf("%s is %d, %v, want %d", limit.name, got, err, limit.kbps)
		}
	}
	answer, err := ep.ProcessOffer(ctx, recordedOffer(t))
	if err != nil || !strings.Contains(answer, "s=Kurento Media Server") {
		t.Fatalf("answer %q, %v", answer, err)
	}
	if err := ep.AddIceCandidate(ctx, kurento.IceCandidate{Candidate: "candidate:1 1 UDP 2130706431 127.0.0.1 9 typ host", SDPMid: "0"}); err != nil {
		t.Error(err)
	}
	if err := ep.GatherCandidates(ctx); err != nil {
		t.Error(err)
	}
	s.wait("session", 1, is[kurento.MediaSessionStarted])
	s.wait("gathering", 1, is[kurento.IceGatheringDone])
	s.wait("candidates", 2, is[kurento.IceCandidateFound])
	return ep, s
}

// checkRefusals provokes errors that a call server has to tell apart.
func checkRefusals(t *testing.T, ep kurento.WebRtcEndpoint) {
	t.Helper()
	ctx := t.Context()
	if _, err := ep.ProcessOffer(ctx, recordedOffer(t)); !kurento.IsAlreadyNegotiated(err) {
		t.Errorf("second offer: %v", err)
	}
	if err := ep.AddIceCandidate(ctx, kurento.IceCandidate{Candidate: "candidate:1 1 UDP 1 127.0.0.1 9 typ host", SDPMid: "9", SDPMLineIndex: 9}); !kurento.HasCode(err, kurento.CodeICEAddCandidate) {
		t.Errorf("candidate of an unknown m-line: %v", err)
	}
	if _, err := ep.Subscribe(ctx, func(kurento.Event) {}, kurento.EventIceCandidateFound, "OnIceCandidate"); !kurento.HasCode(err, kurento.CodeEventNotSupported) {
		t.Errorf("event of KMS 6: %v", err)
	}
	if err := ep.Invoke(ctx, "noSuchOperation", nil, nil); !kurento.HasCode(err, kurento.CodeMalformedTransaction) {
		t.Errorf("unknown operation: %v", err)
	}
	if err := ep.SetTurnURL(ctx, "turn:host:3478"); err != nil { // accepted, then an Error event
		t.Errorf("bad TURN URL: %v", err)
	}
}

// TestServiceReconnect drops the TCP connection: the session, its objects and
// subscriptions must be there again, and no answer come from the cache.
func TestServiceReconnect(t *testing.T) {
	var mu sync.Mutex
	var conn net.Conn
	back := make(chan kurento.Reconnected, 1)
	c, ctx := realKMS(t, func(cfg *kurento.Config) {
		cfg.OnReconnect = func(r kurento.Reconnected) { back <- r }
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			var err error
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return conn, err
		}
	}), t.Context()
	pipeline, err := c.CreateMediaPipeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var pair [2]kurento.WebRtcEndpoint
	for i := range pair {
		if pair[i], err = pipeline.CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := newSeen(t)
	sub, err := pair[0].Subscribe(ctx, s.handle, kurento.EventElementConnected)
	if err != nil {
		t.Fatal(err)
	}
	for round := 1; round <= 3; round++ {
		mu.Lock()
		_ = conn.Close()
		mu.Unlock()
		if r := <-back; !r.Resumed() || r.Session != c.Session() {
			t.Fatalf("round %d: %+v", round, r)
		}
		var name string
		if err := pair[0].Get(ctx, "name", &name); err != nil || name != string(pair[0].ID()) {
			t.Errorf("round %d: name %q, %v", round, name, err)
		}
		if err := pair[0].Connect(ctx, pair[1].ID(), kurento.Audio); err != nil {
			t.Error(err)
		}
		s.wait("connected", round, is[kurento.ElementConnected])
	}
	if err := sub.Close(ctx); err != nil {
		t.Error(err)
	}
	checkTakeOver(t, c, pipeline)
}

// checkTakeOver resumes the session of c elsewhere and ends it there.
func checkTakeOver(t *testing.T, c *kurento.Client, pipeline kurento.MediaPipeline) {
	t.Helper()
	ctx := t.Context()
	_ = c.Close()
	heir := realKMS(t, func(cfg *kurento.Config) { cfg.Session = c.Session() })
	if heir.Session() != c.Session() || heir.ServerID() != c.ServerID() {
		t.Errorf("took over %s at %s, want %s at %s", heir.Session(), heir.ServerID(), c.Session(), c.ServerID())
	}
	results, err := heir.Transaction(ctx,
		kurento.Operation{Method: "create", Params: map[string]any{
			"type": "WebRtcEndpoint", "constructorParams": map[string]any{"mediaPipeline": pipeline.ID()}}},
		kurento.Operation{Method: "invoke", Params: map[string]any{"object": "newref:0", "operation": "getName"}},
		kurento.Operation{Method: "invoke", Params: map[string]any{"object": "newref:0", "operation": "noSuch"}})
	if err != nil || len(results) != 3 || results[1].Err != nil || !kurento.HasCode(results[2].Err, kurento.CodeMalformedTransaction) {
		t.Errorf("transaction %v, %v", results, err)
	} else if string(results[0].Value) != string(results[1].Value) {
		t.Errorf("name %s of %s", results[1].Value, results[0].Value)
	}
	if err := heir.CloseSession(ctx, true); err != nil {
		t.Error(err)
	}
	if _, err := realKMS(t, nil).MediaPipeline(pipeline.ID()).Children(ctx); !kurento.IsNotFound(err) {
		t.Errorf("after the session was closed: %v", err)
	}
}

// BenchmarkService is a round trip and a leg of a call on a real KMS, with the
// acknowledgement of small frames that the client asks for and without.
func BenchmarkService(b *testing.B) {
	realKMS(b, nil)
	b.Run("ping", func(b *testing.B) {
		c := realKMS(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Ping(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, change := range map[string]func(*kurento.Config){
		"leg":           nil,
		"legNoQuickAck": func(cfg *kurento.Config) { cfg.Dial = hidden },
	} {
		b.Run(name, func(b *testing.B) {
			c := realKMS(b, change)
			offer := recordedOffer(b)
			b.ReportAllocs()
			for b.Loop() {
				leg(b, c, offer)
			}
		})
	}
}

// hidden dials a connection in which the client does not see the TCP socket.
func hidden(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return struct{ net.Conn }{conn}, err
}

func leg(b *testing.B, c *kurento.Client, offer string) {
	ctx := b.Context()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	pipeline, err := c.CreateMediaPipeline(ctx)
	must(err)
	ep, err := pipeline.CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{})
	must(err)
	done := make(chan struct{}, 1)
	_, err = ep.Subscribe(ctx, func(ev kurento.Event) {
		if ev.Type == kurento.EventIceGatheringDone {
			done <- struct{}{}
		}
	}, kurento.EventIceCandidateFound, kurento.EventIceGatheringDone, kurento.EventMediaSessionStarted)
	must(err)
	_, err = ep.ProcessOffer(ctx, offer)
	must(err)
	must(ep.GatherCandidates(ctx))
	<-done
	must(pipeline.Release(ctx))
}
