package server

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The heads are those of the examples in RFC 6455, section 5.7, and at the edges of
// its three lengths.
func TestAppendHead(t *testing.T) {
	for size, want := range map[int][]byte{
		5: {0x81, 5}, 125: {0x81, 125}, 126: {0x81, 126, 0, 126}, 256: {0x81, 126, 1, 0}, 65535: {0x81, 126, 0xff, 0xff},
		65536: {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0},
	} {
		if got := appendHead(nil, 1, size); !bytes.Equal(got, want) {
			t.Errorf("head of %d bytes of text: % x, want % x", size, got, want)
		}
	}
	if got := appendHead(nil, 9, 0); !bytes.Equal(got, []byte{0x89, 0}) {
		t.Errorf("head of a ping: % x", got)
	}
}

// A batch gives out every frame once and in order, few at a time and never much more
// than fits a write.
func TestBatchTake(t *testing.T) {
	var b batch
	for i := range 200 {
		text := fmt.Sprint(i)
		if i == 100 {
			text = strings.Repeat("x", batchBytes)
		}
		b.frames = append(b.frames, outFrame{text: []byte(text)})
	}
	var sizes []int
	n := 0
	for {
		next, size := b.take()
		if len(next) == 0 {
			break
		}
		for _, f := range next {
			if want := fmt.Sprint(n); n != 100 && string(f.text) != want {
				t.Fatalf("frame %d is %s", n, f.text)
			}
			size -= len(f.text)
			n++
		}
		if size != 0 {
			t.Errorf("%d bytes too many were counted", size)
		}
		sizes = append(sizes, len(next))
	}
	if got := fmt.Sprint(sizes); n != 200 || got != "[64 37 64 35]" {
		t.Errorf("%d frames in batches of %s", n, got)
	}
}

// What waits while the writer is busy leaves in one write.
func TestFramesLeaveTogether(t *testing.T) {
	w := &slowWriter{entered: make(chan struct{}), free: make(chan struct{})}
	c, client := pipedConn(t, w)
	c.send([]byte("first"))
	<-w.entered
	for i := range 10 {
		c.send([]byte(fmt.Sprint("frame ", i)))
	}
	close(w.free)
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	for i := range 11 {
		_, text, err := client.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("frame ", i-1); i > 0 && string(text) != want {
			t.Errorf("frame %d is %q", i, text)
		}
	}
	if n := w.writes.Load(); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
}

// slowWriter is a connection whose first write waits to be let go.
type slowWriter struct {
	net.Conn
	entered, free chan struct{}
	writes        atomic.Int64
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte("HTTP/1.1")) && w.writes.Add(1) == 1 {
		close(w.entered)
		<-w.free
	}
	return w.Conn.Write(b)
}

// slowListener has one connection, which is the slow writer's.
type slowListener struct {
	net.Listener
	w *slowWriter
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.w.Conn = c
	return l.w, nil
}

// pipedConn is a connection that writes through w, and its client.
func pipedConn(t *testing.T, w *slowWriter) (*conn, *websocket.Conn) {
	t.Helper()
	s, _ := stillServer(t)
	made := make(chan *conn, 1)
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ws, err := s.upgrader.Upgrade(rw, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		made <- newConn(s, ws, netip.Addr{})
	}))
	ts.Listener = slowListener{ts.Listener, w}
	ts.Start()
	t.Cleanup(ts.Close)
	client, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(ts.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	c := <-made
	t.Cleanup(func() {
		_ = client.Close()
		_ = c.ws.Close()
	})
	return c, client
}
