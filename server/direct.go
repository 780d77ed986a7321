package server

import (
	"bytes"
	"io"
	"syscall"

	"github.com/gorilla/websocket"
)

// maxDirect is how much is written directly at most, in bytes. There are no longer
// frames as a rule.
const maxDirect = 1<<16 - 1

// rawOf is a connection's socket for writes that do not wait; nil if it has none,
// as TLS and connections in memory.
func rawOf(ws *websocket.Conn) syscall.RawConn {
	if s, ok := ws.NetConn().(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// frameBuffer holds a frame while it is read or written. It is used again, and with it
// what that takes.
type frameBuffer struct {
	bytes.Buffer
	limited io.LimitedReader
	taken   int           // how much of it a socket took
	control func(uintptr) // writes it to a socket
}

// buffer is an empty buffer, to be put back into s.buffers.
func (s *Server) buffer() *frameBuffer {
	b, _ := s.buffers.Get().(*frameBuffer)
	if b == nil {
		b = new(frameBuffer)
		b.control = func(fd uintptr) { b.taken = writeNow(fd, b.Bytes()) }
	}
	b.Reset()
	return b
}

// readFrom reads so many bytes of r at most.
func (b *frameBuffer) readFrom(r io.Reader, most int64) (int64, error) {
	b.limited = io.LimitedReader{R: r, N: most}
	n, err := b.ReadFrom(&b.limited)
	b.limited.R = nil
	return n, err
}

// writeNow writes what the socket takes at once, and returns how much that was: nothing
// of what is closed.
func (b *frameBuffer) writeNow(raw syscall.RawConn) int {
	b.taken = 0
	_ = raw.Control(b.control)
	return b.taken
}

// direct writes text frames on the caller's goroutine if nothing waits before them
// and the socket takes them at once, and reports whether it has seen to them:
// waking a writer costs about as much as the write itself, and it comes sooner. What
// the socket does not take is the writer's, so nobody ever waits here for a client
// that reads slowly. c.mu is held.
func (c *conn) direct(texts ...[]byte) bool {
	if c.raw == nil || c.queued > 0 {
		return false
	}
	buf := c.srv.buffer()
	defer c.srv.buffers.Put(buf)
	for _, b := range texts {
		if buf.Len()+len(b) > maxDirect {
			return false
		}
		buf.Write(appendHead(buf.AvailableBuffer(), websocket.TextMessage, len(b)))
		buf.Write(b)
	}
	n := buf.writeNow(c.raw)
	if n > 0 && n < buf.Len() {
		c.rest(bytes.Clone(buf.Bytes()[n:]))
	}
	return n > 0
}

// rest has the writer write the end of a frame that was begun, also if what waits is
// given up: the close frame must not become a part of it. c.mu is held.
func (c *conn) rest(b []byte) {
	c.waiting++
	c.bytes += len(b)
	c.queue(func() {
		c.mu.Lock()
		c.waiting--
		c.bytes -= len(b)
		c.mu.Unlock()
		_, deadline := c.limits()
		_ = c.ws.NetConn().SetWriteDeadline(deadline)
		_, err := c.ws.NetConn().Write(b)
		if c.wrote(err) {
			c.caughtUp()
		}
	})
}
