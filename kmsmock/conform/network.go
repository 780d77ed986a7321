package conform

import (
	"net"
	"sync/atomic"

	"github.com/pion/transport/v5"
)

// A switchNet is a network whose packets can be made to vanish.
type switchNet struct {
	transport.Net
	down atomic.Bool
}

func (n *switchNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return &switchConn{UDPConn: c, down: &n.down}, nil
}

type switchConn struct {
	transport.UDPConn
	down *atomic.Bool
}

func (c *switchConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if c.down.Load() {
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, addr)
}
