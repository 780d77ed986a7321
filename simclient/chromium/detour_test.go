package chromium

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

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
	d, err := newDetour(link, "127.0.0.1", false)
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
	d, err := newDetour(nil, "127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	const name = "candidate:1 1 udp 2113937151 5c7d843f-b719-45c1-9a9a-1990dc2bb1f0.local 49808 typ host"
	const relayed = "candidate:7 1 UDP 505414655 127.0.0.1 35466 typ relay raddr 127.0.0.1 rport 30165"
	for line, want := range map[string]string{name: name, relayed: relayed, "": "", "candidate:x": "candidate:x",
		"candidate:3 1 tcp 1518280447 10.99.0.2 9 typ host tcptype active": "", "candidate:1 1 udp 5 fd00::1 4 typ host x": "candidate:1 1 udp 5 fd00::1 4 typ host x",
		"candidate:1 1 udp 5 192.0.2.2 4 typ host x": ""} {
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
// Its handshake is the server's own, and without an origin.
func TestDetourOfTheWebSocket(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) { ledWebSocket(t, secure) })
	}
}

func ledWebSocket(t *testing.T, secure bool) {
	came := make(chan *websocket.Conn, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(websocket.Upgrader).Upgrade(w, r, nil) // refuses origins of other hosts
		if err != nil || r.Header.Get("Origin") != "" {
			t.Error(err, r.Header)
			return
		}
		came <- ws
	})
	web, trust := httptest.NewServer(handler), (*tls.Config)(nil)
	if secure {
		web.Close()
		web = httptest.NewTLSServer(handler)
		trust = web.Client().Transport.(*http.Transport).TLSClientConfig
	}
	defer web.Close()
	link := netsim.NewLink(netsim.LinkConfig{Host: "alice"})
	defer link.Close()
	d, err := newDetour(link, "127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	address, err := d.signaling("ws"+strings.TrimPrefix(web.URL, "http")+"/ws", trust)
	if err != nil || !strings.HasPrefix(address, "ws://127.0.0.1:") || !strings.HasSuffix(address, "/ws") {
		t.Fatal(address, err)
	}
	browser, _, err := websocket.DefaultDialer.Dial(address, http.Header{"Origin": {"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer browser.Close()
	server := <-came
	defer server.Close()
	got := make(chan string, 2)
	ended := make(chan error, 2)
	listen := func(ws *websocket.Conn) {
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				ended <- err
				return
			}
			got <- string(b)
		}
	}
	go listen(server)
	go listen(browser)
	send := func(text string) {
		if err := browser.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("hello")
	if m := <-got; m != "hello" {
		t.Errorf("the server got %q", m)
	}
	link.Cut()
	send("later")
	select {
	case m := <-got:
		t.Errorf("%q came through a cut", m)
	case <-time.After(100 * time.Millisecond):
	}
	link.Restore()
	if m := <-got; m != "later" {
		t.Errorf("the server got %q", m)
	}
	d.drop()
	for range 2 {
		<-ended
	}
}

func TestDetourRefusesOtherAddresses(t *testing.T) {
	d, err := newDetour(nil, "127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for _, address := range []string{"http://host/ws", "::"} {
		if led, err := d.signaling(address, nil); err == nil {
			t.Errorf("%q becomes %q", address, led)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	for address, want := range map[string]string{"ws://127.0.0.1:80/ws": "127.0.0.1", "ws://localhost/ws": "127.0.0.1", "::": "127.0.0.1"} {
		if got := ownAddress(address); got != want {
			t.Errorf("to %s: %s, want %s", address, got, want)
		}
	}
}
