package netsim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"
)

// vnetSetup guards the construction of vnet objects, which number their
// hardware addresses with a counter that all of them share without a lock.
var vnetSetup sync.Mutex

// TopologyConfig describes a network in memory.
type TopologyConfig struct {
	// Seed decides which datagrams are lost; see Link.SetLoss.
	Seed uint64
	// Delay is how long anything takes from one host to another, besides the
	// delays of their links.
	Delay time.Duration
	// Log receives the changes of all links. Nil means none.
	Log *slog.Logger
}

// Topology is a network in memory: hosts around one router, without NAT.
type Topology struct {
	cfg     TopologyConfig
	router  *vnet.Router
	streams *Streams

	mu    sync.Mutex
	hosts map[string]*Host
}

// NewTopology returns a running network without hosts.
func NewTopology(cfg TopologyConfig) (*Topology, error) {
	vnetSetup.Lock()
	defer vnetSetup.Unlock()
	router, err := vnet.NewRouter(&vnet.RouterConfig{
		Name:          "wan",
		CIDR:          "10.0.0.0/8",
		MinDelay:      cfg.Delay,
		LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		return nil, fmt.Errorf("make the router: %w", err)
	}
	if err := router.Start(); err != nil {
		return nil, fmt.Errorf("start the router: %w", err)
	}
	return &Topology{
		cfg:     cfg,
		router:  router,
		streams: NewStreams(cfg.Delay),
		hosts:   make(map[string]*Host),
	}, nil
}

// Host is a host of a Topology.
type Host struct {
	// Name is the host's name, which Dial understands, and Net resolves.
	Name string
	// IP is the host's only address besides loopback.
	IP netip.Addr
	// Link is the host's attachment to the network.
	Link *Link
	// Net is the host's network stack behind its link, for pion: UDP by vnet,
	// TCP by the topology's streams. UDP ports are given out in order.
	Net transport.Net

	streams *Streams
}

// Host returns the host of the given name, and makes it if there is none. The
// n-th host gets the n-th address of 10.0.0.0/8, and addresses are part of what
// decides which datagrams are lost: make hosts in the same order in every run.
func (t *Topology) Host(name string) (*Host, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[name]; h != nil {
		return h, nil
	}
	h, err := t.newHost(name, nthIP(len(t.hosts)+1))
	if err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	t.hosts[name] = h
	return h, nil
}

// newHost connects a new host to the router.
func (t *Topology) newHost(name string, ip netip.Addr) (*Host, error) {
	stack, err := newStack(ip)
	if err != nil {
		return nil, err
	}
	if err := t.router.AddNet(stack); err != nil {
		return nil, err
	}
	if err := t.router.AddHost(strings.ToLower(name), ip.String()); err != nil {
		return nil, err
	}
	h := &Host{
		Name:    name,
		IP:      ip,
		Link:    NewLink(LinkConfig{Host: name, Seed: t.cfg.Seed, Log: t.cfg.Log}),
		streams: t.streams,
	}
	t.streams.AddHost(name, ip, h.Link)
	h.Net = &linkedNet{Net: &orderlyPorts{Net: stack}, link: h.Link, tcp: hostTCP{h}}
	return h, nil
}

// newStack returns vnet's network stack for one host.
func newStack(ip netip.Addr) (*vnet.Net, error) {
	vnetSetup.Lock()
	defer vnetSetup.Unlock()
	return vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip.String()}})
}

// nthIP returns the n-th address of 10.0.0.0/8, leaving out those that end in 0
// or 255.
func nthIP(n int) netip.Addr {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24|uint32((n-1)/254)<<8|uint32((n-1)%254+1))
	return netip.AddrFrom4(ip)
}

// Close breaks all streams and stops the router. vnet gives no way to wait for
// the router's goroutine, which ends when it next runs.
func (t *Topology) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.hosts {
		h.Link.Close()
	}
	if err := t.router.Stop(); err != nil {
		return fmt.Errorf("stop the router: %w", err)
	}
	return nil
}

// Dial connects to a listener on any host of the topology: a DialFunc. addr is
// "host:port" with a name or an address; localhost and loopback addresses are
// the host itself.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4":
		return h.streams.Dial(ctx, h.Link, h.absolute(addr))
	}
	return h.Net.Dial(network, addr)
}

// Listen accepts stream connections at addr, "host:port" or ":port", where host
// is the host itself by any name.
func (h *Host) Listen(addr string) (net.Listener, error) { return h.streams.Listen(h.absolute(addr)) }

// absolute replaces names for the host itself by its address.
func (h *Host) absolute(addr string) string {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // the network's to complain about
	}
	ip, err := netip.ParseAddr(name)
	if name == "" || name == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return net.JoinHostPort(h.IP.String(), port)
	}
	return addr
}

// hostTCP is a host's TCP: the topology's streams.
type hostTCP struct{ host *Host }

// dial opens a stream.
func (t hostTCP) dial(ctx context.Context, _, addr string, _ func() (net.Conn, error)) (*stream, error) {
	return t.host.streams.dial(ctx, t.host.Link, t.host.absolute(addr))
}

// listen listens for streams.
func (t hostTCP) listen(_, addr string) (transport.TCPListener, error) {
	return t.host.streams.listen(t.host.absolute(addr))
}

// portTries is how many ports are tried before a host counts as full.
const portTries = 100

// orderlyPorts gives sockets without a port of their own one after the other,
// where vnet draws them: the same call then has the same candidates in every
// run.
type orderlyPorts struct {
	*vnet.Net
	mu   sync.Mutex
	last uint16
}

// ResolveUDPAddr finds no IPv6 address, as on a host of an IPv4 network. vnet
// would name its IPv4 one, and who then opened an IPv6 socket would wait for an
// answer that cannot come.
func (o *orderlyPorts) ResolveUDPAddr(network, address string) (*net.UDPAddr, error) {
	if network == "udp6" {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: address}
	}
	return o.Net.ResolveUDPAddr(network, address)
}

// ListenPacket opens a UDP socket.
func (o *orderlyPorts) ListenPacket(network, address string) (net.PacketConn, error) {
	local, err := o.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	return o.ListenUDP(network, local)
}

// ListenUDP opens a UDP socket.
func (o *orderlyPorts) ListenUDP(network string, local *net.UDPAddr) (transport.UDPConn, error) {
	return o.open(local, func(at *net.UDPAddr) (transport.UDPConn, error) {
		return o.Net.ListenUDP(network, at)
	})
}

// DialUDP opens a connected UDP socket.
func (o *orderlyPorts) DialUDP(network string, local, remote *net.UDPAddr) (transport.UDPConn, error) {
	return o.open(local, func(at *net.UDPAddr) (transport.UDPConn, error) {
		return o.Net.DialUDP(network, at, remote)
	})
}

// open calls open with the local address, and with a port if it has none.
func (o *orderlyPorts) open(local *net.UDPAddr, open func(*net.UDPAddr) (transport.UDPConn, error)) (transport.UDPConn, error) {
	var at net.UDPAddr // vnet keeps the address, and writes to it
	if local != nil {
		at = *local
	}
	if at.Port != 0 {
		return open(&at)
	}
	var errs error
	for range portTries {
		next := at
		next.Port = o.next()
		c, err := open(&next)
		if err == nil {
			return c, nil
		}
		errs = err
	}
	return nil, errors.Join(errors.New("no free UDP port"), errs)
}

// next returns the next ephemeral port.
func (o *orderlyPorts) next() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last++; o.last < firstEphemeral {
		o.last = firstEphemeral
	}
	return int(o.last)
}
