package kmsmock

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc/v4"

	"github.com/pion/transport/v5"
)

// inBubble runs a test in virtual time with a mock on the first of n hosts.
func inBubble(t *testing.T, hosts int, cfg Config, f func(t *testing.T, s *Server, kms *testClient, peers []*testPeer)) {
	t.Helper()
	inBubbleNets(t, hosts+1, cfg, func(t *testing.T, s *Server, kms *testClient, nets []transport.Net) {
		var peers []*testPeer
		for i := range hosts {
			p := newTestPeer(t, string(rune('A'+i)), nets[i+1], false)
			defer p.close()
			peers = append(peers, p)
		}
		f(t, s, kms, peers)
	})
}

// inBubbleNets does without peers: f gets the networks of so many hosts, of
// which the first is the server's.
func inBubbleNets(t *testing.T, hosts int, cfg Config, f func(t *testing.T, s *Server, kms *testClient, nets []transport.Net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, hosts)
		cfg.Net = nets[0]
		s, l := startMock(t, cfg)
		kms := dialTest(t, l)
		defer kms.close()
		f(t, s, kms, nets)
	})
}

func play(peers []*testPeer, d time.Duration) {
	for _, p := range peers {
		p.play()
	}
	time.Sleep(d)
}

func TestCrossedMediaReachesTheWrongPeer(t *testing.T) {
	t.Run("own", func(t *testing.T) {
		inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
			newCall(t, kms, peers[0], peers[1])
			s.SetFaults(Faults{CrossMedia: CrossOwn})
			play(peers, 5*time.Second)
			a := peers[0]
			if a.got("audio:A") < 200 || a.got("audio:B") > 0 {
				t.Errorf("A got %v, want its own media", a.received)
			}
			s.SetFaults(Faults{})
			time.Sleep(5 * time.Second)
			if a.got("audio:B") < 200 || a.got("video:B") < 60 {
				t.Errorf("A got %v after the fault was mended", a.received)
			}
		})
	})
	t.Run("calls", func(t *testing.T) {
		inBubble(t, 4, Config{Timing: Fast, Faults: Faults{CrossMedia: CrossCalls}}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
			newCall(t, kms, peers[0], peers[1])
			newCall(t, kms, peers[2], peers[3])
			play(peers, 5*time.Second)
			for i, stranger := range []string{"D", "C", "B", "A"} {
				if n := peers[i].got("audio:" + stranger); n < 200 {
					t.Errorf("%s got %v, want the media of %s", peers[i].name, peers[i].received, stranger)
				}
			}
		})
	})
}

func TestDroppedCandidatesAreNotSent(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast, Faults: Faults{DropCandidates: []int{1, 2}}}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		newCall(t, kms, peers[0], peers[1])
		time.Sleep(time.Second)
		n := 0
		for _, e := range kms.seen() {
			if e.typ != "IceCandidateFound" {
				continue
			}
			n++
			if c := e.data["candidate"].(map[string]any)["candidate"].(string); strings.Contains(c, " 1 UDP ") {
				t.Errorf("sent %s", c)
			}
		}
		if n != 2*10 {
			t.Errorf("%d candidates were sent, want 10 of each endpoint", n)
		}
	})
}

func TestKeptObjectsAreFound(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast, Faults: Faults{KeepReleased: true}}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := newCall(t, kms, peers[0], peers[1])
		kms.value("release", map[string]any{"object": pipe})
		if code, _ := kms.fails("invoke", map[string]any{"object": pipe, "operation": "getName"}); code != 40101 {
			t.Errorf("code %d", code)
		}
		if left := s.Left(); len(left) != 3 {
			t.Errorf("left behind %q, want the pipeline and two endpoints", left)
		}
		if !strings.Contains(s.Dump(), "WebRtcEndpoint "+peers[0].endpoint+" sessions=0 released ice=") {
			t.Errorf("dump:\n%s", s.Dump())
		}
	})
}

func TestStalledDTLSNeverCompletes(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast, Faults: Faults{StallDTLS: 1}}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		newCall(t, kms, peers[0], peers[1])
		play(peers, 20*time.Second)
		a, b := peers[0], peers[1]
		if a.pc.ICEConnectionState() != webrtc.ICEConnectionStateConnected || a.pc.ConnectionState() != webrtc.PeerConnectionStateConnecting {
			t.Errorf("A is %s with ICE %s", a.pc.ConnectionState(), a.pc.ICEConnectionState())
		}
		if b.pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
			t.Errorf("B is %s", b.pc.ConnectionState())
		}
		if slices.Contains(eventsOf(kms, a.endpoint), "ConnectionStateChanged CONNECTED") {
			t.Error("the stalled endpoint reports a connection")
		}
	})
}

func TestThreadLimit(t *testing.T) {
	inBubble(t, 0, Config{Timing: Fast, Faults: Faults{ThreadLimit: 2}}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
		pipe := kms.create("MediaPipeline", nil)
		kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		args := map[string]any{"type": "WebRtcEndpoint", "constructorParams": map[string]any{"mediaPipeline": pipe}}
		if code, text := kms.fails("create", args); code != 40009 || text != "Reached KMS threads limit: 2" {
			t.Errorf("%d %s", code, text)
		}
		if code, _ := kms.fails("create", map[string]any{"type": "Nope"}); code != 40108 {
			t.Errorf("an unknown type gives %d", code)
		}
	})
}

func TestGetIceTcpKillsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startMock(t, Config{Timing: Fast})
		kms := dialTest(t, l)
		pipe := kms.create("MediaPipeline", nil)
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		go func() { _ = kms.request("invoke", map[string]any{"object": ep, "operation": "getIceTcp"}) }()
		kms.wg.Wait()
		synctest.Wait()
		if ws, _, err := (&websocket.Dialer{NetDialContext: l.dial}).Dial("ws://mock/kurento", nil); err == nil {
			_ = ws.Close()
			t.Error("the dead server still accepts connections")
		}
		kms.mu.Lock()
		defer kms.mu.Unlock()
		for _, ch := range kms.pending {
			select {
			case ch <- nil:
			default:
			}
		}
	})
}
