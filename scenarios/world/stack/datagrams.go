package stack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"

	"github.com/callbench/callbench/internal/netsim"
)

const (
	// maxFlows is how many addresses a line takes datagrams of at a time.
	maxFlows = 1024
	// flowIdle is how long an address may be silent until it is forgotten. Clients of a
	// TURN server refresh their allocations and permissions more often.
	flowIdle = 5 * time.Minute
	// maxDatagram is the largest datagram that there is, in bytes.
	maxDatagram = 1 << 16
)

// datagrams passes on what arrives as UDP, from a socket of its own for each address
// that sends, and answers back to that address.
type datagrams struct {
	net    transport.Net // whose sockets are behind the link
	listen net.PacketConn
	to     netip.AddrPort
	limit  int           // of flows
	idle   time.Duration // after which a flow ends

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	flows   map[netip.AddrPort]*flow
}

// flow is the way of one address's datagrams.
type flow struct {
	net.PacketConn
	used atomic.Bool // since it was last looked at
}

// listenDatagrams begins to pass datagrams on.
func listenDatagrams(listen, to string, link *netsim.Link) (*datagrams, error) {
	far, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, err
	}
	std, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("read the network's interfaces: %w", err)
	}
	ln, err := net.ListenPacket("udp4", listen)
	if err != nil {
		return nil, err
	}
	d := &datagrams{net: netsim.Net(std, link), listen: ln, to: plain(far), limit: maxFlows, idle: flowIdle, flows: map[netip.AddrPort]*flow{}}
	d.running.Go(d.serve)
	return d, nil
}

// Addr is where datagrams are taken.
func (d *datagrams) Addr() net.Addr { return d.listen.LocalAddr() }

// Close ends all flows, and returns when nothing runs any more.
func (d *datagrams) Close() error {
	d.mu.Lock()
	d.closed = true
	err := d.listen.Close()
	for _, f := range d.flows {
		err = errors.Join(err, f.Close())
	}
	d.flows = nil
	d.mu.Unlock()
	d.running.Wait()
	return err
}

// serve passes on what arrives. What cannot be is lost, as in a network.
func (d *datagrams) serve() {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := d.listen.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if f := d.flow(from); f != nil {
			f.used.Store(true)
			_, _ = f.WriteTo(b[:n], net.UDPAddrFromAddrPort(d.to))
		}
	}
}

// flow finds or makes that of an address; nil if there are too many.
func (d *datagrams) flow(from net.Addr) *flow {
	key := plain(from)
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flows[key]; f != nil || d.closed || len(d.flows) >= d.limit {
		return f
	}
	conn, err := d.net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		return nil
	}
	f := &flow{PacketConn: conn}
	d.flows[key] = f
	d.running.Go(func() { d.answer(f, key) })
	return f
}

// answer passes back what comes for an address until that has been silent for long.
func (d *datagrams) answer(f *flow, client netip.AddrPort) {
	b := make([]byte, maxDatagram)
	_ = f.SetReadDeadline(time.Now().Add(d.idle)) // fails only once it is closed
	for {
		n, from, err := f.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !f.used.Swap(false) {
				d.forget(f, client)
				return
			}
			_ = f.SetReadDeadline(time.Now().Add(d.idle)) // as above
		case err == nil && plain(from) == d.to:
			_, _ = d.listen.WriteTo(b[:n], net.UDPAddrFromAddrPort(client)) // lost, as in a network
		}
	}
}

func (d *datagrams) forget(f *flow, client netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		delete(d.flows, client)
		_ = f.Close()
	}
}

// plain is an address without what depends on the socket that it was read from.
func plain(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
