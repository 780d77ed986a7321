package kmsmock

import (
	"context"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"
)

// startTURN serves TURN on a virtual host for one user; the relay's address is
// the host's.
func startTURN(t testing.TB, n transport.Net, ip, user, password string) {
	t.Helper()
	conn, err := n.ListenPacket("udp4", ip+":3478")
	must(t, err)
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: quiet{},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, password), a.Username == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: conn, RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
			RelayAddress: net.ParseIP(ip), Address: ip, Net: n,
		}}},
	})
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
}

// ports are masked in the texts that the tests compare.
var ports = regexp.MustCompile(`(10\.0\.0\.\d+|127\.0\.0\.1|203\.0\.113\.7) (\d{2,5}) |rport \d{2,5}`)

func maskPorts(s string) string {
	return ports.ReplaceAllStringFunc(s+" ", func(m string) string {
		if strings.HasPrefix(m, "rport") {
			return "rport P"
		}
		return strings.Fields(m)[0] + " P "
	})
}

// candidatesOf are the texts of an endpoint's candidates for its first m-line.
func candidatesOf(c *testClient, object string) []string {
	var out []string
	for _, e := range c.seen() {
		if m, ok := e.data["candidate"].(map[string]any); ok && e.object == object && m["sdpMLineIndex"] == 0.0 {
			out = append(out, strings.TrimSpace(maskPorts(m["candidate"].(string))))
		}
	}
	return out
}

// gatherOnce makes an endpoint, negotiates an offer of a browser's and gathers.
func gatherOnce(t testing.TB, kms *testClient, set map[string]any) (endpoint string, took time.Duration) {
	t.Helper()
	pipe := kms.create("MediaPipeline", nil)
	endpoint = kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
	kms.subscribe(endpoint, endpointEvents...)
	setAll(kms, endpoint, set)
	kms.invoke(endpoint, "processOffer", map[string]any{"offer": plainOffer})
	began := time.Now()
	kms.invoke(endpoint, "gatherCandidates", nil)
	return endpoint, awaitEvent(t, kms, endpoint, "IceGatheringDone", 1).Sub(began)
}

func setAll(kms *testClient, object string, set map[string]any) {
	for name, v := range set {
		kms.invoke(object, "set"+strings.ToUpper(name[:1])+name[1:], map[string]any{name: v})
	}
}

// awaitEvent waits in virtual time for the n-th event of a type.
func awaitEvent(t testing.TB, kms *testClient, object, typ string, n int) time.Time {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		seen := 0
		for _, e := range kms.seen() {
			if e.object == object && e.typ == typ {
				if seen++; seen == n {
					return e.at
				}
			}
		}
	}
	t.Fatalf("no %s number %d of %s: %q", typ, n, object, eventsOf(kms, object))
	return time.Time{}
}

const plainOffer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-mux\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n" +
	"a=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtcp-mux\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n" +
	"a=sendrecv\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 goog-remb\r\n"

var hostTexts = []string{
	"candidate:1 1 UDP 2015364095 10.0.0.1 P typ host",
	"candidate:2 1 TCP 1015022591 10.0.0.1 9 typ host tcptype active",
	"candidate:3 1 TCP 1010828287 10.0.0.1 P typ host tcptype passive",
	"candidate:1 2 UDP 2015364094 10.0.0.1 P typ host",
	"candidate:2 2 TCP 1015022590 10.0.0.1 9 typ host tcptype active",
	"candidate:3 2 TCP 1010828286 10.0.0.1 P typ host tcptype passive",
}

var relayTexts = []string{
	"candidate:7 1 UDP 505414655 10.0.0.2 P typ relay raddr 10.0.0.1 rport P",
	"candidate:7 2 UDP 505414654 10.0.0.2 P typ relay raddr 10.0.0.1 rport P",
}

func TestRelayCandidatesAreReportedAfterHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, 2)
		_, l := startMock(t, Config{Net: nets[0]})
		startTURN(t, nets[1], "10.0.0.2", "1795381499:alice", "pw/=")
		kms := dialTest(t, l)
		defer kms.close()
		ep, took := gatherOnce(t, kms, map[string]any{"turnUrl": "1795381499:alice:pw/=@10.0.0.2:3478"})
		if got, want := candidatesOf(kms, ep), slices.Concat(hostTexts, relayTexts); !slices.Equal(got, want) {
			t.Errorf("candidates:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if took > 500*time.Millisecond {
			t.Errorf("gathering took %v", took)
		}
		sdp := maskPorts(kms.invoke(ep, "getLocalSessionDescriptor", nil).(string))
		if n := strings.Count(sdp, "typ relay"); n != 4 {
			t.Errorf("%d relay candidates in the description, want 4", n)
		}
	})
}

