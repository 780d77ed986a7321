package netsim_test

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/callbench/callbench/internal/netsim"
)

// TestLinkLog: every change is one record, a change to the same state none.
func TestLinkLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	l := netsim.NewLink(netsim.LinkConfig{Host: "alice", Log: log})
	l.Cut()
	l.Cut()
	l.Restore()
	l.Restore()
	l.Reset()
	l.SetLoss(10)
	l.SetDuplicates(2.5)
	l.SetDelay(20 * time.Millisecond)
	l.CutUDP(true)
	l.CutUDP(true)
	l.CutUDP(false)
	l.CutUDP(false)
	l.Hold(true, false)
	l.Restore()
	want := []string{
		"level=INFO msg=net.cut host=alice",
		"level=INFO msg=net.restore host=alice",
		"level=INFO msg=net.reset host=alice streams=0",
		"level=INFO msg=net.loss host=alice loss=10",
		"level=INFO msg=net.duplicates host=alice duplicates=2.5",
		"level=INFO msg=net.delay host=alice delay=20ms",
		"level=INFO msg=net.udp host=alice cut=true",
		"level=INFO msg=net.udp host=alice cut=false",
		"level=INFO msg=net.hold host=alice out=true in=false",
		"level=INFO msg=net.restore host=alice",
	}
	if got := strings.Split(strings.TrimSpace(out.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDatagramAllocatesNothing guards the cheapness of a link on real sockets.
func TestDatagramAllocatesNothing(t *testing.T) {
	inner, err := stdnet.NewNet()
	check(t, err)
	for name, loss := range map[string]float64{"unimpaired": 0, "lossy": 0.001} {
		l := netsim.NewLink(netsim.LinkConfig{})
		l.SetLoss(loss)
		c := linkedSocket(t, inner, l)
		defer c.Close()
		fast := c.(ice.AddrPortReaderWriter)
		self := c.LocalAddr().(*net.UDPAddr).AddrPort()
		buf := make([]byte, 100)
		allocs := testing.AllocsPerRun(100, func() {
			_, err1 := fast.WriteToAddrPort(rtpPacket, self)
			_, from, err2 := fast.ReadFromAddrPort(buf)
			if err1 != nil || err2 != nil || from != self {
				t.Fatal(err1, err2, from)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a packet", name, allocs)
		}
	}
}

// TestStreamSurvivesAnyNetwork: whatever happens to the links, what was
// written before the close arrives whole and in order.
func TestStreamSurvivesAnyNetwork(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { survive(t, seed) })
	}
}

// survive sends random bytes both ways through links that change at random.
func survive(t *testing.T, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := newPair(t, time.Duration(rnd.IntN(3))*10*time.Millisecond)
	var writers, readers sync.WaitGroup
	for _, way := range [][2]net.Conn{{p.near, p.far}, {p.far, p.near}} {
		sent := make([]byte, rnd.IntN(1<<20))
		rand.NewChaCha8([32]byte{byte(seed)}).Read(sent)
		pace := rand.New(rand.NewPCG(seed, 1))
		writers.Go(func() { trickle(way[0], sent, pace) })
		readers.Go(func() {
			if got, err := io.ReadAll(way[1]); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("seed %d: %d of %d bytes came through, %v", seed, len(got), len(sent), err)
			}
		})
	}
	for range 30 {
		disturb(rnd, []*netsim.Link{p.nearLink, p.farLink}[rnd.IntN(2)])
		time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
	}
	for _, l := range []*netsim.Link{p.nearLink, p.farLink} {
		l.Restore()
	}
	writers.Wait()
	readers.Wait()
	p.near.Close()
	p.far.Close()
}

// trickle writes b in pieces, and ends the stream.
func trickle(c net.Conn, b []byte, rnd *rand.Rand) {
	for len(b) > 0 {
		n := min(len(b), 1+rnd.IntN(100_000))
		c.Write(b[:n])
		b = b[n:]
		time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
	}
	c.(interface{ CloseWrite() error }).CloseWrite()
}

// disturb changes a link at random.
func disturb(rnd *rand.Rand, l *netsim.Link) {
	switch rnd.IntN(3) {
	case 0:
		l.Cut()
	case 1:
		l.Restore()
	default:
		l.SetDelay(time.Duration(rnd.IntN(100)) * time.Millisecond)
	}
}

// TestPionOverSockets connects two PeerConnections over real loopback sockets
// behind links.
func TestPionOverSockets(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := &call{start: time.Now()}
	connected := make(chan struct{}, 2)
	links := [2]*netsim.Link{}
	for i, pc := range []**webrtc.PeerConnection{&c.a, &c.b} {
		links[i] = netsim.NewLink(netsim.LinkConfig{Host: []string{"alice", "bob"}[i]})
		*pc = socketPeer(t, links[i])
		(*pc).OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
			if s == webrtc.PeerConnectionStateConnected {
				connected <- struct{}{}
			}
		})
	}
	_, err := c.a.CreateDataChannel("d", nil)
	check(t, err)
	c.negotiate(t)
	<-connected
	<-connected
	check(t, c.a.Close())
	check(t, c.b.Close())
	for _, l := range links {
		traffic := l.Traffic()
		for _, class := range []netsim.Class{netsim.STUN, netsim.DTLS} {
			if traffic.Out[class].Packets == 0 || traffic.In[class].Packets == 0 {
				t.Errorf("%s: %v has passed the link by: %+v out, %+v in", l.Host(), class, traffic.Out[class], traffic.In[class])
			}
		}
	}
}

// socketPeer returns a PeerConnection on loopback behind a link.
func socketPeer(t *testing.T, l *netsim.Link) *webrtc.PeerConnection {
	t.Helper()
	inner, err := stdnet.NewNet()
	check(t, err)
	s := webrtc.SettingEngine{}
	s.SetNet(netsim.Net(inner, l))
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() && ip.To4() != nil })
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	check(t, err)
	return pc
}

// TestNetTCPOverSockets: TCP made through Net is behind the link on both ends.
func TestNetTCPOverSockets(t *testing.T) {
	defer goleak.VerifyNone(t)
	inner, err := stdnet.NewNet()
	check(t, err)
	client, server := netsim.NewLink(netsim.LinkConfig{}), netsim.NewLink(netsim.LinkConfig{})
	defer client.Close()
	defer server.Close()
	l, err := netsim.Net(inner, server).ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	defer l.Close()
	near, err := netsim.Net(inner, client).DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	check(t, err)
	defer near.Close()
	far, err := l.Accept()
	check(t, err)
	defer far.Close()
	for _, link := range []*netsim.Link{client, server} {
		link.Cut()
		mustWrite(t, near, "stalled")
		far.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if one(far) == nil {
			t.Fatal("bytes passed a link that is cut")
		}
		far.SetReadDeadline(time.Time{})
		link.Restore()
		wantRead(t, far, "stalled")
	}
}

// TestListener puts an ordinary listener's connections behind a link.
func TestListener(t *testing.T) {
	defer goleak.VerifyNone(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	link := netsim.NewLink(netsim.LinkConfig{})
	defer link.Close()
	l := netsim.Listener(inner, link)
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	defer near.Close()
	far, err := l.Accept()
	check(t, err)
	link.Cut()
	mustWrite(t, far, "stalled")
	far.Close()
	link.Restore()
	all, err := io.ReadAll(near)
	if string(all) != "stalled" || err != nil {
		t.Fatalf("read %q, %v", all, err)
	}
}
