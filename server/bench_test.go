package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// loop is a server on a real loopback socket.
type loop struct {
	srv  *server.Server
	addr net.Addr
	done chan struct{}
	stop context.CancelFunc
}

func newLoop(b testing.TB) *loop {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return newLoopOn(b, ln, server.Config{Limits: server.Limits{MessagesPerMinute: 1_000_000_000, FramesPerSecond: 1_000_000, CallsPerMinute: 1_000_000}})
}

// newLoopOn is newLoop with a listener and a configuration of the test's.
func newLoopOn(b testing.TB, ln net.Listener, cfg server.Config) *loop {
	b.Helper()
	cfg.Auth, cfg.Media, cfg.State, cfg.History = server.JWT(secret), newFakeMedia(&journal{}), &store.Memory{}, store.NewMemoryHistory()
	cfg.Inbox = &store.MemoryInbox{}
	srv, err := server.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{srv: srv, addr: ln.Addr(), done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(l.done)
		if err := srv.Run(ctx, ln); err != nil {
			b.Error(err)
		}
	}()
	b.Cleanup(func() { cancel(); <-l.done })
	return l
}

// enter connects a user with small buffers, so that the client's own memory
// does not hide the server's.
func (l *loop) enter(b testing.TB, user, token string) *websocket.Conn {
	b.Helper()
	dial := func(string, string) (net.Conn, error) { return net.Dial(l.addr.Network(), l.addr.String()) }
	d := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 512, NetDial: dial}
	ws, _, err := d.Dial("ws://server/ws", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		b.Fatal(err)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"hello","id":"1","data":{"version":1}}`)); err != nil {
		b.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err != nil {
		b.Fatal(err)
	}
	return ws
}

// BenchmarkMessageRelay is one IM message from alice to bob over loopback TCP,
// one at a time, stored until bob has said that it has it: the clients' own cost
// and four system calls are in it.
func BenchmarkMessageRelay(b *testing.B) {
	l := newLoop(b)
	alice, bob := l.enter(b, "alice", token(b, "alice")), l.enter(b, "bob", token(b, "bob"))
	defer alice.Close()
	defer bob.Close()
	frame := []byte(fmt.Sprintf(`{"type":"message","data":{"to":"bob","content":"%0200d"}}`, 7))
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		if err := alice.WriteMessage(websocket.TextMessage, frame); err != nil {
			b.Fatal(err)
		}
		if _, _, err := bob.ReadMessage(); err != nil {
			b.Fatal(err)
		}
		if n%32 == 0 { // as every client must
			if err := bob.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"ack","data":{"seq":%d}}`, n)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkIdleConnection reports what a connection that has said hello keeps:
// heap and stacks, the client's side of some 4 KB included.
func BenchmarkIdleConnection(b *testing.B) {
	const conns = 2000
	for b.Loop() {
		l := newLoop(b)
		tok := token(b, "alice")
		before := inUse()
		var clients []*websocket.Conn
		for range conns {
			clients = append(clients, l.enter(b, "alice", tok))
		}
		time.Sleep(100 * time.Millisecond) // connections settle; nothing is asserted
		after := inUse()
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/conns, "heap-B/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/conns, "stack-B/conn")
		for _, c := range clients {
			c.Close()
		}
	}
}

func inUse() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// BenchmarkCall is a whole call on a media server that answers at once.
func BenchmarkCall(b *testing.B) {
	l := newLoop(b)
	alice, bob := l.enter(b, "alice", token(b, "alice")), l.enter(b, "bob", token(b, "bob"))
	defer alice.Close()
	defer bob.Close()
	offer, err := signaling.New(signaling.TypeRTC, signaling.ActionOffer, signaling.RTC{SDP: sdpOffer})
	if err != nil {
		b.Fatal(err)
	}
	raw, err := signaling.Encode(offer)
	if err != nil {
		b.Fatal(err)
	}
	say := func(c *websocket.Conn, text string, until int) {
		if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			b.Fatal(err)
		}
		hear(b, c, until)
	}
	b.ReportAllocs()
	for b.Loop() {
		say(alice, `{"type":"rtc","action":"call","data":{"targetUser":"bob"}}`, 0)
		hear(b, bob, 1) // invite
		say(bob, `{"type":"rtc","action":"answer"}`, 0)
		hear(b, alice, 1)          // accepted
		say(alice, string(raw), 3) // answer, a candidate, no more candidates
		say(bob, string(raw), 3)   //
		say(alice, `{"type":"rtc","action":"leave"}`, 0)
		hear(b, bob, 1) // ended
		say(bob, `{"type":"rtc","action":"leave","id":"`+fmt.Sprint(b.N, time.Now().UnixNano())+`"}`, 1)
	}
}

// hear reads so many frames, not counting what the conversation keeps of calls.
func hear(b *testing.B, c *websocket.Conn, frames int) {
	for frames > 0 {
		_, text, err := c.ReadMessage()
		if err != nil {
			b.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte(`{"type":"message"`)) {
			frames--
		}
	}
}
