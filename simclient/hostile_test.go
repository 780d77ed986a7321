package simclient

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// TestEndlessPushes: a server that does not stop pushing costs receipts and time,
// not memory, and the client can still be used.
func TestEndlessPushes(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		const n = 4000
		for i := range n / 100 { // as much as a stream takes at once
			r.srv.locked(func() {
				s := r.srv.sessions["alice"]
				for k := range 100 {
					s.push(signaling.TypeMessage, "", signaling.Message{MessageID: fmt.Sprint(i, "-", k), From: "bob", To: "alice"})
					s.rtc(signaling.ActionRinging, signaling.RTC{CallID: "c-7"})
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		s := alice.State()
		if s.Counters.Violations != n || s.Counters.Receipts != 2*n/receiptEvery || s.CallState != "accepted" {
			t.Errorf("state %+v", s)
		}
		r.must(alice.Hangup(r.ctx))
	})
}

// TestWrongAcks: answers to nothing, answers twice, and answers that say nothing
// or something else.
func TestWrongAcks(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if f.ID == "" {
				return false
			}
			s.write(frame(signaling.TypeAck, "", f.ID+"0", nil))
			s.write(frame(signaling.TypeAck, "", f.ID, []int{1}))
			s.write(frame(signaling.TypeAck, "", f.ID, "twice"))
			s.write(frame(signaling.TypeError, "", f.ID, nil))
			return true
		})
		alice := r.connected("alice")
		if err := alice.Call(r.ctx, "bob"); code(err) != signaling.CodeBadData {
			t.Errorf("call: %v", err)
		}
		if err := alice.RefreshToken(r.ctx); code(err) != signaling.CodeBadData {
			t.Errorf("refresh: %v", err)
		}
		r.must(alice.Message(r.ctx, "bob", "hello"))
		r.must(alice.AskPresence(r.ctx, "bob")) // whatever the answer is
		r.must(alice.SetPresence(r.ctx, "online"))
		time.Sleep(time.Second)
		if n := len(alice.find(eventViolation, "what=unknown_request")); n != 5 {
			t.Errorf("%d answers to nothing, want 5:\n%s", n, alice.dump())
		}
		alice.one(t, eventViolation, "what=bad_frame", "type=ack")
		if s := alice.State(); s.Link != "up" {
			t.Errorf("state %+v", s)
		}
	})
}

// silentConn is a network on which nothing comes and everything goes.
type silentConn struct {
	net.Conn // nil: what is not below is not called
	closed   chan struct{}
}

func (c *silentConn) Read([]byte) (int, error)         { <-c.closed; return 0, io.EOF }
func (c *silentConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c *silentConn) Close() error                     { defer func() { _ = recover() }(); close(c.closed); return nil }
func (c *silentConn) SetDeadline(time.Time) error      { return nil }
func (c *silentConn) SetReadDeadline(time.Time) error  { return nil }
func (c *silentConn) SetWriteDeadline(time.Time) error { return nil }

// hijacked lets a WebSocket be made of a silentConn.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// deafSocket is a socket to nobody.
func deafSocket(t testing.TB) *socket {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/ws", nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng=="} {
		req.Header.Set(k, v)
	}
	ws, err := new(websocket.Upgrader).Upgrade(hijacked{httptest.NewRecorder(), &silentConn{closed: make(chan struct{})}}, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &socket{ws: ws}
}

// on runs f on the client's queue and waits for it.
func on(c *Client, f func()) {
	done := make(chan struct{})
	c.q.Do(func() { f(); close(done) })
	<-done
}

// FuzzReceive: whatever a server sends, at whatever level and in whatever state
// of a call, the client survives, keeps to its limits and can be closed. Each
// line is a frame.
func FuzzReceive(f *testing.F) {
	files, err := filepath.Glob("../signaling/testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden frames: ", err)
	}
	var all [][]byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, bytes.TrimSpace(b))
	}
	for mode := range byte(8) {
		for _, b := range all {
			f.Add(mode, b)
		}
		f.Add(mode, bytes.Join(all, []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, mode byte, frames []byte) {
		level := int(mode & 1)
		c, err := New(Config{User: "alice", URL: "ws://server", Level: &level, Token: nil,
			IPFilter: func(net.IP) bool { return false }})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sock := deafSocket(t)
		defer sock.ws.Close()
		on(c, func() {
			c.link.sock, c.link.state = sock, linkUp
			c.beginSession(session{id: "s-1"})
		})
		switch mode >> 1 & 3 {
		case 1:
			on(c, func() { c.startCall("bob", func(error) {}) })
		case 2:
			on(c, func() {
				c.receive(sock, []byte(`{"type":"rtc_invite","seq":1,"data":{"roomId":"r-1","callId":"c-1","from":"bob"}}`))
			})
		case 3:
			on(c, func() { c.link.state = linkGreeting })
		}
		for line := range bytes.Lines(frames) {
			on(c, func() { c.receive(sock, line) })
		}
		on(c, func() { c.accept(func(error) {}); c.quit(signaling.ActionCancel, func(error) {}) })
		if s := c.State(); s.Counters.Received > uint64(bytes.Count(frames, []byte("\n"))+2) {
			t.Errorf("state %+v", s)
		}
		on(c, func() {
			if len(c.over) > rememberedCalls || len(c.presence) > rememberedUsers || len(c.messages.old) > rememberedMessages {
				t.Errorf("%d calls, %d users and %d messages are remembered", len(c.over), len(c.presence), len(c.messages.old))
			}
		})
	})
}
