package kmsmock

import (
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

func TestPassThroughPassesMedia(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := newCall(t, kms, peers[0], peers[1])
		through := kms.create("PassThrough", map[string]any{"mediaPipeline": pipe})
		kms.subscribe(through, "MediaFlowInStateChanged", "MediaFlowOutStateChanged")
		kms.invoke(peers[0].endpoint, "disconnect", map[string]any{"sink": peers[1].endpoint})
		kms.invoke(peers[0].endpoint, "connect", map[string]any{"sink": through})
		kms.invoke(through, "connect", map[string]any{"sink": peers[1].endpoint})
		play(peers, 5*time.Second)
		if n := peers[1].got("video:A"); n < 120 {
			t.Errorf("B got %d frames through the element", n)
		}
		if got := eventsOf(kms, through); len(got) != 4 {
			t.Errorf("events of the element: %q", got)
		}
	})
}

func TestServerOffers(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		pipe := kms.create("MediaPipeline", nil)
		p.endpoint = kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		kms.onEvent = func(e testEvent) {
			if e.typ == "IceCandidateFound" {
				p.candidate(e)
			}
		}
		kms.subscribe(p.endpoint, endpointEvents...)
		kms.invoke(p.endpoint, "connect", map[string]any{"sink": p.endpoint})
		offer := kms.invoke(p.endpoint, "generateOffer", nil).(string)
		must(t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
		answer, err := p.pc.CreateAnswer(nil)
		must(t, err)
		gathered := webrtc.GatheringCompletePromise(p.pc)
		must(t, p.pc.SetLocalDescription(answer))
		<-gathered
		p.ready = true
		kms.invoke(p.endpoint, "processAnswer", map[string]any{"answer": p.pc.LocalDescription().SDP})
		kms.invoke(p.endpoint, "gatherCandidates", nil)
		play(peers, 5*time.Second)
		if p.got("audio:A") < 200 || p.got("video:A") < 120 {
			t.Errorf("got back %v", p.received)
		}
	})
}

// lossyNet is virtualNet with packets lost by a hash of their hosts, class and
// number within the class, so that two runs lose the same ones. The source
// alone is not enough: the server's endpoints send in the same instant.
func lossyNet(t testing.TB, hosts, percent int) []transport.Net {
	t.Helper()
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", LoggerFactory: quiet{}, MinDelay: 10 * time.Millisecond})
	must(t, err)
	var mu sync.Mutex
	seen := map[string]int{}
	router.AddChunkFilter(func(c vnet.Chunk) bool {
		class := "rtp"
		switch b := c.UserData(); {
		case b[0] < 4:
			class = "stun"
		case b[0] < 64:
			class = "dtls"
		}
		mu.Lock()
		defer mu.Unlock()
		key := host(c.SourceAddr()) + host(c.DestinationAddr()) + class
		seen[key]++
		h := fnv.New32a()
		fmt.Fprint(h, key, seen[key])
		return h.Sum32()%100 >= uint32(percent)
	})
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

func host(a net.Addr) string { return a.(*net.UDPAddr).IP.String() }

// lossyTrace sets a call up on a bad network and returns its state changes
// with their times, sorted.
func lossyTrace(t *testing.T, percent int) string {
	var trace string
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		nets := lossyNet(t, 3, percent)
		_, l := startMock(t, Config{Net: nets[0]})
		kms := dialTest(t, l)
		defer kms.close()
		peers := []*testPeer{newTestPeer(t, "A", nets[1], false), newTestPeer(t, "B", nets[2], false)}
		newCall(t, kms, peers[0], peers[1])
		time.Sleep(15 * time.Second)
		var lines []string
		for _, e := range kms.seen() {
			lines = append(lines, fmt.Sprintf("%8d %s %s", e.at.Sub(start).Microseconds(), e.object[len(e.object)-40:], e))
		}
		slices.Sort(lines)
		trace = strings.Join(lines, "\n")
		for _, p := range peers {
			if p.pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
				t.Errorf("%s is %s", p.name, p.pc.ConnectionState())
			}
			p.close()
		}
	})
	return trace
}

func TestSetupUnderLossIsRepeatable(t *testing.T) {
	for _, percent := range []int{0, 10, 20} {
		first := lossyTrace(t, percent)
		for range 8 {
			if again := lossyTrace(t, percent); again != first {
				t.Fatalf("%d %% loss: two runs differ:\n%s\n\n%s", percent, first, again)
			}
		}
	}
}

func TestLoopCallOnRealSockets(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	defer goleak.VerifyNone(t)
	s, err := New(Config{Interfaces: []string{"lo"}})
	must(t, err)
	l := newMemListener()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	kms := dialTest(t, l)
	arrived := make(chan struct{})
	peers := []*testPeer{newTestPeer(t, "A", nil, false), newTestPeer(t, "B", nil, false)}
	newCall(t, kms, peers[0], peers[1])
	for _, p := range peers {
		p.play()
	}
	go func() {
		defer close(arrived)
		for _, p := range peers {
			p.await("video:"+map[string]string{"A": "B", "B": "A"}[p.name], 20)
		}
	}()
	select {
	case <-arrived:
	case <-time.After(20 * time.Second):
		t.Errorf("no media: %v %v", peers[0].received, peers[1].received)
	}
	for _, p := range peers {
		p.close()
	}
	kms.close()
	must(t, s.Close())
	must(t, <-served)
}
