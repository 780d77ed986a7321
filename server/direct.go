package server

import (
	"bytes"
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

// direct writes text frames on the caller's goroutine if nothing waits before them
// and the socket takes them at once, and reports whether it has seen to them:
// waking a writer costs about as much as the write itself, and it comes sooner. What
// the socket does not take is the writer's, so nobody ever waits here for a client
// that reads slowly. c.mu is held.
func (c *conn) direct(texts ...[]byte) bool {
	if c.raw == nil || c.queued > 0 {
		return false
	}
	buf, _ := c.srv.buffers.Get().(*bytes.Buffer)
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	defer c.srv.buffers.Put(buf)
	buf.Reset()
	for _, b := range texts {
		if buf.Len()+len(b) > maxDirect {
			return false
		}
		buf.Write(appendHead(buf.AvailableBuffer(), websocket.TextMessage, len(b)))
		buf.Write(b)
	}
	n := writeNow(c.raw, buf.Bytes())
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
