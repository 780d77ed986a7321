package netsim

import (
	"net"
	"net/netip"
)

// addrPortUDP is what *net.UDPConn can do, and vnet's sockets cannot: address
// packets without allocating.
type addrPortUDP interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

// fastConn is a udpConn over such a socket. It has the two methods that
// pion/ice looks for (ice.AddrPortReaderWriter).
type fastConn struct {
	*udpConn
	inner addrPortUDP
}

// WriteToAddrPort sends a datagram.
func (c *fastConn) WriteToAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	if c.mustWait() {
		return c.WriteTo(b, net.UDPAddrFromAddrPort(addr))
	}
	copies := c.link.admit(Out, addr.Addr(), b)
	return repeat(copies, b, func() (int, error) { return c.inner.WriteToUDPAddrPort(b, addr) })
}

// ReadFromAddrPort receives a datagram.
func (c *fastConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for !c.pumping.Load() {
		n, addr, err := c.inner.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, addr, err
		}
		if c.link.lag() > 0 {
			c.passes(b[:n], net.UDPAddrFromAddrPort(addr))
			continue
		}
		if c.link.admit(In, addr.Addr(), b[:n]) > 0 {
			return n, addr, nil
		}
	}
	n, addr, err := c.pop(b)
	return n, addrPort(addr), err
}
