package chromium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/internal/netsim"
)

func udp(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func hostCandidate(c net.Addr) string {
	a := c.(*net.UDPAddr)
	return fmt.Sprintf("candidate:1 1 udp 2113937151 %s %d typ host generation 0", a.IP, a.Port)
}

// addressOf reads the address of a candidate.
func addressOf(t *testing.T, line string) *net.UDPAddr {
	t.Helper()
	f := strings.Fields(line)
	a, err := net.ResolveUDPAddr("udp4", f[4]+":"+f[5])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func receive(t *testing.T, c net.PacketConn) (string, net.Addr) {
	t.Helper()
	b := make([]byte, 100)
	n, from, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

// Datagrams between the browser and the media server pass the link both ways, and
// each side takes a proxy for the other one.
func TestDetourOfDatagrams(t *testing.T) {
	link := netsim.NewLink(netsim.LinkConfig{Host: "alice"})
	defer link.Close()
	d, err := newDetour(link, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	browser, server := udp(t), udp(t)
	led, err := d.candidate(hostCandidate(server.LocalAddr()), false, false)
	if err != nil {
		t.Fatal(err)
	}
	own, err := d.candidate(hostCandidate(browser.LocalAddr()), true, false)
	if err != nil {
		t.Fatal(err)
	}
	toServer, toBrowser := addressOf(t, led), addressOf(t, own)
	if _, err := browser.WriteTo([]byte("up"), toServer); err != nil {
		t.Fatal(err)
	}
	got, from := receive(t, server)
	if got != "up" || from.String() != toBrowser.String() {
		t.Errorf("the server got %q from %v, and was told %v", got, from, toBrowser)
	}
	if _, err := server.WriteTo([]byte("down"), toBrowser); err != nil {
		t.Fatal(err)
	}
	got, from = receive(t, browser)
	if got != "down" || from.String() != toServer.String() {
		t.Errorf("the browser got %q from %v, and was told %v", got, from, toServer)
	}
	link.CutUDP(true)
	for _, c := range []struct {
		from net.PacketConn
		to   net.Addr
	}{{browser, toServer}, {server, toBrowser}} {
		if _, err := c.from.WriteTo([]byte("lost"), c.to); err != nil {
			t.Fatal(err)
		}
	}
	server.SetDeadline(time.Now().Add(100 * time.Millisecond))
	var timeout net.Error
	if _, _, err := server.ReadFrom(make([]byte, 9)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a datagram came through a cut: %v", err)
	}
}

// What cannot be led is left as it is or left out.
func TestDetourOfCandidates(t *testing.T) {
	d, err := newDetour(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	const name = "candidate:1 1 udp 2113937151 5c7d843f-b719-45c1-9a9a-1990dc2bb1f0.local 49808 typ host"
	const relayed = "candidate:7 1 UDP 505414655 127.0.0.1 35466 typ relay raddr 127.0.0.1 rport 30165"
	for line, want := range map[string]string{name: name, relayed: relayed, "": "", "candidate:x": "candidate:x",
		"candidate:3 1 tcp 1518280447 10.99.0.2 9 typ host tcptype active": "", "candidate:1 1 udp 5 fd00::1 4 typ host x": "candidate:1 1 udp 5 fd00::1 4 typ host x"} {
		if got, err := d.candidate(line, true, false); err != nil || got != want {
			t.Errorf("%q becomes %q, %v", line, got, err)
		}
	}
	host := "candidate:1 1 udp 5 127.0.0.1 4000 typ host"
	if got, err := d.candidate(host, false, true); err != nil || got != host {
		t.Errorf("behind a relay %q becomes %q, %v", host, got, err)
	}
	for address, want := range map[string]string{"stun:192.0.2.1": "", "turns:192.0.2.1": "turns:192.0.2.1", "turn:127.0.0.1:5?transport=tcp": "turn:127.0.0.1:5?transport=tcp"} {
		if got, err := d.server(address); err != nil || got != want {
			t.Errorf("%q becomes %q, %v", address, got, err)
		}
	}
	if got, err := d.server("turn:127.0.0.1:5?transport=udp"); err != nil || !strings.HasPrefix(got, "turn:127.0.0.1:") || strings.Contains(got, ":5?") {
		t.Errorf("a TURN server becomes %q, %v", got, err)
	}
}

// The WebSocket's connection stalls with the link, and ends with it on both sides.
func TestDetourOfTheWebSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	link := netsim.NewLink(netsim.LinkConfig{Host: "alice"})
	defer link.Close()
	d, err := newDetour(link, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	address, err := d.signaling("ws://" + ln.Addr().String() + "/ws")
	if err != nil || !strings.HasSuffix(address, "/ws") {
		t.Fatal(address, err)
	}
	browser, err := new(net.Dialer).DialContext(context.Background(), "tcp", strings.TrimSuffix(strings.TrimPrefix(address, "ws://"), "/ws"))
	if err != nil {
		t.Fatal(err)
	}
	defer browser.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	fmt.Fprint(browser, "hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(server, b); err != nil || string(b) != "hello" {
		t.Fatal(string(b), err)
	}
	link.Cut()
	fmt.Fprint(browser, "later")
	server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := server.Read(b); n > 0 || err == nil {
		t.Errorf("%q came through a cut", b[:n])
	}
	server.SetReadDeadline(time.Time{})
	link.Restore()
	if _, err := io.ReadFull(server, b); err != nil || string(b) != "later" {
		t.Fatal(string(b), err)
	}
	d.drop()
	for _, end := range []net.Conn{browser, server} {
		end.SetReadDeadline(time.Now().Add(10 * time.Second))
		var timeout net.Error
		if _, err := end.Read(b); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("a dropped connection lives: %v", err)
		}
	}
	if address, err := d.signaling("wss://staging/ws"); err != nil || address != "wss://staging/ws" {
		t.Errorf("one with TLS becomes %q, %v", address, err)
	}
}
