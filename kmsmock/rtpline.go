package kmsmock

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5"
)

// portTries is how many pairs of ports are tried for a medium.
const portTries = 64

// An rtpLine is one medium of an RtpEndpoint: an even port for RTP and the next
// one for RTCP, both on every address.
type rtpLine struct {
	t     *mediaTransport
	index int // of the m-line
	conns [2]transport.UDPConn
	to    [2]atomic.Pointer[net.UDPAddr] // where the peer takes RTP and RTCP

	find   atomic.Bool // the peer is to be found by what it sends
	fromMu sync.Mutex
	from   [2]*net.UDPAddr

	reading sync.Mutex // held by the reader whose packet it is
	readers sync.WaitGroup
}

// open opens the ports of a medium. The server's lock is held.
func (r *rtpSession) open(k mediaKind, index int) (*rtpLine, error) {
	t := r.ep.streams[k]
	t.lines = []int{index}
	line := &rtpLine{t: t, index: index}
	s := r.ep.obj.srv
	unspecified := net.IPv4zero
	if r.address.Is6() {
		unspecified = net.IPv6unspecified
	}
	var err error
	for range portTries {
		port := 1024 + 2*s.rand.IntN(32000)
		if err = line.listen(s.net, unspecified, port); err == nil {
			r.lines = append(r.lines, line)
			for i := range line.conns {
				line.readers.Go(func() { line.read(i) })
			}
			return line, nil
		}
	}
	return nil, fmt.Errorf("open ports for RTP: %w", err)
}

func (l *rtpLine) listen(n transport.Net, unspecified net.IP, port int) error {
	for i := range l.conns {
		conn, err := n.ListenUDP("udp", &net.UDPAddr{IP: unspecified, Port: port + i})
		if err != nil {
			if i > 0 {
				_ = l.conns[0].Close()
			}
			return err
		}
		l.conns[i] = conn
	}
	return nil
}

func (l *rtpLine) port() int { return l.conns[0].LocalAddr().(*net.UDPAddr).Port }

// aim notes where the peer is, if its description says so.
func (l *rtpLine) aim(remote *sdpText, m *sdpMedia) {
	if comedia(m) {
		l.find.Store(true)
		return
	}
	c := remote.connection
	if len(m.connections) > 0 {
		c = m.connections[0]
	}
	if c == nil {
		return
	}
	if ip := net.ParseIP(c.address); ip != nil {
		l.to[0].Store(&net.UDPAddr{IP: ip, Port: int(m.port)})
		l.to[1].Store(&net.UDPAddr{IP: ip, Port: rtcpPort(m)})
	}
}

// seen notes where a packet came from. Kurento sends to a peer that it has to
// find only when both RTP and RTCP have come.
func (l *rtpLine) seen(i int, from net.Addr) {
	udp, ok := from.(*net.UDPAddr)
	if !ok || !l.find.Load() {
		return
	}
	l.fromMu.Lock()
	defer l.fromMu.Unlock()
	l.from[i] = udp
	if l.from[0] != nil && l.from[1] != nil {
		l.to[0].Store(l.from[0])
		l.to[1].Store(l.from[1])
		l.find.Store(false)
	}
}

func isRTCP(b []byte) bool { return len(b) > 1 && b[1] >= 192 && b[1] <= 223 }

func (l *rtpLine) write(b []byte) error {
	i := 0
	if isRTCP(b) {
		i = 1
	}
	to := l.to[i].Load()
	if to == nil {
		return nil
	}
	_, err := l.conns[i].WriteTo(b, to)
	return err
}

// read takes what comes to one of the ports. The two readers take turns: what
// they read into is the transport's.
func (l *rtpLine) read(i int) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := l.conns[i].ReadFrom(buf)
		if err != nil {
			return
		}
		if n < 2 || isRTCP(buf[:n]) != (i == 1) {
			continue
		}
		l.seen(i, from)
		l.take(buf[:n])
	}
}

func (l *rtpLine) take(b []byte) {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.t.datagram(b, time.Now())
}

func (l *rtpLine) close() {
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.readers.Wait()
}

// clearText is what stands in for SRTP where there is none.
type clearText struct{}

func (clearText) EncryptRTP(dst, plain []byte, _ *rtp.Header) ([]byte, error) {
	return append(dst, plain...), nil
}

func (clearText) EncryptRTCP(dst, plain []byte, _ *rtcp.Header) ([]byte, error) {
	return append(dst, plain...), nil
}
