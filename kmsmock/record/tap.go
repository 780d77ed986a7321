package record

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"
)

// A tap is one direction of a connection: a reader of what one side sends that
// passes it on. A chunk goes to the other side when its reader has taken all of
// it and asks for more, so that what is noted of a chunk is noted before the
// other side can answer it. No chunk waits for the rest of a frame.
type tap struct {
	*bufio.Reader
	src, dst net.Conn
	chunk    []byte    // read and not passed on yet
	at       time.Time // when it was read
	err      error     // why reading or passing on ended
}

func newTap(src, dst net.Conn) *tap {
	t := &tap{src: src, dst: dst}
	t.Reader = bufio.NewReaderSize(tapped{t}, 64<<10)
	return t
}

// tapped is what the tap's buffer reads from.
type tapped struct{ *tap }

// Read passes the last chunk on and waits for the next.
func (t tapped) Read(b []byte) (int, error) {
	if t.err == nil {
		t.err = t.flush()
	}
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.src.Read(b)
	t.at, t.chunk = time.Now(), append(t.chunk[:0], b[:n]...)
	if err != nil {
		t.err = err
		if n > 0 {
			return n, nil // the error comes when this has been read
		}
	}
	return n, err
}

// flush passes on what has been read.
func (t *tap) flush() error {
	if len(t.chunk) == 0 {
		return nil
	}
	_, err := t.dst.Write(t.chunk)
	t.chunk = t.chunk[:0]
	if err != nil {
		return errPassOn{err}
	}
	return nil
}

// errPassOn is that the other side does not take any more.
type errPassOn struct{ error }

// drain passes on what is not understood, until the side ends.
func (t *tap) drain() { _, _ = io.Copy(io.Discard, t.Reader) }

// end passes the end on: a FIN as a FIN, anything else as a reset of both sides.
// If it is the other side that has ended, the other direction learns how.
func (t *tap) end() {
	if err := t.flush(); err != nil {
		t.err = err
	}
	var passing errPassOn
	if errors.As(t.err, &passing) {
		return
	}
	if errors.Is(t.err, io.EOF) {
		if half, ok := t.dst.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			_ = t.dst.Close()
		}
		return
	}
	reset(t.dst)
	reset(t.src)
}

// gone tells whether the side that sends has ended by itself.
func (t *tap) gone() bool {
	var passing errPassOn
	return t.err != nil && !errors.As(t.err, &passing) && !errors.Is(t.err, net.ErrClosed) && !errors.Is(t.err, io.ErrClosedPipe)
}
