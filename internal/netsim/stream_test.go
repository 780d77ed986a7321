package netsim_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/callbench/callbench/internal/netsim"
)

// pair is a stream between two hosts.
type pair struct {
	near, far         net.Conn
	nearLink, farLink *netsim.Link
}

// newPair connects host near to host far, which are the given one-way delay
// apart.
func newPair(tb testing.TB, delay time.Duration) *pair {
	tb.Helper()
	p := &pair{
		nearLink: netsim.NewLink(netsim.LinkConfig{Host: "near"}),
		farLink:  netsim.NewLink(netsim.LinkConfig{Host: "far"}),
	}
	s := netsim.NewStreams(delay)
	s.AddHost("near", netip.MustParseAddr("10.0.0.1"), p.nearLink)
	s.AddHost("far", netip.MustParseAddr("10.0.0.2"), p.farLink)
	l, err := s.Listen("far:80")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if p.near, err = s.Dial(tb.Context(), p.nearLink, "far:80"); err != nil {
		tb.Fatal(err)
	}
	if p.far, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return p
}

// inBubble runs f in a bubble with a fresh pair, and closes it afterwards.
func inBubble(t *testing.T, delay time.Duration, f func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, delay)
		defer p.near.Close()
		defer p.far.Close()
		f(t, p)
	})
}

// mustWrite writes all of s.
func mustWrite(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := io.WriteString(c, s); err != nil || n != len(s) {
		t.Fatalf("Write(%q) = %d, %v", s, n, err)
	}
}

// wantRead reads as many bytes as s has.
func wantRead(t *testing.T, c net.Conn, s string) {
	t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q, %v; want %q", b[:n], err, s)
	}
}

// wantError checks what kind of error an operation ends with.
func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// wantElapsed checks the virtual time since start.
func wantElapsed(t *testing.T, what string, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Fatalf("%s after %v, want %v", what, got, want)
	}
}

// one reads a single byte.
func one(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

// TestStreamConformance runs the suite that package net's own connections are
// held to. It uses real time, so it is outside of a bubble.
func TestStreamConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
		p := newPair(t, 0)
		return p.near, p.far, func() { p.near.Close(); p.far.Close() }, nil
	})
}

func TestStreamDelayKeepsOrder(t *testing.T) {
	inBubble(t, 20*time.Millisecond, func(t *testing.T, p *pair) {
		start := time.Now()
		mustWrite(t, p.near, "one")
		time.Sleep(5 * time.Millisecond)
		mustWrite(t, p.near, "two")
		wantRead(t, p.far, "one")
		wantElapsed(t, "first bytes", start, 20*time.Millisecond)
		wantRead(t, p.far, "two")
		wantElapsed(t, "second bytes", start, 25*time.Millisecond)
	})
}

func TestStreamLinkDelay(t *testing.T) {
	inBubble(t, 10*time.Millisecond, func(t *testing.T, p *pair) {
		p.nearLink.SetDelay(100 * time.Millisecond)
		p.farLink.SetDelay(30 * time.Millisecond)
		start := time.Now()
		mustWrite(t, p.near, "slow")
		p.nearLink.SetDelay(0)
		mustWrite(t, p.near, "fast") // must not overtake
		wantRead(t, p.far, "slow")
		wantElapsed(t, "first bytes", start, 140*time.Millisecond)
		wantRead(t, p.far, "fast")
		wantElapsed(t, "second bytes", start, 140*time.Millisecond)
		mustWrite(t, p.far, "back")
		wantRead(t, p.near, "back")
		wantElapsed(t, "answer", start, 180*time.Millisecond)
	})
}

func TestStreamEOFAfterPendingData(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		mustWrite(t, p.near, "last words")
		p.near.Close()
		wantRead(t, p.far, "last words")
		if err := one(p.far); err != io.EOF {
			t.Fatalf("read after the peer's close: %v, want io.EOF itself", err)
		}
		wantError(t, "second close", p.near.Close(), net.ErrClosed)
		wantError(t, "read after close", one(p.near), net.ErrClosed)
	})
}