func TestTurnServerSetLaterGivesOnlyRelayCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, 2)
		_, l := startMock(t, Config{Net: nets[0], Timing: Fast})
		startTURN(t, nets[1], "10.0.0.2", "kms", "pw")
		kms := dialTest(t, l)
		defer kms.close()
		ep, _ := gatherOnce(t, kms, nil)
		kms.invoke(ep, "setTurnUrl", map[string]any{"turnUrl": "kms:pw@10.0.0.2:3478?transport=udp"})
		kms.invoke(ep, "gatherCandidates", nil)
		awaitEvent(t, kms, ep, "IceGatheringDone", 2)
		kms.invoke(ep, "gatherCandidates", nil)
		awaitEvent(t, kms, ep, "IceGatheringDone", 3)
		if got, want := candidatesOf(kms, ep), slices.Concat(hostTexts, relayTexts); !slices.Equal(got, want) {
			t.Errorf("candidates:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestFailuresOfTurnAreSilent(t *testing.T) {
	for _, c := range []struct {
		name, url string
		least     time.Duration
		most      time.Duration
	}{
		{"wrong password", "kms:wrong@10.0.0.2:3478", 0, 300 * time.Millisecond},
		{"nobody there", "kms:pw@10.0.0.77:3478", 2 * time.Second, 2200 * time.Millisecond},
		{"nobody there over TCP", "kms:pw@10.0.0.77:3478?transport=tcp", 0, 100 * time.Millisecond},
		{"not a URL", "turn:10.0.0.2:3478", 0, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nets := virtualNet(t, 2)
				_, l := startMock(t, Config{Net: nets[0]})
				startTURN(t, nets[1], "10.0.0.2", "kms", "pw")
				kms := dialTest(t, l)
				defer kms.close()
				ep, took := gatherOnce(t, kms, map[string]any{"turnUrl": c.url})
				if got := candidatesOf(kms, ep); !slices.Equal(got, hostTexts) {
					t.Errorf("candidates: %q", got)
				}
				if took < c.least || took > c.most {
					t.Errorf("gathering took %v, want %v to %v", took, c.least, c.most)
				}
				if errors := slices.Contains(eventsOf(kms, ep), "Error"); errors != (c.name == "not a URL") {
					t.Errorf("Error event: %v", errors)
				}
			})
		})
	}
}

// A mutedNet is a network whose TCP connections are neither accepted nor
// refused.
type mutedNet struct{ transport.Net }

func (n mutedNet) DialTCP(string, *net.TCPAddr, *net.TCPAddr) (transport.TCPConn, error) {
	time.Sleep(2 * time.Minute)
	return nil, os.ErrDeadlineExceeded
}

func (n mutedNet) CreateDialer(d *net.Dialer) transport.Dialer { return mutedDialer{d} }

type mutedDialer struct{ *net.Dialer }

func (d mutedDialer) Dial(string, string) (net.Conn, error) {
	if d.Deadline.IsZero() {
		time.Sleep(2 * time.Minute)
	}
	time.Sleep(time.Until(d.Deadline))
	return nil, os.ErrDeadlineExceeded
}

func TestTurnServerThatDoesNotAcceptIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startMock(t, Config{Net: mutedNet{virtualNet(t, 1)[0]}})
		kms := dialTest(t, l)
		defer kms.close()
		_, took := gatherOnce(t, kms, map[string]any{"turnUrl": "kms:pw@10.0.0.77:3478?transport=tcp"})
		if most := recordedPace().serverTimeout + 200*time.Millisecond; took > most {
			t.Errorf("gathering took %v, want %v at most", took, most)
		}
	})
}

func TestTurnServerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	tr := testTransport(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := tr.dialTURN(ctx, turnServer{address: l.Addr().String(), transport: "tcp"}, nil)
	must(t, err)
	buf := make([]byte, maxDatagram)
	promptly(t, "a TURN server that does not read holds up the sender", func() {
		for range 32 << 20 / len(buf) {
			_, _ = conn.WriteTo(buf, nil)
		}
	})
	promptly(t, "a TURN server that does not read holds up the end", func() { _ = conn.Close() })
}

