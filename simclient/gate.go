package simclient

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/pion/transport/v5"
)

// gate is what all traffic of a client passes. While it is shut the machine is
// asleep: datagrams in either direction are lost, and streams stand still with
// whatever they hold.
type gate struct {
	asleep atomic.Bool

	mu    sync.Mutex
	awake chan struct{} // closed when the gate opens; nil while it is open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.awake == nil {
		g.awake = make(chan struct{})
		g.asleep.Store(true)
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.awake != nil {
		g.asleep.Store(false)
		close(g.awake)
		g.awake = nil
	}
}

// wait returns when the gate is open or done is closed.
func (g *gate) wait(done <-chan struct{}) {
	if !g.asleep.Load() {
		return
	}
	g.mu.Lock()
	awake := g.awake
	g.mu.Unlock()
	if awake == nil {
		return
	}
	select {
	case <-awake:
	case <-done:
	}
}

// dial puts the connections of a dialer behind the gate.
func (g *gate) dial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		g.wait(ctx.Done())
		if err != nil {
			return nil, err
		}
		return &gatedConn{Conn: conn, gate: g, done: make(chan struct{})}, nil
	}
}

// gatedConn is a stream behind a gate. What arrives while it is shut is read
// when it opens, as TCP's retransmissions would bring it.
type gatedConn struct {
	net.Conn
	gate *gate
	once sync.Once
	done chan struct{} // closed with the connection
}

// Read reads what has arrived, but not while the gate is shut.
func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.wait(c.done)
	return n, err
}

// Write writes as soon as the gate is open.
func (c *gatedConn) Write(b []byte) (int, error) {
	c.gate.wait(c.done)
	return c.Conn.Write(b)
}

// Close closes the connection. Who waits at the gate is let go.
func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// gatedNet is a network behind a gate, as far as ICE uses it.
type gatedNet struct {
	transport.Net
	gate *gate
}

// ListenUDP opens a socket behind the gate.
func (n *gatedNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	conn, err := n.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return n.gate.udp(conn), nil
}

// DialUDP opens a connected socket behind the gate.
func (n *gatedNet) DialUDP(network string, local, remote *net.UDPAddr) (transport.UDPConn, error) {
	conn, err := n.Net.DialUDP(network, local, remote)
	if err != nil {
		return nil, err
	}
	return n.gate.udp(conn), nil
}

// ListenPacket opens a socket behind the gate.
func (n *gatedNet) ListenPacket(network, addr string) (net.PacketConn, error) {
	conn, err := n.Net.ListenPacket(network, addr)
	if err != nil {
		return nil, err
	}
	return &gatedPackets{conn, n.gate}, nil
}

// DialTCP opens a stream behind the gate.
func (n *gatedNet) DialTCP(network string, local, remote *net.TCPAddr) (transport.TCPConn, error) {
	conn, err := n.Net.DialTCP(network, local, remote)
	if err != nil {
		return nil, err
	}
	return &gatedTCP{TCPConn: conn, stream: gatedConn{Conn: conn, gate: n.gate, done: make(chan struct{})}}, nil
}

// gatedTCP is a gatedConn with the rest of what a TCP connection can do.
type gatedTCP struct {
	transport.TCPConn
	stream gatedConn
}

// Read reads what has arrived, but not while the gate is shut.
func (c *gatedTCP) Read(b []byte) (int, error) { return c.stream.Read(b) }

// Write writes as soon as the gate is open.
func (c *gatedTCP) Write(b []byte) (int, error) { return c.stream.Write(b) }

// Close closes the connection.
func (c *gatedTCP) Close() error { return c.stream.Close() }

// gatedPackets is a socket behind a gate.
type gatedPackets struct {
	net.PacketConn
	gate *gate
}

// ReadFrom receives a datagram that arrives while the gate is open.
func (c *gatedPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.gate.asleep.Load() {
			return n, addr, err
		}
	}
}

// WriteTo sends a datagram, or loses it.
func (c *gatedPackets) WriteTo(b []byte, addr net.Addr) (int, error) {
	if c.gate.asleep.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, addr)
}

// udp puts a UDP socket behind the gate, and keeps the way without allocations
// if the socket has it.
func (g *gate) udp(conn transport.UDPConn) transport.UDPConn {
	c := &gatedUDP{UDPConn: conn, packets: gatedPackets{conn, g}}
	switch inner := conn.(type) {
	case addrPortConn:
		return &fastUDP{c, inner}
	case *net.UDPConn:
		return &fastUDP{c, systemUDP{inner}}
	}
	return c
}

// gatedUDP is a UDP socket behind a gate, as far as ICE and TURN use it.
type gatedUDP struct {
	transport.UDPConn
	packets gatedPackets
}

// ReadFrom receives a datagram that arrives while the gate is open.
func (c *gatedUDP) ReadFrom(b []byte) (int, net.Addr, error) { return c.packets.ReadFrom(b) }

// WriteTo sends a datagram, or loses it.
func (c *gatedUDP) WriteTo(b []byte, addr net.Addr) (int, error) { return c.packets.WriteTo(b, addr) }

// Read receives a datagram of the peer that arrives while the gate is open.
func (c *gatedUDP) Read(b []byte) (int, error) {
	for {
		n, err := c.UDPConn.Read(b)
		if err != nil || !c.packets.gate.asleep.Load() {
			return n, err
		}
	}
}

// Write sends a datagram to the peer, or loses it.
func (c *gatedUDP) Write(b []byte) (int, error) {
	if c.packets.gate.asleep.Load() {
		return len(b), nil
	}
	return c.UDPConn.Write(b)
}

// addrPortConn is what ICE looks for: packets whose addresses need no memory.
type addrPortConn interface {
	ReadFromAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

// systemUDP gives the system's sockets these methods.
type systemUDP struct{ *net.UDPConn }

// ReadFromAddrPort receives a datagram.
func (c systemUDP) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	return c.ReadFromUDPAddrPort(b)
}

// WriteToAddrPort sends a datagram.
func (c systemUDP) WriteToAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	return c.WriteToUDPAddrPort(b, addr)
}

// fastUDP is a gatedUDP over such a socket.
type fastUDP struct {
	*gatedUDP
	inner addrPortConn
}

// ReadFromAddrPort receives a datagram that arrives while the gate is open.
func (c *fastUDP) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, addr, err := c.inner.ReadFromAddrPort(b)
		if err != nil || !c.packets.gate.asleep.Load() {
			return n, addr, err
		}
	}
}

// WriteToAddrPort sends a datagram, or loses it.
func (c *fastUDP) WriteToAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	if c.packets.gate.asleep.Load() {
		return len(b), nil
	}
	return c.inner.WriteToAddrPort(b, addr)
}
