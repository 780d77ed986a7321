package netsim

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5"
)

// maxDatagram is the size of the largest UDP datagram.
const maxDatagram = 64 << 10

// udpConn is a UDP socket behind a link. While the link has no delay a packet
// costs a look at some atomics on its way through.
type udpConn struct {
	transport.UDPConn
	link *Link
	peer netip.Addr // of a connected socket
	out  outbox
	in   inbox

	pumping atomic.Bool               // packets are read by a goroutine, because of a delay
	read    atomic.Pointer[time.Time] // the read deadline
	mu      sync.Mutex
	closed  bool
	pumped  sync.WaitGroup
}

// newUDPConn puts a socket behind a link.
func newUDPConn(inner transport.UDPConn, link *Link) transport.UDPConn {
	c := &udpConn{UDPConn: inner, link: link}
	if addr := inner.RemoteAddr(); addr != nil {
		c.peer = addrPort(addr).Addr()
	}
	c.out.init(c.flush)
	c.in.init()
	if fast, ok := inner.(addrPortUDP); ok {
		return &fastConn{udpConn: c, inner: fast}
	}
	return c
}

// WriteTo sends a datagram.
func (c *udpConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	copies := c.link.admit(Out, addrPort(addr).Addr(), b)
	if c.later(b, addr, copies) {
		return len(b), nil
	}
	return repeat(copies, b, func() (int, error) { return c.UDPConn.WriteTo(b, addr) })
}

// WriteToUDP sends a datagram.
func (c *udpConn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) { return c.WriteTo(b, addr) }

// Write sends a datagram to the peer of a connected socket.
func (c *udpConn) Write(b []byte) (int, error) {
	copies := c.link.admit(Out, c.peer, b)
	if c.later(b, nil, copies) {
		return len(b), nil
	}
	return repeat(copies, b, func() (int, error) { return c.UDPConn.Write(b) })
}

// WriteMsgUDP sends a datagram. Out-of-band data is lost if the link has a
// delay.
func (c *udpConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if addr == nil || c.mustWait() {
		n, err = c.WriteTo(b, addr)
		return n, len(oob), err
	}
	copies := c.link.admit(Out, addrPort(addr).Addr(), b)
	n, err = repeat(copies, b, func() (int, error) {
		n, _, err := c.UDPConn.WriteMsgUDP(b, oob, addr)
		return n, err
	})
	return n, len(oob), err
}

// repeat calls write for every copy; a packet that is dropped counts as sent.
func repeat(copies int, b []byte, write func() (int, error)) (n int, err error) {
	for n = len(b); copies > 0 && err == nil; copies-- {
		n, err = write()
	}
	return n, err
}

// mustWait tells whether packets cannot be sent at once: there is a delay, or
// there are earlier packets that wait.
func (c *udpConn) mustWait() bool { return c.link.lag() > 0 || c.out.held.Load() > 0 }

// later queues the copies of a packet if it must wait.
func (c *udpConn) later(b []byte, addr net.Addr, copies int) bool {
	if !c.mustWait() {
		return false
	}
	for range copies {
		c.out.push(b, addr, c.link.lag())
	}
	return true
}

// flush sends a packet that has waited. Nobody is left to tell of an error, and
// UDP promises nothing.
func (c *udpConn) flush(p packet) {
	if p.addr == nil {
		_, _ = c.UDPConn.Write(p.data)
		return
	}
	_, _ = c.UDPConn.WriteTo(p.data, p.addr)
}

// ReadFrom receives a datagram.
func (c *udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for !c.pumping.Load() {
		if err := c.checkRead(); err != nil {
			return 0, nil, err
		}
		n, addr, err := c.UDPConn.ReadFrom(b)
		if err != nil {
			return n, addr, c.readError(err)
		}
		if c.passes(b[:n], addr) {
			return n, addr, nil
		}
	}
	return c.pop(b)
}

// ReadFromUDP receives a datagram.
func (c *udpConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, addr, err := c.ReadFrom(b)
	udp, _ := addr.(*net.UDPAddr)
	return n, udp, err
}