// TestStreamWriteToClosedPeer: the first write goes out and is answered with
// RST; a host that saw the FIN then gets EPIPE.
func TestStreamWriteToClosedPeer(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		p.far.Close()
		time.Sleep(time.Second)
		mustWrite(t, p.near, "is anybody there")
		mustWrite(t, p.near, "the answer is still on its way")
		time.Sleep(2 * time.Millisecond)
		_, err := p.near.Write([]byte("x"))
		wantError(t, "write after RST", err, syscall.EPIPE)
	})
}

// TestStreamCloseWithUnreadData: the writer learns that nobody will read.
func TestStreamCloseWithUnreadData(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		go func() {
			time.Sleep(time.Second)
			p.far.Close()
		}()
		start := time.Now()
		_, err := p.near.Write(make([]byte, 16<<20))
		wantError(t, "write", err, syscall.EPIPE)
		wantElapsed(t, "the RST", start, time.Second+time.Millisecond)
	})
}

func TestStreamHalfClose(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		mustWrite(t, p.near, "question")
		if err := p.near.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(p.far)
		if string(all) != "question" || err != nil {
			t.Fatalf("read %q, %v", all, err)
		}
		_, err = p.near.Write([]byte("x"))
		wantError(t, "write after CloseWrite", err, syscall.EPIPE)
		mustWrite(t, p.far, "answer")
		wantRead(t, p.near, "answer")
	})
}

func TestStreamLinger0Resets(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		mustWrite(t, p.near, "never arrives")
		if err := p.near.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		p.near.Close()
		wantError(t, "read", one(p.far), syscall.ECONNRESET)
		_, err := p.far.Write([]byte("x"))
		wantError(t, "write", err, syscall.ECONNRESET)
	})
}

func TestStreamDeadlines(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		start := time.Now()
		p.near.SetReadDeadline(start.Add(90 * time.Second))
		wantError(t, "read", one(p.near), os.ErrDeadlineExceeded)
		wantElapsed(t, "time-out", start, 90*time.Second)

		mustWrite(t, p.far, "ab")
		wantError(t, "read past the deadline with data waiting", one(p.near), os.ErrDeadlineExceeded)
		p.near.SetReadDeadline(time.Time{})
		wantRead(t, p.near, "ab")
		p.near.SetReadDeadline(time.Unix(1, 0)) // how net/http interrupts a read
		wantError(t, "read with a deadline long ago", one(p.near), os.ErrDeadlineExceeded)

		var timeout net.Error
		if err := one(p.near); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("%v is no net.Error that says Timeout", err)
		}
	})
}

// TestStreamDeadlineMovesDuringRead sets later, then earlier deadlines while a
// read waits.
func TestStreamDeadlineMovesDuringRead(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		start := time.Now()
		p.near.SetReadDeadline(start.Add(time.Second))
		go func() {
			time.Sleep(500 * time.Millisecond)
			p.near.SetReadDeadline(start.Add(time.Minute))
			time.Sleep(9500 * time.Millisecond)
			p.near.SetReadDeadline(start.Add(20 * time.Second))
		}()
		wantError(t, "read", one(p.near), os.ErrDeadlineExceeded)
		wantElapsed(t, "time-out", start, 20*time.Second)
	})
}

func TestStreamWriteBufferIsBounded(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		const huge = 16 << 20
		p.near.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := p.near.Write(make([]byte, huge))
		wantError(t, "write to a peer that does not read", err, os.ErrDeadlineExceeded)
		if n == 0 || n >= huge {
			t.Fatalf("wrote %d of %d bytes; want some", n, huge)
		}
		p.near.SetWriteDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			io.Copy(io.Discard, p.far)
		}()
		start := time.Now()
		mustWrite(t, p.near, "x")
		wantElapsed(t, "room", start, time.Minute)
		p.near.Close()
	})
}

// TestStreamWritesDoNotMix: two writes larger than the buffer come out one
// after the other.
func TestStreamWritesDoNotMix(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		const size = 1 << 20
		var writers sync.WaitGroup
		for _, c := range []byte("ab") {
			writers.Go(func() { p.near.Write(bytes.Repeat([]byte{c}, size)) })
		}
		go func() { writers.Wait(); p.near.Close() }()
		all, err := io.ReadAll(p.far)
		if err != nil || len(all) != 2*size {
			t.Fatalf("read %d bytes, %v", len(all), err)
		}
		if changes := bytes.Count(all, []byte("ab")) + bytes.Count(all, []byte("ba")); changes != 1 {
			t.Fatalf("the writes alternate %d times, want once", changes)
		}
	})
}

