package netsim_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/transport/v5"

	"github.com/callbench/callbench/internal/netsim"
)

// Datagrams of every class, as short as can be told apart.
var (
	stunPacket = []byte{0x00, 0x01, 0, 0}
	dtlsPacket = []byte{22, 0xfe, 0xfd}
	rtpPacket  = []byte{0x80, 96, 0, 1}
	rtcpPacket = []byte{0x80, 200, 0, 1}
	turnPacket = append([]byte{0x40, 0x00, 0, 4}, rtpPacket...) // ChannelData
	oddPacket  = []byte{0xff, 0xff}
)

// world is a topology with two hosts, and a socket on each.
type world struct {
	*netsim.Topology
	alice, bob *netsim.Host
	a, b       transport.UDPConn
}

// inWorld runs f in a bubble with a fresh world, and closes that afterwards.
func inWorld(t *testing.T, delay time.Duration, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{Topology: newTopology(t, netsim.TopologyConfig{Seed: 1, Delay: delay})}
		w.alice, w.a = w.open(t, "alice")
		w.bob, w.b = w.open(t, "bob")
		defer func() {
			w.a.Close()
			w.b.Close()
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(t, w)
	})
}

// newTopology returns a topology or fails the test.
func newTopology(tb testing.TB, cfg netsim.TopologyConfig) *netsim.Topology {
	tb.Helper()
	top, err := netsim.NewTopology(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return top
}

// mustHost returns a host or fails the test.
func mustHost(tb testing.TB, top *netsim.Topology, name string) *netsim.Host {
	tb.Helper()
	h, err := top.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// open returns a host and a socket on it.
func (w *world) open(t *testing.T, name string) (*netsim.Host, transport.UDPConn) {
	t.Helper()
	h := mustHost(t, w.Topology, name)
	c, err := h.Net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP(h.IP.AsSlice())})
	if err != nil {
		t.Fatal(err)
	}
	return h, c
}

// send sends b from alice to bob.
func (w *world) send(t *testing.T, b []byte) {
	t.Helper()
	if n, err := w.a.WriteTo(b, w.b.LocalAddr()); n != len(b) || err != nil {
		t.Fatalf("WriteTo = %d, %v", n, err)
	}
}

// drain reads what bob receives until nothing has come for a second.
func (w *world) drain(t *testing.T) (got []string) {
	t.Helper()
	b := make([]byte, 1500)
	for {
		w.b.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := w.b.ReadFrom(b)
		if err != nil {
			wantError(t, "read", err, os.ErrDeadlineExceeded)
			return got
		}
		if from.String() != w.a.LocalAddr().String() {
			t.Fatalf("packet from %v, want %v", from, w.a.LocalAddr())
		}
		got = append(got, string(b[:n]))
	}
}

func TestDatagramsCutAndRestore(t *testing.T) {
	inWorld(t, 20*time.Millisecond, func(t *testing.T, w *world) {
		var got []string
		for i, step := range []func(){func() {}, w.alice.Link.Cut, w.alice.Link.Restore, w.bob.Link.Cut, w.bob.Link.Restore} {
			step()
			w.send(t, fmt.Append(nil, i))
			got = append(got, w.drain(t)...)
		}
		if !slices.Equal(got, []string{"0", "2", "4"}) {
			t.Fatalf("bob received %q", got)
		}
		out, in := w.alice.Link.Traffic().Out[netsim.Other], w.bob.Link.Traffic().In[netsim.Other]
		if out.Packets != 5 || out.Cut != 1 || in.Packets != 4 || in.Cut != 1 {
			t.Errorf("alice sent %+v, bob received %+v", out, in)
		}
	})
}

// TestDatagramsCutUnderWay: what reaches a host after it was cut off is lost.
func TestDatagramsCutUnderWay(t *testing.T) {
	inWorld(t, 20*time.Millisecond, func(t *testing.T, w *world) {
		go func() {
			time.Sleep(10 * time.Millisecond)
			w.bob.Link.Cut()
		}()
		w.send(t, rtpPacket)
		if got := w.drain(t); len(got) != 0 {
			t.Fatalf("bob received %q", got)
		}
		if in := w.bob.Link.Traffic().In[netsim.RTP]; in.Cut != 1 || in.Passed() != 0 {
			t.Errorf("bob's link counted %+v", in)
		}
	})
}