// What is said last, which is how an allocation ends, still goes out.
func TestQueuedConnWritesWhatWaitsBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newQueuedConn(near)
		for _, text := range []string{"the ", "last ", "word"} {
			_, err := c.Write([]byte(text))
			must(t, err)
		}
		go func() { _ = c.Close() }()
		b, err := io.ReadAll(far)
		if must(t, err); string(b) != "the last word" {
			t.Errorf("the other end read %q", b)
		}
		if _, err := c.Write([]byte("too late")); err == nil {
			t.Error("a write after the end succeeded")
		}
	})
}

// relayOnly makes a peer use nothing but the TURN server.
func relayOnly(t testing.TB, p *testPeer) {
	t.Helper()
	must(t, p.pc.SetConfiguration(webrtc.Configuration{
		ICEServers:         []webrtc.ICEServer{{URLs: []string{"turn:10.0.0.2:3478"}, Username: "pion", Credential: "pw"}},
		ICETransportPolicy: webrtc.ICETransportPolicyRelay,
	}))
}

func TestPeerBehindARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, 3)
		s, l := startMock(t, Config{Net: nets[0]})
		startTURN(t, nets[1], "10.0.0.2", "pion", "pw")
		kms := dialTest(t, l)
		defer kms.close()
		p := newTestPeer(t, "A", nets[2], false)
		defer p.close()
		relayOnly(t, p)
		pipe := loopback(kms, p, func(string) bool { return true })
		play([]*testPeer{p}, 12*time.Second)
		if p.got("audio:A") < 300 || p.got("video:A") < 150 {
			t.Errorf("got back %v", p.received)
		}
		pair := kms.invoke(p.endpoint, "getICECandidatePairs", nil).([]any)[0].(map[string]any)
		if remote := pair["remoteCandidate"].(string); !strings.Contains(remote, " UDP ") || !strings.Contains(remote, " typ relay raddr 0.0.0.0 rport ") {
			t.Errorf("remote candidate of the pair: %s", remote)
		}
		var second []string
		for _, e := range eventsOf(kms, p.endpoint) {
			if state, ok := strings.CutPrefix(e, "IceComponentStateChanged 2 "); ok {
				second = append(second, state)
			}
		}
		if !slices.Equal(second, []string{"GATHERING", "CONNECTING", "FAILED"}) {
			t.Errorf("component 2 was %q", second)
		}
		kms.value("release", map[string]any{"object": pipe})
		if left := s.Left(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

func TestBothSidesBehindARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, 3)
		_, l := startMock(t, Config{Net: nets[0], Timing: Fast})
		startTURN(t, nets[1], "10.0.0.2", "pion", "pw")
		kms := dialTest(t, l)
		defer kms.close()
		p := newTestPeer(t, "A", nets[2], false)
		defer p.close()
		relayOnly(t, p)
		p.set = map[string]any{"turnUrl": "pion:pw@10.0.0.2:3478"}
		loopback(kms, p, func(text string) bool { return strings.Contains(text, "typ relay") })
		play([]*testPeer{p}, 6*time.Second)
		if p.got("audio:A") < 100 || p.got("video:A") < 50 {
			t.Errorf("got back %v", p.received)
		}
		pair := kms.invoke(p.endpoint, "getICECandidatePairs", nil).([]any)[0].(map[string]any)
		if local := maskPorts(pair["localCandidate"].(string)); strings.TrimSpace(local) != relayTexts[0] {
			t.Errorf("local candidate of the pair: %s", local)
		}
	})
}

// loopback connects a peer's endpoint to itself; the peer gets the candidates
// that pass.
func loopback(kms *testClient, p *testPeer, pass func(string) bool) (pipe string) {
	pipe = kms.create("MediaPipeline", nil)
	ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
	kms.mu.Lock()
	kms.onEvent = func(e testEvent) {
		if c, ok := e.data["candidate"].(map[string]any); ok && pass(c["candidate"].(string)) {
			p.candidate(e)
		}
	}
	kms.mu.Unlock()
	kms.subscribe(ep, endpointEvents...)
	setAll(kms, ep, p.set)
	kms.invoke(ep, "connect", map[string]any{"sink": ep})
	p.join(kms, ep)
	return pipe
}
