package netsim_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/netsim"
)

// serve runs a web server on host "server" until the returned function is
// called, which waits for it.
func serve(t *testing.T, top *netsim.Topology, handler http.HandlerFunc) (stop func()) {
	t.Helper()
	l, err := mustHost(t, top, "server").Listen(":80")
	check(t, err)
	srv := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	return func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended with %v", err)
		}
		time.Sleep(time.Second) // net/http lingers for 500 ms on connections that it closes
	}
}

// inWeb runs f in a bubble with a client host and a server.
func inWeb(t *testing.T, handler http.HandlerFunc, f func(t *testing.T, client *netsim.Host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		top := newTopology(t, netsim.TopologyConfig{Delay: 20 * time.Millisecond})
		defer top.Close()
		defer serve(t, top, handler)()
		f(t, mustHost(t, top, "alice"))
	})
}

func TestHTTP(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the server read %d bytes: %v", len(body), err)
		}
		w.Write(body)
	}
	inWeb(t, echo, func(t *testing.T, client *netsim.Host) {
		transport := &http.Transport{DialContext: client.Dial}
		defer transport.CloseIdleConnections()
		c := &http.Client{Transport: transport}
		body := strings.Repeat("callbench ", 100_000)
		for range 3 {
			resp, err := c.Post("http://server/", "text/plain", strings.NewReader(body))
			check(t, err)
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(got) != body {
				t.Fatalf("%d bytes came back, %v; want %d", len(got), err, len(body))
			}
		}
	})
}

// upgrade serves a WebSocket that sends every message back, and gives up after
// 90 s of silence.
func upgrade(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	for {
		ws.SetReadDeadline(time.Now().Add(90 * time.Second))
		kind, msg, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if ws.WriteMessage(kind, msg) != nil {
			return
		}
	}
}

// dialWS opens a WebSocket to the server.
func dialWS(t *testing.T, client *netsim.Host) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{NetDialContext: client.Dial}
	ws, resp, err := d.DialContext(t.Context(), "ws://server/ws", nil)
	check(t, err)
	resp.Body.Close()
	return ws
}

// TestWebSocketStallsAndGoesOn: a cut shorter than the time-out costs delay
// only.
func TestWebSocketStallsAndGoesOn(t *testing.T) {
	inWeb(t, upgrade, func(t *testing.T, client *netsim.Host) {
		start := time.Now()
		ws := dialWS(t, client)
		defer ws.Close()
		wantElapsed(t, "the WebSocket", start, 80*time.Millisecond) // two round trips
		client.Link.Cut()
		check(t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
		go func() {
			time.Sleep(10 * time.Second)
			client.Link.Restore()
		}()
		_, msg, err := ws.ReadMessage()
		if err != nil || string(msg) != "hello" {
			t.Fatalf("read %q, %v", msg, err)
		}
		if took := time.Since(start); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("the answer took %v with a cut of 10 s", took)
		}
	})
}

// TestWebSocketHalfOpen: the server drops a client that is cut off after 90 s,
// and the client hears of it only when it is back.
func TestWebSocketHalfOpen(t *testing.T) {
	inWeb(t, upgrade, func(t *testing.T, client *netsim.Host) {
		ws := dialWS(t, client)
		defer ws.Close()
		client.Link.Cut()
		start := time.Now()
		ws.SetReadDeadline(start.Add(5 * time.Minute))
		_, _, err := ws.ReadMessage()
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("read during the cut: %v, want a time-out", err)
		}
		wantElapsed(t, "time-out", start, 5*time.Minute)
	})
}

// TestWebSocketReset breaks the connection under both.
func TestWebSocketReset(t *testing.T) {
	inWeb(t, upgrade, func(t *testing.T, client *netsim.Host) {
		ws := dialWS(t, client)
		defer ws.Close()
		client.Link.Reset()
		if _, _, err := ws.ReadMessage(); err == nil {
			t.Fatal("read after a reset")
		}
		again := dialWS(t, client)
		defer again.Close()
		check(t, again.WriteMessage(websocket.TextMessage, []byte("back")))
		if _, msg, err := again.ReadMessage(); string(msg) != "back" {
			t.Fatalf("read %q, %v", msg, err)
		}
	})
}
