package server

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"github.com/gorilla/websocket"
)

// maxDirect is the largest frame that is written directly, in bytes: the largest whose
// length takes two bytes of its header. There are none as long as a rule.
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

// direct writes a text frame on the caller's goroutine if nothing waits before it
// and the socket takes it at once, and reports whether it has seen to the frame:
// waking a writer costs about as much as the write itself, and it comes sooner. What
// the socket does not take is the writer's, so nobody ever waits here for a client
// that reads slowly. c.mu is held.
func (c *conn) direct(b []byte) bool {
	if c.raw == nil || c.queued > 0 || len(b) > maxDirect {
		return false
	}
	buf, _ := c.srv.buffers.Get().(*bytes.Buffer)
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	defer c.srv.buffers.Put(buf)
	buf.Reset()
	buf.Write(appendTextHeader(buf.AvailableBuffer(), len(b)))
	buf.Write(b)
	n := writeNow(c.raw, buf.Bytes())
	if n > 0 && n < buf.Len() {
		c.rest(bytes.Clone(buf.Bytes()[n:]))
	}
	return n > 0
}

// appendTextHeader appends the header of a whole text frame of the server's, which
// is not masked (RFC 6455, section 5.2).
func appendTextHeader(b []byte, n int) []byte {
	const final = 0x80
	b = append(b, final|websocket.TextMessage)
	if n < 126 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
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
