package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// A message is a frame, or the fragments of one together, unmasked (RFC 6455, 5.2).
type message struct {
	opcode int
	data   []byte
	length int // in bytes; more than data has if the message was too long to keep
}

// closeCode is the code and text of a close frame; 1005 for none.
func (m message) closeCode() (int, string) {
	if len(m.data) < 2 {
		return websocket.CloseNoStatusReceived, ""
	}
	return int(binary.BigEndian.Uint16(m.data)), string(m.data[2:])
}

// maxKept is the longest frame that a transcript keeps whole, in bytes. The
// longest one of a Kurento is the answer to getKmd, some 100 kB; it refuses those
// of 32 MB at sight of their header. A longer frame is kept as far as it is there
// with its header, and noted before it is passed on.
const maxKept = 4 << 20

// A frameReader puts messages together.
type frameReader struct {
	from interface {
		io.Reader
		Buffered() int
	}
	partial atomic.Pointer[message] // whose last fragment is still to come
	skipped int64                   // bytes of the last frame that are not kept and still to come
}

type header struct {
	final  bool
	opcode int
	length uint64
	mask   []byte // nil: not masked
}

func (r *frameReader) next() (message, error) {
	for {
		if _, err := io.CopyN(io.Discard, r.from, r.skipped); err != nil {
			return message{}, err
		}
		r.skipped = 0
		h, err := r.header()
		if err != nil {
			return message{}, err
		}
		m := message{opcode: h.opcode}
		if h.opcode >= websocket.CloseMessage {
			return m, r.payload(h, &m)
		}
		if before := r.partial.Load(); h.opcode == 0 && before != nil {
			m = *before
		}
		if err := r.payload(h, &m); err != nil {
			return message{}, err
		}
		if h.final {
			r.partial.Store(nil)
			return m, nil
		}
		r.partial.Store(&m)
	}
}

func (r *frameReader) header() (header, error) {
	b := make([]byte, 8)
	if _, err := io.ReadFull(r.from, b[:2]); err != nil {
		return header{}, err
	}
	h := header{final: b[0]&0x80 != 0, opcode: int(b[0] & 0x0f), length: uint64(b[1] & 0x7f)}
	masked := b[1]&0x80 != 0
	if 3 <= h.opcode && h.opcode <= 7 || h.opcode > websocket.PongMessage {
		return h, fmt.Errorf("opcode %d", h.opcode)
	}
	long := map[uint64]int{126: 2, 127: 8}[h.length]
	if long > 0 {
		clear(b)
		if _, err := io.ReadFull(r.from, b[8-long:]); err != nil {
			return h, err
		}
		h.length = binary.BigEndian.Uint64(b)
	}
	if h.length > 1<<62 {
		return h, errors.New("a length of 63 bits")
	}
	if masked {
		h.mask = make([]byte, 4)
		_, err := io.ReadFull(r.from, h.mask)
		return h, err
	}
	return h, nil
}

// payload appends a frame's payload to a message, as far as it is kept.
func (r *frameReader) payload(h header, m *message) error {
	kept := int64(h.length)
	if h.length > maxKept {
		kept = min(kept, int64(r.from.Buffered()))
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r.from, kept); err != nil {
		return err
	}
	data := b.Bytes()
	for i := range data {
		if h.mask != nil {
			data[i] ^= h.mask[i%4]
		}
	}
	m.data, m.length = append(m.data, data...), m.length+int(h.length)
	r.skipped = int64(h.length) - kept
	return nil
}
