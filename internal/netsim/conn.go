package netsim

import (
	"io"
	"net"
)

// The sides of a Conn's pipe.
const (
	front = 0 // what Conn returns
	back  = 1 // what the pumps use
)

// pumpBuffer is how much a pump moves at a time.
const pumpBuffer = 8 << 10

// Conn puts an established stream connection behind the link of the host that
// holds it: the result can be cut, reset and delayed like a stream in memory,
// and never tells the peer more than a real host in that state could. With a
// nil link it returns inner.
//
// Two goroutines move the bytes. They end after the result has been closed and
// what was written has been passed on, which on a cut link is after Restore or
// the link's Close.
func Conn(inner net.Conn, l *Link) net.Conn {
	if l == nil {
		return inner
	}
	return wrap(inner, l)
}

// wrap is Conn with its own type.
func wrap(inner net.Conn, l *Link) *stream {
	running := l.startPumps()
	p := newPipe([2]*Link{l, nil}, 0, func() { _ = inner.Close() })
	if running {
		go func() {
			defer l.pumps.Done()
			pumpOut(p, inner)
		}()
		go func() {
			defer l.pumps.Done()
			pumpIn(p, inner)
		}()
	}
	return &stream{p: p, side: front, local: inner.LocalAddr(), remote: inner.RemoteAddr(), inner: inner}
}

// pumpOut sends what the front has written, and ends the real connection as
// the front has ended it.
func pumpOut(p *pipe, inner net.Conn) {
	defer p.close(back) // only now does the link forget the pipe
	defer inner.Close()
	buf := make([]byte, pumpBuffer)
	for {
		n, err := p.read(back, buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			hardClose(inner)
			return
		}
		if _, err := inner.Write(buf[:n]); err != nil {
			p.abort(back, err)
			return
		}
	}
	if half, ok := inner.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // a broken connection is pumpIn's to notice
	}
	p.awaitLeave(front)
}

// pumpIn hands the front what the real connection receives.
func pumpIn(p *pipe, inner net.Conn) {
	buf := make([]byte, pumpBuffer)
	for {
		n, err := inner.Read(buf)
		if n > 0 {
			if _, err := p.write(back, buf[:n]); err != nil {
				return
			}
		}
		if err == io.EOF {
			_ = p.closeWrite(back) // fails only if the pipe has been reset already
			return
		}
		if err != nil {
			p.abort(back, err)
			return
		}
	}
}

// hardClose closes a connection with RST where it can.
func hardClose(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // best effort: Close follows in any case
	}
	_ = c.Close()
}
