package kmsmock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// memListener is a listener whose connections never leave the process, so that
// it works inside a synctest bubble.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8888} }

func (l *memListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	}
}

type testEvent struct {
	at     time.Time
	object string
	typ    string
	data   map[string]any
}

func (e testEvent) String() string {
	out := e.typ
	for _, key := range []string{"mediaType", "componentId", "state", "newState", "sdpMid"} {
		if v, ok := e.data[key]; ok {
			out += fmt.Sprintf(" %v", v)
		}
	}
	return out
}

// testClient is a small JSON-RPC client of its own, so that no other package
// of the module can agree with the mock on a mistake.
type testClient struct {
	t      testing.TB
	ws     *websocket.Conn
	wg     sync.WaitGroup
	writes sync.Mutex

	mu      sync.Mutex
	id      int
	pending map[int]chan map[string]any
	events  []testEvent
	onEvent func(testEvent)
}

func dialTest(t testing.TB, l *memListener) *testClient {
	t.Helper()
	return dialURL(t, "ws://mock/kurento", l.dial)
}

func dialURL(t testing.TB, url string, dial func(context.Context, string, string) (net.Conn, error)) *testClient {
	t.Helper()
	d := websocket.Dialer{NetDialContext: dial}
	ws, _, err := d.Dial(url, http.Header{})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	c := &testClient{t: t, ws: ws, pending: map[int]chan map[string]any{}}
	c.wg.Go(c.read)
	return c
}

func (c *testClient) close() {
	_ = c.ws.Close()
	c.wg.Wait()
}

func (c *testClient) read() {
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			c.t.Errorf("server sent %q: %v", b, err)
			return
		}
		c.route(m)
	}
}

func (c *testClient) route(m map[string]any) {
	if m["method"] != "onEvent" {
		c.mu.Lock()
		ch := c.pending[int(m["id"].(float64))]
		c.mu.Unlock()
		ch <- m
		return
	}
	v := m["params"].(map[string]any)["value"].(map[string]any)
	e := testEvent{at: time.Now(), object: v["object"].(string), typ: v["type"].(string), data: v["data"].(map[string]any)}
	c.mu.Lock()
	c.events = append(c.events, e)
	handler := c.onEvent
	c.mu.Unlock()
	if handler != nil {
		handler(e)
	}
}

func (c *testClient) seen() []testEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]testEvent(nil), c.events...)
}

// request sends a request and returns the whole response.
func (c *testClient) request(method string, params map[string]any) map[string]any {
	c.mu.Lock()
	c.id++
	id := c.id
	ch := make(chan map[string]any, 1)
	c.pending[id] = ch
	c.mu.Unlock()
	msg := map[string]any{"jsonrpc": "2.0", "id": id, "method": method}
	if params != nil {
		msg["params"] = params
	}
	c.writes.Lock()
	err := c.ws.WriteJSON(msg)
	c.writes.Unlock()
	if err != nil {
		c.t.Errorf("%s: %v", method, err)
		return nil
	}
	return <-ch
}

// value sends a request that must succeed and returns result.value.
func (c *testClient) value(method string, params map[string]any) any {
	c.t.Helper()
	resp := c.request(method, params)
	if resp["error"] != nil {
		c.t.Fatalf("%s %v: %v", method, params, resp["error"])
	}
	result, _ := resp["result"].(map[string]any)
	return result["value"]
}

func (c *testClient) create(typ string, args map[string]any) string {
	c.t.Helper()
	params := map[string]any{"type": typ}
	if args != nil {
		params["constructorParams"] = args
	}
	return c.value("create", params).(string)
}

func (c *testClient) invoke(object, operation string, args map[string]any) any {
	c.t.Helper()
	params := map[string]any{"object": object, "operation": operation}
	if args != nil {
		params["operationParams"] = args
	}
	return c.value("invoke", params)
}

func (c *testClient) subscribe(object string, types ...string) {
	c.t.Helper()
	for _, typ := range types {
		c.value("subscribe", map[string]any{"object": object, "type": typ})
	}
}

// fails sends a request that must fail and returns code and message.
func (c *testClient) fails(method string, params map[string]any) (int, string) {
	c.t.Helper()
	resp := c.request(method, params)
	e, ok := resp["error"].(map[string]any)
	if !ok {
		c.t.Fatalf("%s %v succeeded: %v", method, params, resp)
	}
	return int(e["code"].(float64)), e["message"].(string)
}

// startMock serves a mock on an in-memory listener until the test ends.
func startMock(t testing.TB, cfg Config) (*Server, *memListener) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := newMemListener()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, l
}
