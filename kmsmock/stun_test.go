package kmsmock

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5"
)

// startSTUN answers binding requests with a mapped address, or with the
// sender's own if that is empty.
func startSTUN(t testing.TB, n transport.Net, mapped string) {
	t.Helper()
	conn, err := n.ListenPacket("udp4", "10.0.0.2:3478")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for port := 40001; ; port++ {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m := &stun.Message{Raw: slices.Clone(buf[:n])}
			own := from.(*net.UDPAddr)
			answer := &stun.XORMappedAddress{IP: own.IP, Port: own.Port}
			if mapped != "" {
				answer = &stun.XORMappedAddress{IP: net.ParseIP(mapped), Port: port}
			}
			if m.Decode() == nil {
				_, _ = conn.WriteTo(stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess, answer).Raw, from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
}

func TestReflexiveCandidates(t *testing.T) {
	reflexive := []string{
		"candidate:4 1 UDP 1679819775 203.0.113.7 P typ srflx raddr 10.0.0.1 rport P",
		"candidate:5 1 TCP 847250431 203.0.113.7 9 typ srflx raddr 10.0.0.1 rport 9 tcptype active",
		"candidate:6 1 TCP 843056127 203.0.113.7 P typ srflx raddr 10.0.0.1 rport P tcptype passive",
		"candidate:4 2 UDP 1679819774 203.0.113.7 P typ srflx raddr 10.0.0.1 rport P",
		"candidate:5 2 TCP 847250430 203.0.113.7 9 typ srflx raddr 10.0.0.1 rport 9 tcptype active",
		"candidate:6 2 TCP 843056126 203.0.113.7 P typ srflx raddr 10.0.0.1 rport P tcptype passive",
	}
	for _, c := range []struct {
		name, mapped string
		serve        bool
		want         []string
		least, most  time.Duration
	}{
		{"behind a NAT", "203.0.113.7", true, slices.Concat(hostTexts, reflexive), 0, 300 * time.Millisecond},
		{"no NAT", "", true, hostTexts, 0, 300 * time.Millisecond},
		{"nobody there", "", false, hostTexts, 2 * time.Second, 2200 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nets := virtualNet(t, 2)
				_, l := startMock(t, Config{Net: nets[0]})
				if c.serve {
					startSTUN(t, nets[1], c.mapped)
				}
				kms := dialTest(t, l)
				defer kms.close()
				ep, took := gatherOnce(t, kms, map[string]any{"stunServerAddress": "10.0.0.2", "stunServerPort": 3478})
				if got := candidatesOf(kms, ep); !slices.Equal(got, c.want) {
					t.Errorf("candidates:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
				if took < c.least || took > c.most {
					t.Errorf("gathering took %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}

// A name server that does not answer keeps neither gathering nor its end.
func TestStunNameIsResolvedNoLongerThanAnybodyWaits(t *testing.T) {
	asked, gone := make(chan struct{}, 64), make(chan error, 64)
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		asked <- struct{}{}
		<-ctx.Done()
		gone <- ctx.Err()
		return nil, ctx.Err()
	}}
	tr := testTransport(t)
	tr.stunServer = "stun.callbench.test.:3478"
	resolved := make(chan struct{})
	go func() {
		defer close(resolved)
		if a, err := tr.resolveSTUN(time.Now().Add(time.Hour)); err == nil {
			t.Errorf("a name that nobody knows is %v", a)
		}
	}()
	<-asked
	tr.cancel()
	<-resolved
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the name server was asked until %v, want the transport's end", err)
	}
	tr = testTransport(t)
	tr.stunServer = "127.0.0.1:3478"
	if a, err := tr.resolveSTUN(time.Now().Add(time.Hour)); err != nil || a.String() != tr.stunServer {
		t.Errorf("%s is %v: %v", tr.stunServer, a, err)
	}
}

// A peer is not kept waiting by a STUN server that does not answer.
func TestCallGoesOnWhileStunIsSilent(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		p.set = map[string]any{"stunServerAddress": "10.0.0.77"}
		loopback(kms, p, func(string) bool { return true })
		connected := awaitEvent(t, kms, p.endpoint, "ConnectionStateChanged", 1)
		if done := awaitEvent(t, kms, p.endpoint, "IceGatheringDone", 1); !connected.Before(done) {
			t.Errorf("connected %v after gathering", connected.Sub(done))
		}
		play([]*testPeer{p}, 5*time.Second)
		if p.got("audio:A") < 200 {
			t.Errorf("got back %v", p.received)
		}
	})
}

func TestExternalAddressIsWrittenInHostCandidates(t *testing.T) {
	inBubble(t, 0, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, _ []*testPeer) {
		ep, _ := gatherOnce(t, kms, map[string]any{"externalIPv4": "203.0.113.7", "externalIPv6": "2001:db8::9"})
		for i, got := range candidatesOf(kms, ep) {
			if want := strings.Replace(hostTexts[i], "10.0.0.1", "203.0.113.7", 1); got != want {
				t.Errorf("candidate %q, want %q", got, want)
			}
		}
		sdp := kms.invoke(ep, "getLocalSessionDescriptor", nil).(string)
		if strings.Count(sdp, "c=IN IP4 10.0.0.1\r\n") != 2 || strings.Count(sdp, " 203.0.113.7 ") != 12 {
			t.Errorf("description:\n%s", sdp)
		}
	})
}

func TestWithoutIceTcpThereAreOnlyUdpCandidates(t *testing.T) {
	inBubble(t, 0, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, _ []*testPeer) {
		ep, _ := gatherOnce(t, kms, map[string]any{"iceTcp": false})
		if got, want := candidatesOf(kms, ep), []string{hostTexts[0], hostTexts[3]}; !slices.Equal(got, want) {
			t.Errorf("candidates %q, want %q", got, want)
		}
	})
}

// passivePorts gathers in virtual time, and returns the ports that only text
// has and the id of the object that is made next.
func passivePorts(t *testing.T, seed uint64, tcp bool) (ports []string, next string) {
	inBubble(t, 0, Config{Timing: Fast, Seed: seed}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
		ep, _ := gatherOnce(t, kms, map[string]any{"iceTcp": tcp})
		for _, e := range kms.seen() {
			if m, ok := e.data["candidate"].(map[string]any); ok && e.object == ep {
				if text := m["candidate"].(string); strings.HasSuffix(text, "tcptype passive") {
					ports = append(ports, strings.Fields(text)[5])
				}
			}
		}
		next = kms.create("MediaPipeline", nil)
	})
	return ports, next
}

// Gathering is in no order, so that what it draws must not change what others do.
func TestPortsAreOfTheSeedAndChangeNoIds(t *testing.T) {
	ports, id := passivePorts(t, 7, true)
	again, _ := passivePorts(t, 7, true)
	other, _ := passivePorts(t, 8, true)
	_, without := passivePorts(t, 7, false)
	if len(ports) < 2 || len(slices.Compact(slices.Sorted(slices.Values(ports)))) < 2 {
		t.Errorf("ports %q, want some that differ", ports)
	}
	if !slices.Equal(ports, again) || slices.Equal(ports, other) {
		t.Errorf("ports %q, then %q, with another seed %q", ports, again, other)
	}
	if id != without {
		t.Errorf("the next id is %s with TCP candidates and %s without", id, without)
	}
}

func TestNamedCandidateHoldsTheRequest(t *testing.T) {
	inBubble(t, 0, Config{}, func(t *testing.T, _ *Server, kms *testClient, _ []*testPeer) {
		ep, _ := gatherOnce(t, kms, nil)
		began := time.Now()
		got := kms.invoke(ep, "addIceCandidate", map[string]any{"candidate": map[string]any{"sdpMid": "0", "sdpMLineIndex": 0,
			"candidate": "candidate:1 1 udp 2113937151 1f5b1ff5-4a7f-4a6c-8a0e-1f5b1ff54a7f.local 42651 typ host generation 0"}})
		if took := time.Since(began); got != nil || took < 6*time.Second || took > 7*time.Second {
			t.Errorf("%v after %v, want null after 6.1 s", got, took)
		}
	})
}

// The address that is only written is not in the pair, nor does it work.
func TestExternalAddressIsNotInThePair(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		p.set = map[string]any{"externalIPv4": "203.0.113.7"}
		loopback(kms, p, func(string) bool { return true })
		awaitEvent(t, kms, p.endpoint, "NewCandidatePairSelected", 1)
		pair := kms.invoke(p.endpoint, "getICECandidatePairs", nil).([]any)[0].(map[string]any)
		if local := strings.TrimSpace(maskPorts(pair["localCandidate"].(string))); local != hostTexts[0] {
			t.Errorf("local candidate %q, want %q", local, hostTexts[0])
		}
	})
}

