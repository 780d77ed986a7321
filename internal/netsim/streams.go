package netsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pion/transport/v5"
)

// firstEphemeral is the first port that dialing hosts use (RFC 6335 section 6).
const firstEphemeral = 49152

// backlog is how many connections wait for Accept before further ones have to
// wait and try again.
const backlog = 1024

// Streams is an in-memory network of stream connections between named hosts.
// Connections are buffered in both directions and behave as TCP does when a
// host's link is cut, delayed or reset.
type Streams struct {
	delay time.Duration

	mu        sync.Mutex
	hosts     map[string]*streamHost // by name and by address
	links     map[*Link]*streamHost
	listeners map[netip.AddrPort]*listener
}

// streamHost is a host that streams begin or end at.
type streamHost struct {
	ip   netip.Addr
	link *Link
	port uint16 // the last ephemeral port used
}

// NewStreams returns a network without hosts on which anything takes the given
// delay from one host to another, besides the delays of their links.
func NewStreams(delay time.Duration) *Streams {
	return &Streams{
		delay:     delay,
		hosts:     make(map[string]*streamHost),
		links:     make(map[*Link]*streamHost),
		listeners: make(map[netip.AddrPort]*listener),
	}
}

// AddHost makes a host known by its name and its address. Its link may be nil.
func (s *Streams) AddHost(name string, ip netip.Addr, link *Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &streamHost{ip: ip.Unmap(), link: link, port: firstEphemeral - 1}
	s.hosts[strings.ToLower(name)], s.hosts[h.ip.String()] = h, h
	if link != nil {
		s.links[link] = h
	}
}

// Listen accepts connections at addr, "host:port", where host is a host's name
// or address. Port 0 takes a free one.
func (s *Streams) Listen(addr string) (net.Listener, error) { return s.listen(addr) }

