package netsim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"github.com/callbench/callbench/internal/netsim"
)

// linked is a Conn and its peer.
type linked struct {
	conn net.Conn // behind link
	peer net.Conn
	link *netsim.Link
}

// newLinked puts a Conn before the given connection.
func newLinked(inner, peer net.Conn) *linked {
	l := &linked{peer: peer, link: netsim.NewLink(netsim.LinkConfig{Host: "alice"})}
	l.conn = netsim.Conn(inner, l.link)
	return l
}

// close ends everything, and returns when the pumps have ended.
func (l *linked) close() {
	l.conn.Close()
	l.peer.Close()
	l.link.Close()
}

// inLinkedBubble tests a Conn over a stream in memory, where time is virtual:
// a Conn does not care what it stands before.
func inLinkedBubble(t *testing.T, f func(t *testing.T, l *linked)) {
	t.Helper()
	inBubble(t, 0, func(t *testing.T, p *pair) {
		l := newLinked(p.near, p.far)
		defer l.close()
		f(t, l)
	})
}

// loopback returns the two ends of a real TCP connection.
func loopback(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return near, far
}

func TestConnConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	defer goleak.VerifyNone(t)
	nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
		l := newLinked(loopback(t))
		return l.conn, l.peer, l.close, nil
	})
}

func TestConnWithoutLink(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if netsim.Conn(near, nil) != near {
		t.Error("Conn with a nil link is not the connection itself")
	}
}

func TestConnCutStalls(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.Cut()
		mustWrite(t, l.conn, "out")
		mustWrite(t, l.peer, "in")
		for _, c := range []net.Conn{l.conn, l.peer} {
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			wantError(t, "read during the cut", one(c), os.ErrDeadlineExceeded)
			c.SetReadDeadline(time.Time{})
		}
		l.link.Restore()
		mustWrite(t, l.conn, " and more")
		wantRead(t, l.peer, "out and more")
		wantRead(t, l.conn, "in")
	})
}

// TestConnCutFillsBuffer: writes stop to succeed when the send buffer is full,
// and go on when the network is back.
func TestConnCutFillsBuffer(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.Cut()
		l.conn.SetWriteDeadline(time.Now().Add(time.Second))
		chunk := make([]byte, 10_000)
		sent := 0
		var err error
		for err == nil {
			var n int
			n, err = l.conn.Write(chunk)
			sent += n
		}
		wantError(t, "write", err, os.ErrDeadlineExceeded)
		if sent < 64<<10 || sent > 1<<20 {
			t.Errorf("the send buffer took %d bytes", sent)
		}
		l.link.Restore()
		l.conn.Close()
		if got, err := io.Copy(io.Discard, l.peer); got != int64(sent) || err != nil {
			t.Errorf("the peer received %d of %d bytes, %v", got, sent, err)
		}
	})
}

func TestConnDelay(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.SetDelay(50 * time.Millisecond)
		start := time.Now()
		mustWrite(t, l.conn, "ping")
		wantRead(t, l.peer, "ping")
		wantElapsed(t, "ping", start, 50*time.Millisecond)
		mustWrite(t, l.peer, "pong")
		wantRead(t, l.conn, "pong")
		wantElapsed(t, "pong", start, 100*time.Millisecond)
	})
}

func TestConnHalfClose(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		mustWrite(t, l.conn, "question")
		check(t, l.conn.(interface{ CloseWrite() error }).CloseWrite())
		all, err := io.ReadAll(l.peer)
		if string(all) != "question" || err != nil {
			t.Fatalf("read %q, %v", all, err)
		}
		time.Sleep(time.Second)
		mustWrite(t, l.peer, "answer")
		wantRead(t, l.conn, "answer")
	})
}

// TestConnIsForgotten: a link keeps nothing of connections that are closed.
func TestConnIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		link := netsim.NewLink(netsim.LinkConfig{Log: slog.New(slog.NewTextHandler(&log, nil))})
		p := newPair(t, 0)
		conn := netsim.Conn(p.near, link)
		link.Reset()
		conn.Close()
		p.far.Close()
		synctest.Wait()
		link.Reset()
		if got := strings.Count(log.String(), "streams=1") * strings.Count(log.String(), "streams=0"); got != 1 {
			t.Errorf("want one stream, then none:\n%s", log.String())
		}
		link.Close()
	})
}

func TestConnHalfOpen(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.Cut()
		mustWrite(t, l.conn, "bye")
		l.conn.Close()
		l.peer.SetReadDeadline(time.Now().Add(time.Hour))
		wantError(t, "read for an hour", one(l.peer), os.ErrDeadlineExceeded)
		l.peer.SetReadDeadline(time.Time{})
		l.link.Restore()
		wantRead(t, l.peer, "bye")
		if err := one(l.peer); err != io.EOF {
			t.Fatalf("read after the restore: %v, want EOF", err)
		}
	})
}

func TestConnPeerClosesDuringCut(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.Cut()
		mustWrite(t, l.peer, "bye")
		l.peer.Close()
		l.conn.SetReadDeadline(time.Now().Add(time.Hour))
		wantError(t, "read for an hour", one(l.conn), os.ErrDeadlineExceeded)
		l.conn.SetReadDeadline(time.Time{})
		l.link.Restore()
		wantRead(t, l.conn, "bye")
		if err := one(l.conn); err != io.EOF {
			t.Fatalf("read after the restore: %v, want EOF", err)
		}
	})
}

func TestConnReset(t *testing.T) {
	inLinkedBubble(t, func(t *testing.T, l *linked) {
		l.link.Reset()
		wantError(t, "read", one(l.conn), syscall.ECONNRESET)
		wantError(t, "peer's read", one(l.peer), syscall.ECONNRESET)
	})
}

// TestConnOverSockets does the same once over real ones: half-close, a cut, a
// reset that the peer's kernel reports, and no goroutine left.
func TestConnOverSockets(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := newLinked(loopback(t))
	defer l.close()
	if l.conn.LocalAddr().String() != l.peer.RemoteAddr().String() {
		t.Errorf("local address %v, the peer sees %v", l.conn.LocalAddr(), l.peer.RemoteAddr())
	}
	l.link.Cut()
	mustWrite(t, l.conn, "stalled")
	l.conn.SetReadDeadline(time.Unix(1, 0))
	wantError(t, "read", one(l.conn), os.ErrDeadlineExceeded)
	l.link.Restore()
	wantRead(t, l.peer, "stalled")
	l.link.Reset()
	wantError(t, "peer's read", one(l.peer), syscall.ECONNRESET)
}

// TestDialerWaits: a Dialer behaves as Streams.Dial does.
func TestDialerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		link := netsim.NewLink(netsim.LinkConfig{})
		defer link.Close()
		link.SetDelay(10 * time.Millisecond)
		dial := link.Dialer(func(context.Context, string, string) (net.Conn, error) { return p.near, nil })
		link.Cut()
		go func() {
			time.Sleep(2 * time.Second)
			link.Restore()
		}()
		start := time.Now()
		c, err := dial(t.Context(), "tcp", "far:80")
		check(t, err)
		wantElapsed(t, "dialed", start, 3*time.Second+20*time.Millisecond)
		c.Close()
		p.far.Close()

		refused := errors.New("refused")
		dial = link.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, refused })
		_, err = dial(t.Context(), "tcp", "far:80")
		wantError(t, "dial", err, refused)
	})
}