// TestStreamCutStalls: during a cut writes succeed, nobody hears anything, and
// afterwards everything arrives in order with TCP's next retransmission.
func TestStreamCutStalls(t *testing.T) {
	for _, who := range []string{"near", "far"} {
		t.Run(who, func(t *testing.T) {
			inBubble(t, 20*time.Millisecond, func(t *testing.T, p *pair) {
				link := map[string]*netsim.Link{"near": p.nearLink, "far": p.farLink}[who]
				link.Cut()
				time.Sleep(time.Second)
				mustWrite(t, p.near, "one ")
				mustWrite(t, p.near, "two ")
				p.far.SetReadDeadline(time.Now().Add(9 * time.Second))
				wantError(t, "read during the cut", one(p.far), os.ErrDeadlineExceeded)
				p.far.SetReadDeadline(time.Time{})

				restored := time.Now()
				link.Restore()
				mustWrite(t, p.near, "three")
				wantRead(t, p.far, "one two three")
				// Time-outs of 240, 480, ... 7680 ms: the 6th retransmission
				// is 15.12 s after the first byte, 6.12 s after Restore.
				wantElapsed(t, "bytes after the cut", restored, 6120*time.Millisecond+20*time.Millisecond)
			})
		})
	}
}

// TestStreamCutCatchesBytesUnderWay: what has arrived stays readable, what was
// in flight is lost and sent again.
func TestStreamCutCatchesBytesUnderWay(t *testing.T) {
	inBubble(t, 20*time.Millisecond, func(t *testing.T, p *pair) {
		mustWrite(t, p.near, "arrived ")
		time.Sleep(20 * time.Millisecond)
		mustWrite(t, p.near, "in flight")
		time.Sleep(10 * time.Millisecond)
		p.nearLink.Cut()
		start := time.Now()
		wantRead(t, p.far, "arrived ")
		go func() {
			time.Sleep(100 * time.Millisecond)
			p.nearLink.Restore()
		}()
		wantRead(t, p.far, "in flight")
		// Sent 10 ms before the cut, again 240 ms later, and 20 ms under way.
		wantElapsed(t, "the retransmission", start, 250*time.Millisecond)
	})
}

// TestStreamHalfOpen: a host that goes away during a cut leaves its peer with
// a connection that looks alive, until the network is back.
func TestStreamHalfOpen(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		p.nearLink.Cut()
		p.near.Close()
		p.far.SetReadDeadline(time.Now().Add(time.Hour))
		wantError(t, "read for an hour", one(p.far), os.ErrDeadlineExceeded)
		mustWrite(t, p.far, "still there?")
		p.far.SetReadDeadline(time.Time{})
		p.nearLink.Restore()
		if err := one(p.far); err != io.EOF {
			t.Fatalf("read after the restore: %v, want EOF", err)
		}
		time.Sleep(10 * time.Minute) // the retransmission, answered with RST
		_, err := p.far.Write([]byte("x"))
		wantError(t, "write", err, syscall.EPIPE)
	})
}

// TestStreamHalfOpenFillsBuffer: the peer of a closed, cut-off host must not
// notice by its writes either, until the network is back.
func TestStreamHalfOpenFillsBuffer(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		p.nearLink.Cut()
		p.near.Close()
		p.far.SetWriteDeadline(time.Now().Add(time.Minute))
		var err error
		for err == nil {
			_, err = p.far.Write(make([]byte, 1<<10))
		}
		wantError(t, "write", err, os.ErrDeadlineExceeded)
		p.far.SetWriteDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			p.nearLink.Restore()
		}()
		_, err = p.far.Write(make([]byte, 1<<20))
		wantError(t, "write after the restore", err, syscall.EPIPE)
	})
}

func TestStreamReset(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		start := time.Now()
		failed := make(chan error, 2)
		go func() { failed <- one(p.near) }()
		go func() { failed <- one(p.far) }()
		synctest.Wait()
		p.nearLink.Reset()
		wantError(t, "read", <-failed, syscall.ECONNRESET)
		wantElapsed(t, "near reset", start, 0)
		wantError(t, "read", <-failed, syscall.ECONNRESET)
		wantElapsed(t, "far reset", start, time.Millisecond)
		for _, c := range []net.Conn{p.near, p.far} {
			_, err := c.Write([]byte("x"))
			wantError(t, "write", err, syscall.ECONNRESET)
		}
	})
}