// TestDatagramsOutliveTheirSocket: what was sent right before a socket was
// closed arrives, as the last words of a connection do on a wire.
func TestDatagramsOutliveTheirSocket(t *testing.T) {
	inWorld(t, 20*time.Millisecond, func(t *testing.T, w *world) {
		w.alice.Link.SetDelay(15 * time.Millisecond)
		w.send(t, []byte("last words"))
		if err := w.a.Close(); err != nil {
			t.Fatal(err)
		}
		if got := w.drain(t); !slices.Equal(got, []string{"last words"}) {
			t.Errorf("bob received %q", got)
		}
	})
}

func TestDatagramClasses(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		for _, b := range [][]byte{stunPacket, dtlsPacket, rtpPacket, rtcpPacket, turnPacket, oddPacket, {}} {
			w.send(t, b)
		}
		want := map[netsim.Class]uint64{netsim.STUN: 1, netsim.DTLS: 1, netsim.RTP: 2, netsim.RTCP: 1, netsim.Other: 2}
		traffic := w.alice.Link.Traffic()
		for class, n := range want {
			if got := traffic.Out[class].Packets; got != n {
				t.Errorf("%v: %d packets, want %d", class, got, n)
			}
		}
	})
}

// TestDatagramDelay delays by both hosts' links, each way, and lets nothing
// overtake.
func TestDatagramDelay(t *testing.T) {
	inWorld(t, 10*time.Millisecond, func(t *testing.T, w *world) {
		w.alice.Link.SetDelay(100 * time.Millisecond)
		w.bob.Link.SetDelay(30 * time.Millisecond)
		start := time.Now()
		w.send(t, []byte("1"))
		w.send(t, []byte("2"))
		w.alice.Link.SetDelay(0)
		w.send(t, []byte("3"))
		for _, want := range []string{"1", "2", "3"} {
			b := make([]byte, 10)
			n, _, err := w.b.ReadFrom(b)
			if err != nil || string(b[:n]) != want {
				t.Fatalf("read %q, %v; want %q", b[:n], err, want)
			}
			wantElapsed(t, want, start, 140*time.Millisecond)
		}
		w.bob.Link.SetDelay(0) // reads go on through the same queue
		w.send(t, []byte("4"))
		if got := w.drain(t); !slices.Equal(got, []string{"4"}) {
			t.Fatalf("bob received %q", got)
		}
		w.b.SetReadDeadline(time.Unix(1, 0))
		_, _, err := w.b.ReadFrom(make([]byte, 1))
		wantError(t, "read after the deadline", err, os.ErrDeadlineExceeded)
	})
}

func TestDatagramCloseWakesReader(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			inWorld(t, 0, func(t *testing.T, w *world) {
				w.bob.Link.SetDelay(delay)
				w.send(t, rtpPacket)
				go func() {
					time.Sleep(time.Minute)
					w.b.Close()
				}()
				b := make([]byte, 10)
				w.b.ReadFrom(b)
				_, _, err := w.b.ReadFrom(b)
				wantError(t, "read", err, net.ErrClosed)
				wantError(t, "second close", w.b.Close(), net.ErrClosed)
			})
		})
	}
}

// TestDatagramDeadlineStaysExpired: vnet forgets a deadline once it has been
// reported.
func TestDatagramDeadlineStaysExpired(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.b.SetReadDeadline(time.Now().Add(time.Second))
		for range 3 {
			_, _, err := w.b.ReadFrom(make([]byte, 1))
			wantError(t, "read", err, os.ErrDeadlineExceeded)
		}
	})
}

func TestDatagramDuplicates(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.alice.Link.SetDuplicates(25)
		w.bob.Link.SetDuplicates(25) // concerns what bob sends only
		for range 100 {
			w.send(t, rtpPacket)
		}
		got := len(w.drain(t))
		twice := int(w.alice.Link.Traffic().Out[netsim.RTP].Duplicated)
		if got != 100+twice || twice < 10 || twice > 40 {
			t.Fatalf("bob received %d, %d of 100 were sent twice", got, twice)
		}
		if in := w.bob.Link.Traffic().In[netsim.RTP]; in.Duplicated != 0 {
			t.Errorf("bob's link doubled what came in: %+v", in)
		}
	})
}

