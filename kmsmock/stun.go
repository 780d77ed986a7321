package kmsmock

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// probePatience is how long TURN waits for STUN, which is asked first.
	probePatience = 203 * time.Millisecond
	// probeInterval is after how long STUN is asked again.
	probeInterval = 501_137 * time.Microsecond
)

// A probedConn is a socket whose address is asked of a STUN server first: until
// settled it keeps apart what the server answers and what the peer sends.
type probedConn struct {
	net.PacketConn
	request *stun.Message
	settled chan struct{} // closed when nothing reads the socket any more
	early   chan datagram
	answers chan *stun.Message
}

type datagram struct {
	data []byte
	from net.Addr
}

// maxEarly is how much of the peer's is kept while the server is asked.
const maxEarly = 64

func newProbedConn(conn net.PacketConn) *probedConn {
	c := &probedConn{PacketConn: conn, request: stun.MustBuild(stun.TransactionID, stun.BindingRequest), settled: make(chan struct{}), early: make(chan datagram, maxEarly),
		answers: make(chan *stun.Message, 1)}
	go c.sort()
	return c
}

// sort reads the socket until its deadline passes, which settle sets.
func (c *probedConn) sort() {
	defer close(c.settled)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.PacketConn.ReadFrom(buf)
		if err != nil {
			return
		}
		m := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
		if stun.IsMessage(buf[:n]) && m.Decode() == nil && m.TransactionID == c.request.TransactionID {
			select {
			case c.answers <- m:
			default:
			}
			continue
		}
		select {
		case c.early <- datagram{append([]byte(nil), buf[:n]...), from}:
		default:
		}
	}
}

// settle makes the socket an ordinary one again.
func (c *probedConn) settle() {
	_ = c.PacketConn.SetReadDeadline(time.Unix(1, 0))
	<-c.settled
	_ = c.PacketConn.SetReadDeadline(time.Time{})
}

func (c *probedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.early:
		return copy(b, d.data), d.from, nil
	case <-c.settled:
	}
	select {
	case d := <-c.early:
		return copy(b, d.data), d.from, nil
	default:
		return c.PacketConn.ReadFrom(b)
	}
}

// mapped asks the server for the address of the socket until the deadline.
func (c *probedConn) mapped(server net.Addr, deadline time.Time, done <-chan struct{}) *stun.XORMappedAddress {
	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	again := time.NewTicker(probeInterval)
	defer again.Stop()
	for {
		_, _ = c.WriteTo(c.request.Raw, server)
		select {
		case m := <-c.answers:
			var out stun.XORMappedAddress
			if m.Type == stun.BindingSuccess && out.GetFrom(m) == nil {
				return &out
			}
		case <-again.C:
		case <-timeout.C:
			return nil
		case <-done:
			return nil
		}
	}
}

// probe asks the STUN server about each socket and reports what is not the
// socket's own address.
func (t *mediaTransport) probe(deadline time.Time) {
	if t.stunServer == "" {
		return
	}
	server, err := t.resolveSTUN(deadline)
	for _, h := range t.sockets {
		if h.conn == nil {
			continue
		}
		if err == nil {
			if m := h.conn.mapped(server, deadline, t.ctx.Done()); m != nil {
				t.foundReflexive(h, m)
			}
		}
		h.conn.settle()
	}
}

// resolveSTUN finds the server's address until the deadline or the transport's
// end. The names of a network of the configuration's own are in memory; the
// machine's resolver may wait for long.
func (t *mediaTransport) resolveSTUN(deadline time.Time) (*net.UDPAddr, error) {
	if s := t.ep.obj.srv; s.cfg.Net != nil {
		return s.net.ResolveUDPAddr("udp4", t.stunServer)
	}
	name, port, err := net.SplitHostPort(t.stunServer)
	if err != nil {
		return nil, fmt.Errorf("read the STUN server's address: %w", err)
	}
	ctx, cancel := context.WithDeadline(t.ctx, deadline)
	defer cancel()
	number, err := net.DefaultResolver.LookupPort(ctx, "udp4", port)
	if err != nil {
		return nil, fmt.Errorf("read the STUN server's port: %w", err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	if err != nil {
		return nil, fmt.Errorf("find the STUN server: %w", err)
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ips[0].Unmap(), uint16(number))), nil
}

// foundReflexive reports the candidates behind a mapped address: of the
// socket, and of the TCP ports beside it as if they were mapped unchanged.
func (t *mediaTransport) foundReflexive(h *hostSocket, m *stun.XORMappedAddress) {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ep.closed || (m.IP.String() == h.host.text() && m.Port == h.port) {
		return
	}
	hosts := 0
	for _, own := range t.sockets {
		if own.component == 1 {
			hosts++
		}
	}
	foundation := hosts*len(kindsOfHost(t.tcp)) + 1
	report := func(kind candidateKind, port, base int) {
		t.foundCandidate(localCandidate{component: h.component, address: m.IP.String(), port: port, tcp: kind != kindUDP,
			text: candidateText(strconv.Itoa(foundation), h.component, kind.transport,
				kind.priority(preferSrflx, h.host.position, h.component), m.IP.String(), port, "srflx",
				&relatedAddress{h.host.text(), base}, kind.tcpType)})
		foundation++
	}
	report(kindUDP, m.Port, h.port)
	for i, kind := range h.tcp {
		report(kind, h.tcpPorts[i], h.tcpPorts[i])
	}
}
