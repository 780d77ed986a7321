package server

import (
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// Of frames that wait together, so many and about so many bytes leave in one write:
// a candidate costs more by its system call than by anything else.
const (
	batchFrames = 64
	batchBytes  = 32 << 10
)

// batch are frames that wait for the writer of a connection, in order. Who adds to
// it and who takes holds conn.mu.
type batch struct{ frames []outFrame }

// outFrame is a frame, and what is to be done when it was written, which may be nil.
type outFrame struct {
	kind int // as RFC 6455 numbers its opcodes
	text []byte
	then func()
}

// take takes out what leaves next, and returns how many bytes of frames that are.
func (b *batch) take() (next []outFrame, size int) {
	for len(next) < min(len(b.frames), batchFrames) && size < batchBytes {
		size += len(b.frames[len(next)].text)
		next = b.frames[:len(next)+1]
	}
	b.frames = b.frames[len(next):]
	return next, size
}

// enqueueThen queues a frame and something to be done, on the writer, when it
// was written.
func (c *conn) enqueueThen(kind int, text []byte, then func()) {
	c.mu.Lock()
	if c.shutting {
		c.mu.Unlock()
		return
	}
	if kind == websocket.TextMessage && then == nil && c.direct(text) {
		c.mu.Unlock()
		return
	}
	c.waiting++
	c.bytes += len(text)
	full := c.waiting > c.srv.cfg.MaxQueue || c.bytes > c.srv.cfg.MaxQueueBytes
	if !full {
		c.collect(outFrame{kind, text, then})
	}
	c.mu.Unlock()
	if full {
		c.overflow()
	}
}

// sendAll is send for frames that leave together.
func (c *conn) sendAll(texts [][]byte) {
	c.mu.Lock()
	done := !c.shutting && c.direct(texts...)
	c.mu.Unlock()
	if done {
		return
	}
	for _, text := range texts {
		c.send(text)
	}
}

// collect adds a frame to those that the writer takes next. c.mu is held.
func (c *conn) collect(f outFrame) {
	b := c.batch
	if b == nil {
		b = new(batch)
		c.batch = b
		c.queue(func() { c.write(b) })
	}
	b.frames = append(b.frames, f)
}

// write runs on the writer, until nothing waits in the batch.
func (c *conn) write(b *batch) {
	for {
		c.mu.Lock()
		next, size := b.take()
		if len(b.frames) == 0 && c.batch == b {
			c.batch = nil
		}
		c.waiting -= len(next)
		c.bytes -= size
		c.mu.Unlock()
		if len(next) == 0 || !c.put(next...) {
			return
		}
		for _, f := range next {
			if f.then != nil {
				f.then()
			}
		}
		c.caughtUp()
	}
}

// put writes frames at once, on the writer, and reports whether that was done. The
// WebSocket library would make each a write of its own.
func (c *conn) put(frames ...outFrame) bool {
	discard, deadline := c.limits()
	if discard {
		return false
	}
	buf := c.srv.buffer()
	defer c.srv.buffers.Put(buf)
	for _, f := range frames {
		buf.Write(appendHead(buf.AvailableBuffer(), f.kind, len(f.text)))
		buf.Write(f.text)
	}
	_ = c.ws.NetConn().SetWriteDeadline(deadline)
	_, err := c.ws.NetConn().Write(buf.Bytes())
	return c.wrote(err)
}

// appendHead appends what stands before the payload of a server's frame that is the
// whole message, and not masked (RFC 6455, section 5.2).
func appendHead(b []byte, kind, size int) []byte {
	const final = 0x80
	b = append(b, final|byte(kind))
	switch {
	case size < 126:
		return append(b, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(b, 127), uint64(size))
	}
}
