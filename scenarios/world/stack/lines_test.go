package stack

import (
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// echo answers what it is sent, until the test ends.
func echo(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// openLine is a line, for streams or, behind udp:, for datagrams, to an address, and
// where it listens.
func openLine(t *testing.T, name, listen, to string) (*Line, string) {
	t.Helper()
	lines, err := OpenLines([]string{name + "=" + listen + "=" + to})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lines.Close(); err != nil {
			t.Error(err)
		}
	})
	control := httptest.NewServer(lines)
	t.Cleanup(control.Close)
	return &Line{name: name, url: control.URL}, lines.Address(name)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// said sends a word and waits so long for it to come back.
func said(t *testing.T, c net.Conn, limit time.Duration) error {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

func TestLine(t *testing.T) {
	line, address := openLine(t, "redis", "127.0.0.1:0", echo(t))
	c := dial(t, address)
	if err := said(t, c, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := line.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := said(t, c, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("on a line that is cut: %v", err)
	}
	if err := line.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Errorf("what stalled does not arrive: %v", err)
	}
	if err := line.SetDelay(150 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := said(t, c, 5*time.Second); err != nil || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("a round trip with 150 ms each way: %v after %v", err, time.Since(begin))
	}
	if err := line.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := said(t, c, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a line that was reset: %v", err)
	}
	if err := line.mend(); err != nil {
		t.Fatal(err)
	}
	if err := said(t, dial(t, address), 5*time.Second); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
}

// Whoever comes while the other end is away is sent away.
func TestLineToNowhere(t *testing.T) {
	_, address := openLine(t, "redis", "127.0.0.1:0", "127.0.0.1:1")
	c, err := net.Dial("tcp", address)
	if err == nil { // it may be reset before the dial has returned
		defer c.Close()
		err = said(t, c, 5*time.Second)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a line to nowhere: %v", err)
	}
}

func TestLinesRefuse(t *testing.T) {
	line, _ := openLine(t, "redis", "127.0.0.1:0", echo(t))
	if err := line.tell(order{Do: "burn"}); err == nil || !strings.Contains(err.Error(), "not burn") {
		t.Errorf("an order that is none: %v", err)
	}
	other := &Line{name: "coturn", url: line.url}
	if err := other.Cut(); err == nil || !strings.Contains(err.Error(), "there is no line to coturn") {
		t.Errorf("a line that is none: %v", err)
	}
	if err := line.SetLoss(5); err == nil || !strings.Contains(err.Error(), "streams lose nothing") {
		t.Errorf("loss on a line of streams: %v", err)
	}
	for _, bad := range []string{"redis", "redis=127.0.0.1:0", "redis=nowhere:x=127.0.0.1:1", "coturn=udp:nowhere:x=127.0.0.1:1", "coturn=udp:127.0.0.1:0=127.0.0.1"} {
		if l, err := OpenLines([]string{bad}); err == nil {
			l.Close()
			t.Errorf("%q was opened", bad)
		}
	}
}
