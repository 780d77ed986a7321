package netsim_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"

	"github.com/callbench/callbench/internal/netsim"
)

// nullNet is a network stack whose sockets cost nothing: what is measured over
// it is the link's share.
type nullNet struct{ transport.Net }

func (nullNet) ListenUDP(string, *net.UDPAddr) (transport.UDPConn, error) {
	return &nullConn{from: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5000}}, nil
}

// nullConn drops what is sent, and receives the same packet for ever.
type nullConn struct {
	transport.UDPConn
	from *net.UDPAddr
}

func (c *nullConn) RemoteAddr() net.Addr                      { return nil }
func (c *nullConn) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (c *nullConn) ReadFrom(b []byte) (int, net.Addr, error)  { return copy(b, rtpPacket), c.from, nil }
func (c *nullConn) Close() error                              { return nil }

// linkedSocket returns a socket behind a link.
func linkedSocket(tb testing.TB, n transport.Net, l *netsim.Link) transport.UDPConn {
	tb.Helper()
	c, err := netsim.Net(n, l).ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// BenchmarkDatagram is what a link adds to one packet sent and one received.
func BenchmarkDatagram(b *testing.B) {
	for name, loss := range map[string]float64{"unimpaired": 0, "loss": 10} {
		b.Run(name, func(b *testing.B) {
			l := netsim.NewLink(netsim.LinkConfig{Host: "alice"})
			l.SetLoss(loss)
			c := linkedSocket(b, nullNet{}, l)
			packet := append(make([]byte, 0, 1200), rtpPacket...)[:1200]
			to := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5000}
			buf := make([]byte, 1500)
			b.ReportAllocs()
			for b.Loop() {
				c.WriteTo(packet, to)
				c.ReadFrom(buf)
			}
		})
	}
}

// BenchmarkDatagramSocket sends and receives a packet over a real socket, as
// pion/ice does: bare, and behind a link.
func BenchmarkDatagramSocket(b *testing.B) {
	inner, err := stdnet.NewNet()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("linked", func(b *testing.B) {
		c := linkedSocket(b, inner, netsim.NewLink(netsim.LinkConfig{}))
		defer c.Close()
		fast := c.(ice.AddrPortReaderWriter)
		benchmarkSocket(b, c, fast.WriteToAddrPort, fast.ReadFromAddrPort)
	})
	b.Run("bare", func(b *testing.B) {
		c := linkedSocket(b, inner, nil)
		defer c.Close()
		fast := c.(*net.UDPConn)
		benchmarkSocket(b, c, fast.WriteToUDPAddrPort, fast.ReadFromUDPAddrPort)
	})
}

// benchmarkSocket sends packets from a socket to itself.
func benchmarkSocket(b *testing.B, c transport.UDPConn, write func([]byte, netip.AddrPort) (int, error), read func([]byte) (int, netip.AddrPort, error)) {
	b.Helper()
	self := c.LocalAddr().(*net.UDPAddr).AddrPort()
	buf := make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := write(rtpPacket, self); err != nil {
			b.Fatal(err)
		}
		if _, _, err := read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDatagramVnet sends and receives a packet through the virtual world.
func BenchmarkDatagramVnet(b *testing.B) {
	top := newTopology(b, netsim.TopologyConfig{})
	defer top.Close()
	conns := map[string]transport.UDPConn{}
	for _, name := range []string{"alice", "bob"} {
		h := mustHost(b, top, name)
		c, err := h.Net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP(h.IP.AsSlice())})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns[name] = c
	}
	buf := make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		conns["alice"].WriteTo(rtpPacket, conns["bob"].LocalAddr())
		if _, _, err := conns["bob"].ReadFrom(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream writes and reads messages under a read deadline that moves,
// as a WebSocket does: on one goroutine, and with a reader that waits.
func BenchmarkStream(b *testing.B) {
	msg := make([]byte, 300)
	b.Run("buffered", func(b *testing.B) {
		p := newPair(b, 0)
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			p.far.SetReadDeadline(time.Now().Add(90 * time.Second))
			p.near.Write(msg)
			io.ReadFull(p.far, msg)
		}
	})
	b.Run("pingpong", func(b *testing.B) {
		p := newPair(b, 0)
		defer p.near.Close()
		go io.CopyBuffer(struct{ io.Writer }{p.far}, struct{ io.Reader }{p.far}, make([]byte, 4096))
		b.SetBytes(int64(2 * len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			p.near.SetReadDeadline(time.Now().Add(90 * time.Second))
			p.near.Write(msg)
			io.ReadFull(p.near, msg)
		}
	})
}
