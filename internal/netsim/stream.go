package netsim

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/transport/v5"
)

// stream is one side of a pipe as a TCP connection.
type stream struct {
	p             *pipe
	side          int
	local, remote net.Addr
	inner         net.Conn    // what a Conn stands before; nil in memory
	hard          atomic.Bool // SetLinger(0): Close sends RST
}

var _ transport.TCPConn = (*stream)(nil)

// Read reads what has arrived. It returns io.EOF after the peer's orderly
// close, and an error that wraps ECONNRESET after a reset.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.p.read(s.side, b)
	return n, s.failed("read", err)
}

// Write puts b on its way. It waits while the send buffer is full, which a cut
// path does not empty.
func (s *stream) Write(b []byte) (int, error) {
	n, err := s.p.write(s.side, b)
	return n, s.failed("write", err)
}

// Close ends the connection; the peer reads what has been written, then EOF.
// It never waits. Unlike Linux it sends no RST for bytes left unread.
func (s *stream) Close() error {
	if s.hard.Load() {
		s.p.abort(s.side, net.ErrClosed)
		return nil
	}
	return s.failed("close", s.p.close(s.side))
}

// CloseWrite ends what this side sends; reading goes on.
func (s *stream) CloseWrite() error { return s.failed("close", s.p.closeWrite(s.side)) }

// CloseRead drops all that still arrives; writing goes on.
func (s *stream) CloseRead() error { return s.failed("close", s.p.closeRead(s.side)) }

// LocalAddr returns this side's address.
func (s *stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr returns the other side's address.
func (s *stream) RemoteAddr() net.Addr { return s.remote }

// NetConn returns the connection that a Conn stands before, nil in memory.
// What is done to it does not pass the link.
func (s *stream) NetConn() net.Conn { return s.inner }

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail with os.ErrDeadlineExceeded from t on, those
// under way too. Zero means never.
func (s *stream) SetReadDeadline(t time.Time) error {
	return s.setDeadline(&s.p.halves[1-s.side].reader, t)
}

// SetWriteDeadline does for writes what SetReadDeadline does for reads.
func (s *stream) SetWriteDeadline(t time.Time) error {
	return s.setDeadline(&s.p.halves[s.side].writer, t)
}

// setDeadline changes a waiter's deadline unless the connection is closed.
func (s *stream) setDeadline(w *waiter, t time.Time) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if err := s.p.local[s.side]; errors.Is(err, net.ErrClosed) {
		return s.failed("set", err)
	}
	w.setDeadline(t)
	return nil
}

// SetLinger with zero makes Close break the connection with RST. Any other
// value is the default.
func (s *stream) SetLinger(sec int) error {
	s.hard.Store(sec == 0)
	return nil
}

// ReadFrom writes what it reads from r.
func (s *stream) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, r)
}

// SetKeepAlive does nothing: keep-alive probes are not simulated.
func (s *stream) SetKeepAlive(bool) error { return nil }

// SetKeepAlivePeriod does nothing: keep-alive probes are not simulated.
func (s *stream) SetKeepAlivePeriod(time.Duration) error { return nil }

// SetNoDelay does nothing: every write is sent at once.
func (s *stream) SetNoDelay(bool) error { return nil }

// SetWriteBuffer does nothing: the buffers have a fixed size.
func (s *stream) SetWriteBuffer(int) error { return nil }

// SetReadBuffer does nothing: the buffers have a fixed size.
func (s *stream) SetReadBuffer(int) error { return nil }

// failed dresses an error as package net would.
func (s *stream) failed(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.local, Addr: s.remote, Err: err}
}
