package netsim_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/internal/netsim"
)

// dialing is a network with a listener at far:80.
type dialing struct {
	*netsim.Streams
	near, far *netsim.Link
}

func TestStreamsDial(t *testing.T) {
	for name, test := range map[string]func(*testing.T, dialing){
		"takes a round trip":           testDialRoundTrip,
		"refused":                      testDialRefused,
		"unknown host":                 testDialUnknown,
		"cut until the context ends":   testDialCut,
		"goes on when a SYN is resent": testDialRestored,
		"cut under way":                testDialCutUnderWay,
		"address in use":               testListenTwice,
		"backlog":                      testDialBacklog,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dialing{
					Streams: netsim.NewStreams(10 * time.Millisecond),
					near:    netsim.NewLink(netsim.LinkConfig{Host: "near"}),
					far:     netsim.NewLink(netsim.LinkConfig{Host: "far"}),
				}
				d.AddHost("near", netip.MustParseAddr("10.0.0.1"), d.near)
				d.AddHost("far", netip.MustParseAddr("10.0.0.2"), d.far)
				l, err := d.Listen("10.0.0.2:80")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				test(t, d)
			})
		})
	}
}

func testDialRoundTrip(t *testing.T, d dialing) {
	start := time.Now()
	c := mustDial(t, d.Streams, d.near)
	wantElapsed(t, "dialed", start, 20*time.Millisecond)
	if got := fmt.Sprint(c.LocalAddr(), " ", c.RemoteAddr()); got != "10.0.0.1:49152 10.0.0.2:80" {
		t.Errorf("addresses %s", got)
	}
	c.Close()
}

func testDialRefused(t *testing.T, d dialing) {
	_, err := d.Dial(t.Context(), d.near, "far:81")
	wantError(t, "dial", err, syscall.ECONNREFUSED)
}

func testDialUnknown(t *testing.T, d dialing) {
	_, err := d.Dial(t.Context(), d.near, "nowhere:80")
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound {
		t.Fatalf("error %v, want no such host", err)
	}
}

func testDialCut(t *testing.T, d dialing) {
	d.far.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	start := time.Now()
	_, err := d.Dial(ctx, d.near, "far:80")
	wantError(t, "dial", err, context.DeadlineExceeded)
	wantElapsed(t, "time-out", start, 5*time.Second)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%v does not say Timeout", err)
	}
}

func testDialRestored(t *testing.T, d dialing) {
	d.near.Cut()
	go func() {
		time.Sleep(4 * time.Second)
		d.near.Restore()
	}()
	start := time.Now()
	mustDial(t, d.Streams, d.near).Close() // SYNs at 0, 1, 3 and 7 s
	wantElapsed(t, "dialed", start, 7*time.Second+20*time.Millisecond)
}

// testDialCutUnderWay: a SYN that meets a cut is lost, and the next gets
// through.
func testDialCutUnderWay(t *testing.T, d dialing) {
	l, err := d.Listen("far:81")
	check(t, err)
	defer l.Close()
	go func() {
		time.Sleep(5 * time.Millisecond)
		d.far.Cut()
		time.Sleep(500 * time.Millisecond)
		d.far.Restore()
	}()
	accepted := make(chan time.Time, 1)
	go func() {
		l.Accept()
		accepted <- time.Now()
	}()
	start := time.Now()
	c, err := d.Dial(t.Context(), d.near, "far:81")
	check(t, err)
	c.Close()
	wantElapsed(t, "dialed", start, time.Second+20*time.Millisecond)
	if at := (<-accepted).Sub(start); at != time.Second+10*time.Millisecond {
		t.Errorf("accepted after %v, want 1.01s", at)
	}
}

// testDialBacklog: a listener that does not accept keeps others waiting.
func testDialBacklog(t *testing.T, d dialing) {
	l, err := d.Listen("far:0")
	check(t, err)
	defer l.Close()
	var conns []net.Conn
	dial := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := d.Dial(ctx, d.near, l.Addr().String())
		if err == nil {
			conns = append(conns, c)
		}
		return err
	}
	for range 1024 {
		check(t, dial())
	}
	wantError(t, "one too many", dial(), context.DeadlineExceeded)
	go func() {
		time.Sleep(500 * time.Millisecond)
		if _, err := l.Accept(); err != nil {
			t.Error(err)
		}
	}()
	start := time.Now()
	check(t, dial())
	wantElapsed(t, "dialed with the second SYN", start, time.Second+20*time.Millisecond)
	for _, c := range conns {
		c.Close()
	}
}

func testListenTwice(t *testing.T, d dialing) {
	_, err := d.Listen("far:80")
	wantError(t, "listen", err, syscall.EADDRINUSE)
}

// mustDial connects to far:80.
func mustDial(t *testing.T, s *netsim.Streams, from *netsim.Link) net.Conn {
	t.Helper()
	c, err := s.Dial(t.Context(), from, "far:80")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := netsim.NewLink(netsim.LinkConfig{})
		s := netsim.NewStreams(0)
		s.AddHost("near", netip.MustParseAddr("10.0.0.1"), link)
		s.AddHost("far", netip.MustParseAddr("10.0.0.2"), nil)
		l, err := s.Listen("far:80")
		if err != nil {
			t.Fatal(err)
		}
		c := mustDial(t, s, link)
		l.Close()
		wantError(t, "accept", func() error { _, err := l.Accept(); return err }(), net.ErrClosed)
		wantError(t, "a connection nobody accepted", one(c), syscall.ECONNRESET)
		c.Close()
		_, err = s.Dial(t.Context(), link, "far:80")
		wantError(t, "dial", err, syscall.ECONNREFUSED)
		if l, err = s.Listen("far:80"); err != nil {
			t.Fatalf("listen again: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			l.Close()
		}()
		wantError(t, "accept under way", func() error { _, err := l.Accept(); return err }(), net.ErrClosed)
	})
}