// lossTrace sends n packets of each of three classes from alice to bob, class
// by class or turn about, and returns per class which arrived.
func lossTrace(t *testing.T, seed uint64, pct float64, mixed bool) map[netsim.Class]string {
	t.Helper()
	const n = 400
	trace := map[netsim.Class]string{}
	packets := map[netsim.Class][]byte{netsim.STUN: stunPacket, netsim.DTLS: dtlsPacket, netsim.RTP: rtpPacket}
	synctest.Test(t, func(t *testing.T) {
		w := &world{Topology: newTopology(t, netsim.TopologyConfig{Seed: seed})}
		w.alice, w.a = w.open(t, "alice")
		w.bob, w.b = w.open(t, "bob")
		w.alice.Link.SetLoss(pct)
		one := func(class netsim.Class) {
			w.send(t, packets[class])
			lost := w.alice.Link.Traffic().Out[class].Lost
			trace[class] += fmt.Sprint(lost, " ")
		}
		for i := range 3 * n {
			class := netsim.Class(i / n)
			if mixed {
				class = netsim.Class(i % 3)
			}
			one(class)
			time.Sleep(time.Millisecond)
		}
		w.a.Close()
		w.b.Close()
		w.Close()
	})
	return trace
}

// TestLossIsDecidedPerClass: how the classes are interleaved, which is what
// differs from run to run, does not change what is lost; the seed does.
func TestLossIsDecidedPerClass(t *testing.T) {
	one, other := lossTrace(t, 1, 20, false), lossTrace(t, 1, 20, true)
	seeded := lossTrace(t, 2, 20, false)
	for _, class := range []netsim.Class{netsim.STUN, netsim.DTLS, netsim.RTP} {
		if one[class] != other[class] {
			t.Errorf("%v: the losses depend on the order of other classes", class)
		}
		if one[class] == seeded[class] {
			t.Errorf("%v: the losses do not depend on the seed", class)
		}
		var lost int
		last := one[class][strings.LastIndex(strings.TrimSpace(one[class]), " ")+1:]
		fmt.Sscan(last, &lost)
		if lost < 56 || lost > 104 { // 400 draws at 20 %: 80, with 3 sigma of 8
			t.Errorf("%v: %d of 400 lost at 20 %%", class, lost)
		}
	}
}

// instantTrace sends n(i) STUN packets at the i-th of 100 instants, at 50 %
// loss, and returns which instants lost all their packets or none.
func instantTrace(t *testing.T, n func(i int) int) (trace string) {
	t.Helper()
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.alice.Link.SetLoss(50)
		for i := range 100 {
			before := w.alice.Link.Traffic().Out[netsim.STUN].Lost
			for range n(i) {
				w.send(t, stunPacket)
			}
			switch int(w.alice.Link.Traffic().Out[netsim.STUN].Lost - before) {
			case 0:
				trace += "."
			case n(i):
				trace += "x"
			default:
				trace += "?"
			}
			time.Sleep(time.Millisecond)
		}
	})
	return trace
}

// TestLossSharedWithinAnInstant: how many STUN packets pion sends at one
// instant, which differs from run to run, does not change what is lost.
func TestLossSharedWithinAnInstant(t *testing.T) {
	once := instantTrace(t, func(int) int { return 1 })
	more := instantTrace(t, func(i int) int { return 1 + i%3 })
	if once != more || strings.Contains(more, "?") {
		t.Errorf("lost with one packet an instant\n%s\nwith one to three\n%s", once, more)
	}
}

// TestLossPerDirectionAndEpisode: a second SetLoss loses other packets, and the
// two directions are independent.
func TestLossPerDirectionAndEpisode(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		trace := func(link *netsim.Link, from, to transport.UDPConn, dir func(netsim.Traffic) netsim.Count) (s string) {
			for range 100 {
				before := dir(link.Traffic()).Lost
				from.WriteTo(rtpPacket, to.LocalAddr())
				from.SetReadDeadline(time.Now())
				to.SetReadDeadline(time.Now().Add(time.Millisecond))
				to.ReadFrom(make([]byte, 10))
				s += fmt.Sprint(dir(link.Traffic()).Lost - before)
			}
			return s
		}
		out := func(t netsim.Traffic) netsim.Count { return t.Out[netsim.RTP] }
		in := func(t netsim.Traffic) netsim.Count { return t.In[netsim.RTP] }
		w.alice.Link.SetLoss(30)
		first := trace(w.alice.Link, w.a, w.b, out)
		back := trace(w.alice.Link, w.b, w.a, in)
		w.alice.Link.SetLoss(30)
		second := trace(w.alice.Link, w.a, w.b, out)
		w.alice.Link.SetLoss(0)
		none := trace(w.alice.Link, w.a, w.b, out)
		if first == second || first == back || strings.Contains(none, "1") {
			t.Errorf("episodes %s and %s, back %s, none %s", first, second, back, none)
		}
		if !strings.Contains(back, "1") {
			t.Error("nothing was lost on the way in")
		}
	})
}

func TestTopologyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		top := newTopology(t, netsim.TopologyConfig{})
		defer top.Close()
		for i := range 300 {
			h := mustHost(t, top, fmt.Sprint("h", i))
			want := map[int]string{0: "10.0.0.1", 253: "10.0.0.254", 254: "10.0.1.1"}[i]
			if want != "" && h.IP != netip.MustParseAddr(want) {
				t.Errorf("host %d has %v, want %s", i, h.IP, want)
			}
		}
		for want := range 3 {
			c, err := mustHost(t, top, "h7").Net.ListenPacket("udp4", "0.0.0.0:0")
			check(t, err)
			defer c.Close()
			if port := c.LocalAddr().(*net.UDPAddr).Port; port != 49152+want {
				t.Errorf("socket %d has port %d", want, port)
			}
		}
		if again := mustHost(t, top, "h7"); again != mustHost(t, top, "h7") || again.IP.String() != "10.0.0.8" {
			t.Errorf("asking again gave another host, %v", again.IP)
		}
	})
}

// TestHostNet dials and listens in all the ways that pion does.
func TestHostNet(t *testing.T) {
	inWorld(t, time.Millisecond, func(t *testing.T, w *world) {
		a, b := w.alice.Net, w.bob.Net
		if ifaces, err := a.Interfaces(); err != nil || len(ifaces) != 2 {
			t.Fatalf("interfaces %v, %v", ifaces, err)
		}
		if addr, err := a.ResolveUDPAddr("udp4", "bob:3478"); err != nil || addr.String() != "10.0.0.2:3478" {
			t.Fatalf("bob resolves to %v, %v", addr, err)
		}
		server, err := b.ListenPacket("udp4", "0.0.0.0:3478")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		for name, dial := range map[string]func() (net.Conn, error){
			"Dial":         func() (net.Conn, error) { return a.Dial("udp4", "bob:3478") },
			"CreateDialer": func() (net.Conn, error) { return a.CreateDialer(&net.Dialer{}).Dial("udp4", "bob:3478") },
			"DialUDP": func() (net.Conn, error) {
				return a.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 3478})
			},
		} {
			c, err := dial()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			mustWrite(t, c, name)
			buf := make([]byte, 100)
			n, from, err := server.ReadFrom(buf)
			if err != nil || string(buf[:n]) != name {
				t.Fatalf("%s: server read %q, %v", name, buf[:n], err)
			}
			server.WriteTo([]byte("ok"), from)
			wantRead(t, c, "ok")
			c.Close()
		}
		if out := w.alice.Link.Traffic().Out[netsim.Other]; out.Packets != 3 {
			t.Errorf("alice's link saw %d packets, want 3", out.Packets)
		}
	})
}

func TestHostNetTCP(t *testing.T) {
	inWorld(t, time.Millisecond, func(t *testing.T, w *world) {
		l, err := w.bob.Net.ListenTCP("tcp4", &net.TCPAddr{Port: 3478})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for name, dial := range map[string]func() (net.Conn, error){
			"Dial":    func() (net.Conn, error) { return w.alice.Net.Dial("tcp4", "bob:3478") },
			"DialTCP": func() (net.Conn, error) { return w.alice.Net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)) },
			"Host":    func() (net.Conn, error) { return w.alice.Dial(t.Context(), "tcp", "bob:3478") },
			"self":    func() (net.Conn, error) { return w.bob.Dial(t.Context(), "tcp", "localhost:3478") },
		} {
			c, err := dial()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			far, err := l.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, c, name)
			wantRead(t, far, name)
			c.Close()
			far.Close()
		}
		w.bob.Link.Cut() // is of no concern to bob alone
		start := time.Now()
		c, err := w.bob.Dial(t.Context(), "tcp", "bob:3478")
		check(t, err)
		wantElapsed(t, "dialed itself", start, 0)
		c.Close()
		_, err = w.alice.Net.CreateDialer(&net.Dialer{Timeout: 3 * time.Second}).Dial("tcp", "bob:3478")
		if err == nil {
			t.Fatal("dialed through a cut link")
		}
		wantElapsed(t, "time-out", start, 3*time.Second)
	})
}
