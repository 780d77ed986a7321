package server_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
)

// narrow is a Unix listener whose connections hold little that their clients have not
// read.
type narrow struct{ net.Listener }

// Accept implements net.Listener.
func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if u, ok := c.(*net.UnixConn); ok {
		err = u.SetWriteBuffer(4096)
	}
	return c, err
}

// TestDirectThenQueued has a client read nothing until its socket has been full for
// long: it then gets every frame whole and in order, also those of which the socket
// took a part, and others did not wait for it.
func TestDirectThenQueued(t *testing.T) {
	const messages = 900
	ln, err := net.Listen("unix", t.TempDir()+"/ws") // TCP takes a frame whole or not at all
	if err != nil {
		t.Fatal(err)
	}
	l := newLoopOn(t, narrow{ln}, server.Config{MaxQueue: 2 * messages, MaxQueueBytes: 64 << 20,
		Limits: server.Limits{MessagesPerMinute: 1_000_000, FramesPerSecond: 1_000_000}})
	alice, bob := l.enter(t, "alice", token(t, "alice")), l.enter(t, "bob", token(t, "bob"))
	defer alice.Close()
	defer bob.Close()
	content := func(n int) string { return strings.Repeat(fmt.Sprintf("%05d", n), 1+(n+50)*37%3000) }
	for n := range messages {
		frame := fmt.Appendf(nil, `{"type":"message","id":"m%d","data":{"to":"bob","content":"%s"}}`, n, content(n))
		if err := alice.WriteMessage(websocket.TextMessage, frame); err != nil {
			t.Fatal(err)
		}
		if _, text, err := alice.ReadMessage(); err != nil || !bytes.HasPrefix(text, []byte(`{"type":"ack"`)) {
			t.Fatalf("message %d: %s, %v", n, text, err)
		}
	}
	for n := range messages {
		_, text, err := bob.ReadMessage()
		if err != nil {
			t.Fatalf("after %d messages: %v", n, err)
		}
		if !bytes.Contains(text, []byte(`"`+content(n)+`"`)) || !bytes.Contains(text, fmt.Appendf(nil, `"seq":%d,`, n+1)) {
			t.Fatalf("message %d is %.100s", n, text)
		}
	}
}
