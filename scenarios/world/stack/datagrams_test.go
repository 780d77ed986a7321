package stack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/callbench/callbench/internal/netsim"
)

// echoDatagrams answers what it is sent, until the test ends.
func echoDatagrams(t *testing.T) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

func dialUDP(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answered sends a word and waits so long for it to come back.
func answered(t *testing.T, c net.Conn, word string, limit time.Duration) error {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(word)); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err == nil && string(b[:n]) != word {
		t.Errorf("%q came back for %q", b[:n], word)
	}
	return err
}

func TestLineOfDatagrams(t *testing.T) {
	line, address := openLine(t, "coturn", "udp:127.0.0.1:0", echoDatagrams(t))
	c := dialUDP(t, address)
	obeyed := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	obeyed(answered(t, c, "before", 5*time.Second))
	obeyed(line.Cut())
	if err := answered(t, c, "lost", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("on a line that is cut: %v", err)
	}
	obeyed(line.Restore())
	obeyed(answered(t, c, "after", 5*time.Second)) // and nothing of what was lost
	obeyed(line.SetLoss(100))
	if err := answered(t, c, "lost too", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("on a line that loses everything: %v", err)
	}
	obeyed(line.mend())
	obeyed(line.SetDelay(150 * time.Millisecond))
	begin := time.Now()
	if err := answered(t, c, "late", 5*time.Second); err != nil || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("a round trip with 150 ms each way: %v after %v", err, time.Since(begin))
	}
	if err := line.Reset(); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("a reset: %v", err)
	}
}

// Some of what is sent is lost, and not all.
func TestLineOfDatagramsLoses(t *testing.T) {
	line, address := openLine(t, "coturn", "udp:127.0.0.1:0", echoDatagrams(t))
	if err := line.SetLoss(50); err != nil {
		t.Fatal(err)
	}
	c := dialUDP(t, address)
	const sent = 200
	for range sent {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for b := make([]byte, 9); ; got++ {
		if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			break
		}
	}
	if got == 0 || got > sent*3/4 {
		t.Errorf("%d of %d came back over a line that loses half each way", got, sent)
	}
}

// Answers go to who asked.
func TestLineOfDatagramsKeepsClientsApart(t *testing.T) {
	_, address := openLine(t, "coturn", "udp:127.0.0.1:0", echoDatagrams(t))
	clients := []net.Conn{dialUDP(t, address), dialUDP(t, address)}
	for round := range 20 {
		for n, c := range clients {
			if err := answered(t, c, fmt.Sprintf("%d of client %d", round, n), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Flows are so many at most, end when they are idle, and all at the end.
func TestFlowsEnd(t *testing.T) {
	to := echoDatagrams(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	link := netsim.NewLink(netsim.LinkConfig{})
	defer link.Close()
	d, err := listenDatagrams("127.0.0.1:0", to, link)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	d.mu.Lock()
	d.limit, d.idle = 1, 500*time.Millisecond
	d.mu.Unlock()
	first, second := dialUDP(t, d.Addr().String()), dialUDP(t, d.Addr().String())
	if err := answered(t, first, "first", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := answered(t, second, "second", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one flow more than there may be: %v", err)
	}
	for range 100 { // until the first has been silent for long
		if err = answered(t, second, "third", 100*time.Millisecond); err == nil {
			return
		}
	}
	t.Errorf("an idle flow keeps its place: %v", err)
}
