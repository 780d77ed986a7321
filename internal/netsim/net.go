package netsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pion/transport/v5"
)

// Net puts a host's network stack behind its link: every datagram of every UDP
// socket made through the result passes the link, and so does every TCP
// connection. With a nil link it returns inner.
//
// inner is pion's vnet or stdnet, or whatever else pion can use. Names and
// interfaces are inner's. A datagram passes the link inwards when it is read,
// so a host must be reading while it is cut off for anything to get lost, as
// pion always is. With stdnet, the local kernel still completes the handshake
// of a connection that is dialed to a cut host.
func Net(inner transport.Net, l *Link) transport.Net {
	if l == nil {
		return inner
	}
	return &linkedNet{Net: inner, link: l, tcp: &innerTCP{inner, l}}
}

// tcpStack is where a linkedNet's TCP connections come from.
type tcpStack interface {
	// dial connects to addr; via is how the inner stack would.
	dial(ctx context.Context, network, addr string, via func() (net.Conn, error)) (*stream, error)
	listen(network, addr string) (transport.TCPListener, error)
}

// linkedNet is a transport.Net behind a link.
type linkedNet struct {
	transport.Net
	link *Link
	tcp  tcpStack
}

// ListenPacket opens a UDP socket.
func (n *linkedNet) ListenPacket(network, address string) (net.PacketConn, error) {
	c, err := n.Net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	return n.linkPacketConn(c)
}

// linkPacketConn puts a UDP socket behind the link.
func (n *linkedNet) linkPacketConn(c net.PacketConn) (net.PacketConn, error) {
	udp, ok := c.(transport.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T: %w", c, transport.ErrNotSupported), c.Close())
	}
	return newUDPConn(udp, n.link), nil
}

// ListenUDP opens a UDP socket.
func (n *linkedNet) ListenUDP(network string, local *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, local)
	if err != nil {
		return nil, err
	}
	return newUDPConn(c, n.link), nil
}

// DialUDP opens a connected UDP socket.
func (n *linkedNet) DialUDP(network string, local, remote *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.DialUDP(network, local, remote)
	if err != nil {
		return nil, err
	}
	return newUDPConn(c, n.link), nil
}

// Dial opens a TCP connection or a connected UDP socket.
func (n *linkedNet) Dial(network, address string) (net.Conn, error) {
	return n.CreateDialer(&net.Dialer{}).Dial(network, address)
}

// DialTCP opens a TCP connection.
func (n *linkedNet) DialTCP(network string, local, remote *net.TCPAddr) (transport.TCPConn, error) {
	c, err := n.tcp.dial(context.Background(), network, remote.String(), func() (net.Conn, error) {
		return n.Net.DialTCP(network, local, remote)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ListenTCP listens for TCP connections.
func (n *linkedNet) ListenTCP(network string, local *net.TCPAddr) (transport.TCPListener, error) {
	if local == nil {
		local = &net.TCPAddr{}
	}
	return n.tcp.listen(network, local.String())
}

// CreateDialer returns a dialer behind the link. Of the given one's fields,
// those that bound the time are honoured on a cut link as well.
func (n *linkedNet) CreateDialer(d *net.Dialer) transport.Dialer {
	return &linkedDialer{net: n, limits: d, inner: n.Net.CreateDialer(d)}
}

// CreateListenConfig returns a configuration that listens behind the link.
func (n *linkedNet) CreateListenConfig(c *net.ListenConfig) transport.ListenConfig {
	return &linkedListenConfig{net: n, inner: n.Net.CreateListenConfig(c)}
}

// linkedDialer is a transport.Dialer behind a link.
type linkedDialer struct {
	net    *linkedNet
	limits *net.Dialer
	inner  transport.Dialer
}

// Dial opens a TCP connection or a connected UDP socket.
func (d *linkedDialer) Dial(network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return d.dialTCP(network, address)
	}
	c, err := d.inner.Dial(network, address)
	if err != nil {
		return nil, err
	}
	udp, ok := c.(transport.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", network, transport.ErrNotSupported), c.Close())
	}
	return newUDPConn(udp, d.net.link), nil
}

// dialTCP dials within the dialer's time limits.
func (d *linkedDialer) dialTCP(network, address string) (net.Conn, error) {
	ctx := context.Background()
	if t := d.limits.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	if t := d.limits.Deadline; !t.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, t)
		defer cancel()
	}
	c, err := d.net.tcp.dial(ctx, network, address, func() (net.Conn, error) {
		return d.inner.Dial(network, address)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// linkedListenConfig is a transport.ListenConfig behind a link.
type linkedListenConfig struct {
	net   *linkedNet
	inner transport.ListenConfig
}

// Listen listens for TCP connections.
func (c *linkedListenConfig) Listen(_ context.Context, network, address string) (net.Listener, error) {
	return c.net.tcp.listen(network, address)
}

// ListenPacket opens a UDP socket.
func (c *linkedListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	p, err := c.inner.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.net.linkPacketConn(p)
}

// DialFunc is how the rest of the program dials: net.Dialer's DialContext.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Dialer returns a function that dials as dial does, from behind the link: it
// waits while the link is cut, takes a round trip longer for the link's delay,
// and returns a Conn. With a nil link it returns dial.
func (l *Link) Dialer(dial DialFunc) DialFunc {
	if l == nil {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := l.dial(ctx, network, addr, dial)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

// dial is what Dialer's function does.
func (l *Link) dial(ctx context.Context, network, addr string, dial DialFunc) (*stream, error) {
	err := awaitPath(ctx, [2]*Link{l}, time.Now())
	if err == nil {
		err = sleep(ctx, 2*l.lag())
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
	}
	c, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return wrap(c, l), nil
}

// innerTCP takes TCP connections from the stack that the link stands before.
type innerTCP struct {
	net  transport.Net
	link *Link
}

// dial waits for the link, then dials as the inner stack would.
func (t *innerTCP) dial(ctx context.Context, network, addr string, via func() (net.Conn, error)) (*stream, error) {
	return t.link.dial(ctx, network, addr, func(context.Context, string, string) (net.Conn, error) {
		return via()
	})
}

// listen listens on the inner stack.
func (t *innerTCP) listen(network, addr string) (transport.TCPListener, error) {
	local, err := t.net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, err
	}
	l, err := t.net.ListenTCP(network, local)
	if err != nil {
		return nil, err
	}
	return &linkedListener{l, t.link}, nil
}

// Listener puts all connections that inner accepts behind the link of the
// listening host, which is Conn for each. With a nil link it returns inner.
func Listener(inner net.Listener, l *Link) net.Listener {
	if l == nil {
		return inner
	}
	return &plainListener{inner, l}
}

// plainListener is a net.Listener behind a link.
type plainListener struct {
	net.Listener
	link *Link
}

// Accept returns the next connection.
func (l *plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrap(c, l.link), nil
}

// linkedListener is a transport.TCPListener behind a link.
type linkedListener struct {
	transport.TCPListener
	link *Link
}

// Accept returns the next connection.
func (l *linkedListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP returns the next connection.
func (l *linkedListener) AcceptTCP() (transport.TCPConn, error) {
	c, err := l.TCPListener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return wrap(c, l.link), nil
}