// listen is Listen with its own type.
func (s *Streams) listen(addr string) (*listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, port, err := s.resolve(addr)
	if err == nil && port == 0 {
		port, err = s.freePort(h)
	}
	at := netip.AddrPort{}
	if err == nil {
		at = netip.AddrPortFrom(h.ip, port)
		if s.listeners[at] != nil {
			err = os.NewSyscallError("bind", syscall.EADDRINUSE)
		}
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	l := newListener(s, at)
	s.listeners[at] = l
	return l, nil
}

// freePort returns an ephemeral port at which host h does not listen; s.mu is
// held.
func (s *Streams) freePort(h *streamHost) (uint16, error) {
	for range 1<<16 - firstEphemeral {
		if h.port++; h.port < firstEphemeral {
			h.port = firstEphemeral
		}
		if s.listeners[netip.AddrPortFrom(h.ip, h.port)] == nil {
			return h.port, nil
		}
	}
	return 0, os.NewSyscallError("bind", syscall.EADDRINUSE)
}

// resolve finds the host and port of an address; s.mu is held.
func (s *Streams) resolve(addr string) (*streamHost, uint16, error) {
	name, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("port %q of %q: %w", service, addr, errors.Unwrap(err))
	}
	h := s.hosts[strings.ToLower(name)]
	if h == nil {
		return nil, 0, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return h, uint16(port), nil
}

// Dial connects the host with the given link, which AddHost has made known, to
// a listener at addr, "host:port". It takes a round trip. While either host is
// cut off it waits, and tries again when TCP would; a host that does not listen
// refuses the connection.
func (s *Streams) Dial(ctx context.Context, from *Link, addr string) (net.Conn, error) {
	c, err := s.dial(ctx, from, addr)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// dial is Dial with its own type.
func (s *Streams) dial(ctx context.Context, from *Link, addr string) (*stream, error) {
	src, dst, err := s.endpoints(from, addr)
	if err == nil {
		var c *stream
		if c, err = s.connect(ctx, src, dst); err == nil {
			return c, nil
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Source: src.addr(), Addr: dst.addr(), Err: err}
}

// endpoint is one end of a connection to be.
type endpoint struct {
	at   netip.AddrPort
	link *Link
}

// addr returns the endpoint's address, nil if it is not known.
func (e endpoint) addr() net.Addr {
	if !e.at.IsValid() {
		return nil
	}
	return net.TCPAddrFromAddrPort(e.at)
}

// endpoints resolves both ends of a connection.
func (s *Streams) endpoints(from *Link, addr string) (src, dst endpoint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, err := s.resolve(addr)
	if err != nil {
		return src, dst, err
	}
	dst = endpoint{netip.AddrPortFrom(host.ip, port), host.link}
	dialer := s.links[from]
	if dialer == nil {
		return src, dst, fmt.Errorf("the dialing host's link is not part of this network: %w", syscall.ENETUNREACH)
	}
	port, err = s.freePort(dialer)
	return endpoint{netip.AddrPortFrom(dialer.ip, port), from}, dst, err
}

// connect makes the handshake.
func (s *Streams) connect(ctx context.Context, src, dst endpoint) (*stream, error) {
	links := [2]*Link{src.link, dst.link}
	lag := s.delay + src.link.lag() + dst.link.lag()
	if src.link == dst.link {
		links, lag = [2]*Link{}, 0
	}
	started, rto := time.Now(), synRTO
	for range synTries {
		if err := awaitPath(ctx, links, started); err != nil {
			return nil, err
		}
		if err := sleep(ctx, lag); err != nil {
			return nil, err
		}
		if links[0].isCut() || links[1].isCut() {
			continue // the SYN is lost
		}
		c, err := s.knock(src, dst)
		if err == nil {
			return c, s.welcome(ctx, c, lag)
		}
		if !errors.Is(err, errBacklog) {
			return nil, refuse(ctx, err, lag)
		}
		if err := sleep(ctx, rto-lag); err != nil {
			return nil, err
		}
		rto *= 2
	}
	return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
}

// refuse lets a refusal travel back to the dialing host.
func refuse(ctx context.Context, refusal error, lag time.Duration) error {
	if err := sleep(ctx, lag); err != nil {
		return err
	}
	return refusal
}

// welcome lets the answer travel back to the dialing host.
func (s *Streams) welcome(ctx context.Context, c *stream, lag time.Duration) error {
	err := sleep(ctx, lag)
	if err == nil {
		err = awaitPath(ctx, c.p.links, time.Now())
	}
	if err != nil {
		c.p.abort(c.side, net.ErrClosed)
	}
	return err
}

// errBacklog says that a listener has too many connections to accept.
var errBacklog = errors.New("the listener's backlog is full")

// knock hands a new connection to the listener, and returns the dialing side.
func (s *Streams) knock(src, dst endpoint) (*stream, error) {
	s.mu.Lock()
	l := s.listeners[dst.at]
	s.mu.Unlock()
	if l == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	p := newPipe([2]*Link{src.link, dst.link}, s.delay, nil)
	near := &stream{p: p, side: 0, local: src.addr(), remote: dst.addr()}
	far := &stream{p: p, side: 1, local: dst.addr(), remote: src.addr()}
	if err := l.deliver(far); err != nil {
		p.kill()
		return nil, err
	}
	return near, nil
}

// listener accepts connections at one address.
type listener struct {
	streams *Streams
	at      netip.AddrPort

	mu      sync.Mutex
	accept  waiter
	pending []*stream
	closed  bool
}

var _ transport.TCPListener = (*listener)(nil)

// newListener returns a listener that nobody can reach yet.
func newListener(s *Streams, at netip.AddrPort) *listener {
	l := &listener{streams: s, at: at}
	l.accept.init(&l.mu)
	return l
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.next()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP is Accept with the type that transport.TCPListener asks for.
func (l *listener) AcceptTCP() (transport.TCPConn, error) {
	c, err := l.next()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// next waits for a connection.
func (l *listener) next() (*stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := l.accept.check()
		if l.closed {
			err = net.ErrClosed
		}
		if err != nil {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
		}
		if len(l.pending) > 0 {
			c := l.pending[0]
			l.pending = l.pending[1:]
			return c, nil
		}
		l.accept.wait(time.Time{})
	}
}

// deliver queues a connection for Accept.
func (l *listener) deliver(c *stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	if len(l.pending) == backlog {
		return errBacklog
	}
	l.pending = append(l.pending, c)
	l.accept.cond.Broadcast()
	return nil
}

// Close stops listening, and resets connections that were not accepted.
func (l *listener) Close() error {
	l.mu.Lock()
	pending, closed := l.pending, l.closed
	l.pending, l.closed = nil, true
	l.accept.stop()
	l.mu.Unlock()
	if closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.streams.remove(l)
	for _, c := range pending {
		c.p.abort(c.side, net.ErrClosed)
	}
	return nil
}

// remove makes a listener's address free.
func (s *Streams) remove(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l.at)
}

// Addr returns the address that the listener listens at.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// SetDeadline makes Accept fail with os.ErrDeadlineExceeded from t on. Zero
// means never.
func (l *listener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accept.setDeadline(t)
	return nil
}