// Read receives a datagram.
func (c *udpConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

// ReadMsgUDP receives a datagram without its out-of-band data.
func (c *udpConn) ReadMsgUDP(b, _ []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, addr, err = c.ReadFromUDP(b)
	return n, 0, 0, addr, err
}

// passes tells whether the reader may have the packet now. If there is a delay,
// it goes to the inbox instead.
func (c *udpConn) passes(b []byte, addr net.Addr) bool {
	if c.link.admit(In, addrPort(addr).Addr(), b) == 0 {
		return false
	}
	lag := c.link.lag()
	if lag == 0 {
		return true
	}
	c.in.push(b, addr, lag) // before the pump can put the next one in
	c.startPump()
	return false
}

// startPump lets a goroutine read the socket from now on: a delayed packet must
// not hold up the arrival of the next.
func (c *udpConn) startPump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.pumping.Load() {
		return
	}
	if t := c.read.Load(); t != nil {
		c.in.setDeadline(*t)
		_ = c.UDPConn.SetReadDeadline(time.Time{}) // fails only on a closed socket
	}
	c.pumping.Store(true)
	c.pumped.Go(c.pump)
}

// pump fills the inbox until the socket is closed.
func (c *udpConn) pump() {
	b := make([]byte, maxDatagram)
	for {
		n, addr, err := c.UDPConn.ReadFrom(b)
		if err != nil {
			c.in.end(c.readError(err))
			return
		}
		if c.link.admit(In, addrPort(addr).Addr(), b[:n]) > 0 {
			c.in.push(b[:n], addr, c.link.lag())
		}
	}
}

// pop receives a datagram from the inbox.
func (c *udpConn) pop(b []byte) (int, net.Addr, error) {
	p, err := c.in.pop()
	if err != nil {
		return 0, nil, c.readError(err)
	}
	n := copy(b, p.data)
	if n < len(p.data) {
		err = io.ErrShortBuffer
	}
	return n, p.addr, err
}

// SetDeadline sets the deadline of reads; writes never wait.
func (c *udpConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads fail from t on, those under way too.
func (c *udpConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Store(&t)
	if c.pumping.Load() {
		c.in.setDeadline(t)
		return nil
	}
	return c.UDPConn.SetReadDeadline(t)
}

// checkRead reports a deadline that has passed. A vnet socket reports each
// deadline to one read only; the next would wait for ever.
func (c *udpConn) checkRead() error {
	t := c.read.Load()
	if t == nil || t.IsZero() || time.Now().Before(*t) {
		return nil
	}
	return c.readError(os.ErrDeadlineExceeded)
}

// Close closes the socket. Packets that wait to be sent arrive all the same on
// a network in memory, as they would on a wire: the last words of a connection,
// such as DTLS's close_notify and the Refresh that ends a TURN allocation, come
// right before the end of their socket. A real socket drops them.
func (c *udpConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.mu.Unlock()
	err := c.UDPConn.Close()
	c.out.close()
	c.in.end(net.ErrClosed)
	c.pumped.Wait()
	return err
}

// readError returns err as package net would have it: vnet's sockets have
// errors of their own for closed sockets and time-outs.
func (c *udpConn) readError(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrShortBuffer):
	case errors.As(err, &timeout) && timeout.Timeout():
		err = os.ErrDeadlineExceeded
	case c.isClosed():
		err = net.ErrClosed
	}
	return c.opError("read", err)
}

// opError dresses an error as package net would, once.
func (c *udpConn) opError(op string, err error) error {
	var dressed *net.OpError
	if errors.As(err, &dressed) {
		return err
	}
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// isClosed tells whether Close has been called.
func (c *udpConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// addrPort returns the IP address and port of a UDP address without allocating.
func addrPort(addr net.Addr) netip.AddrPort {
	if udp, ok := addr.(*net.UDPAddr); ok && udp != nil {
		return udp.AddrPort()
	}
	return netip.AddrPort{}
}
