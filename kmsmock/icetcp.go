package kmsmock

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/ice/v4"
)

// A passiveListener takes the TCP connections of one passive candidate, with
// the framing of RFC 4571.
type passiveListener struct {
	mux  *ice.TCPMuxDefault
	conn net.PacketConn
	port int
}

const (
	// maxFirstPacket bounds the datagrams that wait for the agent.
	maxFirstPacket = 64
	// tcpBacklog is how much waits for a peer that reads slowly, in bytes; more
	// is lost. Without it a peer that does not read would hold up whoever sends,
	// and with him the server's lock.
	tcpBacklog = 4 << 20
)

// listenPassive opens a TCP port for checks that carry the fragment of the
// stream. It fails where the network has no TCP.
func (t *mediaTransport) listenPassive(ip netip.Addr, component int) (*passiveListener, error) {
	l, err := t.ep.obj.srv.net.ListenTCP("tcp", &net.TCPAddr{IP: ip.AsSlice(), Zone: ip.Zone()})
	if err != nil {
		return nil, fmt.Errorf("listen for TCP candidates: %w", err)
	}
	watched := &watchedListener{Listener: l, t: t, component: component, open: map[*watchedConn]bool{}}
	mux := ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: watched, Logger: quiet{}.NewLogger(""), ReadBufferSize: maxFirstPacket, WriteBufferSize: tcpBacklog})
	conn, err := mux.GetConnByUfrag(t.local.ufrag, !ip.Is4(), ip.AsSlice())
	if err != nil {
		_ = mux.Close()
		return nil, fmt.Errorf("listen for TCP candidates: %w", err)
	}
	return &passiveListener{mux: mux, conn: conn, port: l.Addr().(*net.TCPAddr).Port}, nil
}

func (l *passiveListener) close() {
	_ = l.conn.Close()
	_ = l.mux.Close()
}

// A watchedListener takes its time with the first packet of a connection to
// component 1, so that a peer checks component 2 as well, and tells when one of
// its connections ends. Its end is that of its connections too: the mux waits
// half a minute for the first packet of one that says nothing.
type watchedListener struct {
	net.Listener
	t         *mediaTransport
	component int

	mu     sync.Mutex
	open   map[*watchedConn]bool
	closed bool
}

func (l *watchedListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &watchedConn{Conn: raw, l: l, fresh: l.component == 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	l.open[c] = true
	return c, nil
}

func (l *watchedListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.open {
		_ = c.Conn.Close()
	}
	return l.Listener.Close()
}

type watchedConn struct {
	net.Conn
	l     *watchedListener
	fresh bool // nothing was read yet
}

func (c *watchedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.fresh {
		c.fresh = false
		c.l.t.sleep(c.l.t.ep.obj.srv.pace.acceptTCP)
	}
	if err != nil {
		c.l.t.hungUp(c.l.component)
	}
	return n, err
}
