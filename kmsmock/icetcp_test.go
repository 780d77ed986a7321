package kmsmock

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
)

// onSockets runs a test on the loopback interface: against the mock, or
// against the server at CALLBENCH_KMS_URL.
func onSockets(t *testing.T, cfg Config, f func(kms *testClient)) {
	t.Helper()
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	url, dial := os.Getenv("CALLBENCH_KMS_URL"), (&net.Dialer{}).DialContext
	if url == "" {
		cfg.Interfaces = []string{"lo"}
		_, l := startMock(t, cfg)
		url, dial = "ws://mock/kurento", l.dial
	}
	kms := dialURL(t, url, dial)
	defer kms.close()
	f(kms)
}

// tcpOnly makes a peer whose only way to the server is to dial it.
func tcpOnly(t *testing.T) *testPeer {
	t.Helper()
	return newTestPeerWith(t, "A", nil, false, func(se *webrtc.SettingEngine) {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		must(t, err)
		mux := ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: l, Logger: quiet{}.NewLogger(""), ReadBufferSize: 8})
		t.Cleanup(func() { _ = mux.Close() })
		se.SetICETCPMux(mux)
	})
}

func TestLoopPeerOverTCP(t *testing.T) {
	onSockets(t, Config{}, func(kms *testClient) {
		p := tcpOnly(t)
		defer p.close()
		pipe := loopback(kms, p, func(string) bool { return true })
		p.play()
		arrived := make(chan struct{})
		go func() {
			defer close(arrived)
			p.await("audio:A", 50)
			p.await("video:A", 30)
		}()
		select {
		case <-arrived:
		case <-time.After(15 * time.Second):
			t.Fatalf("no media over TCP: %v; %q", p.received, eventsOf(kms, p.endpoint))
		}
		pair := kms.invoke(p.endpoint, "getICECandidatePairs", nil).([]any)[0].(map[string]any)
		local, remote := pair["localCandidate"].(string), pair["remoteCandidate"].(string)
		if !strings.HasPrefix(local, "candidate:3 1 TCP 1010828287 127.0.0.1 ") || !strings.HasSuffix(local, " typ host tcptype passive") {
			t.Errorf("local candidate %q", local)
		}
		if !strings.Contains(remote, " 1 TCP ") || !strings.HasSuffix(remote, " tcptype active") {
			t.Errorf("remote candidate %q", remote)
		}
		failed := awaitChange(kms, "IceComponentStateChanged 2 FAILED")
		// The peer dials component 2 as well, or has its pair before it comes to that.
		dialled := slices.Contains(eventsOf(kms, p.endpoint), "IceComponentStateChanged 2 CONNECTING")
		p.close()
		if !dialled {
			kms.value("release", map[string]any{"object": pipe})
			return
		}
		select {
		case <-failed:
		case <-time.After(15 * time.Second):
			t.Errorf("component 2 did not fail with its connection: %q", eventsOf(kms, p.endpoint))
		}
		kms.value("release", map[string]any{"object": pipe})
	})
}

// awaitChange returns a channel that closes with an event.
func awaitChange(kms *testClient, want string) <-chan struct{} {
	out := make(chan struct{})
	var once sync.Once
	kms.mu.Lock()
	defer kms.mu.Unlock()
	kms.onEvent = func(e testEvent) {
		if e.String() == want {
			once.Do(func() { close(out) })
		}
	}
	return out
}

// testTransport makes a transport of an endpoint that does nothing, on sockets.
func testTransport(t *testing.T) *mediaTransport {
	t.Helper()
	s, _ := startMock(t, Config{})
	tr := newMediaTransport(&rtcEndpoint{element: &element{obj: &mediaObject{srv: s}}}, 1, "bundle", iceSecret{"ufrag", "password"})
	t.Cleanup(tr.cancel)
	return tr
}

// listening makes a passive TCP port of a transport on the loopback interface.
func listening(t *testing.T) *passiveListener {
	t.Helper()
	l, err := testTransport(t).listenPassive(netip.MustParseAddr("127.0.0.1"), 2)
	must(t, err)
	return l
}

func dialPassive(t *testing.T, l *passiveListener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.port))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// promptly fails the test if f has not returned after a time that only somebody
// who waits for ever, or for a time-out, would need.
func promptly(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Fatal(what)
	}
}

func TestPassiveListenerClosesConnectionsThatSayNothing(t *testing.T) {
	l := listening(t)
	c := dialPassive(t, l)
	_, err := c.Write([]byte{0}) // half a length
	must(t, err)
	promptly(t, "close waits for a peer that says nothing", l.close)
}

func TestPassiveListenerIsNotHeldUpByPeersThatDoNotRead(t *testing.T) {
	l := listening(t)
	defer l.close()
	c := dialPassive(t, l)
	check := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("ufrag:peer"))
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(check.Raw))), check.Raw...))
	must(t, err)
	buf := make([]byte, maxDatagram)
	_, peer, err := l.conn.ReadFrom(buf)
	must(t, err)
	promptly(t, "a peer that does not read holds up the sender", func() {
		for range 32 << 20 / len(buf) {
			_, _ = l.conn.WriteTo(buf, peer)
		}
	})
}