func TestStreamResetWakesWriter(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		go func() {
			time.Sleep(time.Second)
			p.nearLink.Reset()
		}()
		_, err := p.far.Write(make([]byte, 16<<20))
		wantError(t, "write", err, syscall.ECONNRESET)
	})
}

func TestStreamResetDuringCut(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, p *pair) {
		p.nearLink.Cut()
		p.nearLink.Reset()
		wantError(t, "near read", one(p.near), syscall.ECONNRESET)
		p.far.SetReadDeadline(time.Now().Add(time.Minute))
		wantError(t, "far read", one(p.far), os.ErrDeadlineExceeded)
		p.far.SetReadDeadline(time.Time{})
		mustWrite(t, p.far, "still there?")
		p.nearLink.Restore()
		wantError(t, "far read after restore", one(p.far), syscall.ECONNRESET)
	})
}

// TestStreamHoldLosesWhatResetBreaks: what is in flight in a direction that is
// held never arrives after a reset; the other direction goes on until then.
func TestStreamHoldLosesWhatResetBreaks(t *testing.T) {
	for name, c := range map[string]struct{ out, in bool }{"up": {out: true}, "down": {in: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 20*time.Millisecond, func(t *testing.T, p *pair) {
				mustWrite(t, p.near, "before")
				wantRead(t, p.far, "before")
				mustWrite(t, p.near, "in flight")
				mustWrite(t, p.far, "in flight")
				p.nearLink.Hold(c.out, c.in)
				mustWrite(t, p.near, " and later")
				mustWrite(t, p.far, " and later")
				time.Sleep(time.Minute)
				for _, side := range []struct {
					conn net.Conn
					held bool
				}{{p.far, c.out}, {p.near, c.in}} {
					if !side.held {
						wantRead(t, side.conn, "in flight and later")
						continue
					}
					if err := side.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
						t.Fatal(err)
					}
					wantError(t, "read of what is held", one(side.conn), os.ErrDeadlineExceeded)
				}
				start := time.Now()
				p.nearLink.Reset()
				for _, conn := range []net.Conn{p.near, p.far} {
					if err := conn.SetReadDeadline(time.Time{}); err != nil {
						t.Fatal(err)
					}
					wantError(t, "read after the reset", one(conn), syscall.ECONNRESET)
				}
				wantElapsed(t, "news of the reset", start, 20*time.Millisecond)
			})
		})
	}
}

// TestStreamHoldEndsWithRestore: then what was held arrives, as after a cut.
func TestStreamHoldEndsWithRestore(t *testing.T) {
	inBubble(t, 20*time.Millisecond, func(t *testing.T, p *pair) {
		p.nearLink.Hold(false, true)
		mustWrite(t, p.far, "held")
		time.Sleep(100 * time.Millisecond)
		p.nearLink.Restore()
		wantRead(t, p.near, "held")
		p.nearLink.Hold(true, true)
		p.nearLink.Reset()
		mustDialAnew(t, p)
	})
}

// mustDialAnew shows that a reset has ended a hold: streams dialed after it are
// as good as any.
func mustDialAnew(t *testing.T, p *pair) {
	t.Helper()
	s := netsim.NewStreams(time.Millisecond)
	s.AddHost("near", netip.MustParseAddr("10.0.0.1"), p.nearLink)
	s.AddHost("far", netip.MustParseAddr("10.0.0.2"), p.farLink)
	l, err := s.Listen("far:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := s.Dial(t.Context(), p.nearLink, "far:80")
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	mustWrite(t, near, "up")
	wantRead(t, far, "up")
}

// TestLinkClose ends both sides of everything, cut or not.
func TestLinkClose(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, p *pair) {
		p.nearLink.Cut()
		go func() {
			time.Sleep(time.Second)
			p.nearLink.Close()
		}()
		wantError(t, "far read", one(p.far), syscall.ECONNRESET)
		wantError(t, "near read", one(p.near), syscall.ECONNRESET)
	})
}
