package conform

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A memListener is a listener whose connections never leave the process.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept waits for a connection.
func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and refuses connections from now on.
func (l *memListener) Close() error { l.once.Do(func() { close(l.done) }); return nil }

// Addr is an address for logs.
func (l *memListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8888} }

func (l *memListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return newMemConn(near), nil
	case <-l.done:
		return nil, errors.New("connection refused")
	}
}

// A memConn is the client's end of a connection in memory. As with TCP, what it
// writes waits for a server that is busy.
type memConn struct {
	net.Conn
	out    chan []byte
	closed chan struct{}
	once   sync.Once
}

// maxUnread is how many frames may wait for the server.
const maxUnread = 1 << 10

func newMemConn(conn net.Conn) *memConn {
	c := &memConn{Conn: conn, out: make(chan []byte, maxUnread), closed: make(chan struct{})}
	go c.drain()
	return c
}

// drain writes until Close, and what is left then.
func (c *memConn) drain() {
	defer c.Conn.Close()
	for {
		select {
		case b := <-c.out:
			if _, err := c.Conn.Write(b); err != nil {
				return
			}
		case <-c.closed:
			for len(c.out) > 0 {
				if _, err := c.Conn.Write(<-c.out); err != nil {
					return
				}
			}
			return
		}
	}
}

func (c *memConn) Write(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case c.out <- append([]byte(nil), b...):
		return len(b), nil
	}
}

// Read closes the connection when the server has.
func (c *memConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// Close ends reading at once.
func (c *memConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.SetReadDeadline(time.Unix(1, 0))
}

// SetDeadline bounds reading only: writing does not wait.
func (c *memConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline has nothing to bound.
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
