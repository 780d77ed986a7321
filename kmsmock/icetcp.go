package kmsmock

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/ice/v4"
)

// A passiveListener takes the TCP connections of one passive candidate, with
// the framing of RFC 4571.
type passiveListener struct {
	mux  *ice.TCPMuxDefault
	conn net.PacketConn
	port int
}

// maxFirstPacket bounds the datagrams that wait for the agent.
const maxFirstPacket = 64

// listenPassive opens a TCP port for checks that carry the fragment of the
// stream. It fails where the network has no TCP.
func (t *mediaTransport) listenPassive(ip netip.Addr, component int) (*passiveListener, error) {
	l, err := t.ep.obj.srv.net.ListenTCP("tcp", &net.TCPAddr{IP: ip.AsSlice(), Zone: ip.Zone()})
	if err != nil {
		return nil, fmt.Errorf("listen for TCP candidates: %w", err)
	}
	mux := ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: watchedListener{l, t, component}, Logger: quiet{}.NewLogger(""), ReadBufferSize: maxFirstPacket})
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
// its connections ends.
type watchedListener struct {
	net.Listener
	t         *mediaTransport
	component int
}

func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c, l: l, fresh: l.component == 1}, nil
}

type watchedConn struct {
	net.Conn
	l     watchedListener
	fresh bool // nothing was read yet
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