// A peer whose candidates never arrive is found by its checks.
func TestPeerWithoutCandidatesIsReflexive(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		p.mute = true
		loopback(kms, p, func(string) bool { return true })
		play([]*testPeer{p}, 5*time.Second)
		if p.got("audio:A") < 200 {
			t.Errorf("got back %v", p.received)
		}
		pair := kms.invoke(p.endpoint, "getICECandidatePairs", nil).([]any)[0].(map[string]any)
		if remote := pair["remoteCandidate"].(string); !regexp.MustCompile(`^candidate:remote1 1 UDP \d+ 10\.0\.0\.2 \d+ typ prflx$`).MatchString(remote) {
			t.Errorf("remote candidate %q", remote)
		}
	})
}

func TestEachMediumOutsideTheBundleHasAStream(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		p.unbundled = true
		loopback(kms, p, func(string) bool { return true })
		time.Sleep(5 * time.Second)
		var found [2]int
		for _, e := range kms.seen() {
			if c, ok := e.data["candidate"].(map[string]any); ok {
				found[int(c["sdpMLineIndex"].(float64))]++
			}
		}
		if found != [2]int{6, 6} {
			t.Errorf("%d and %d candidates, want 6 of each m-line", found[0], found[1])
		}
		events := eventsOf(kms, p.endpoint)
		if n := strings.Count(strings.Join(events, "\n"), "IceGatheringDone"); n != 1 {
			t.Errorf("gathering ended %d times", n)
		}
		states := kms.invoke(p.endpoint, "getIceConnectionState", nil).([]any)
		if len(states) != 4 || states[2].(map[string]any)["streamId"] != "2" {
			t.Errorf("states of components: %v", states)
		}
		sdp := kms.invoke(p.endpoint, "getLocalSessionDescriptor", nil).(string)
		fragments := regexp.MustCompile(`a=ice-ufrag:(\S+)`).FindAllStringSubmatch(sdp, -1)
		if len(fragments) != 2 || fragments[0][1] == fragments[1][1] {
			t.Errorf("fragments %q", fragments)
		}
	})
}
