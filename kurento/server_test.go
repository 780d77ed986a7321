package kurento_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kurento"
)

// wire is the network between a client and a fake KMS, in memory.
type wire struct {
	t      *testing.T
	accept chan net.Conn
	server http.Server
	served sync.WaitGroup

	mu       sync.Mutex
	dialed   []*pipeEnd // the client's ends
	refusing bool
}

// newWire serves each WebSocket connection with the next of scripts, and with
// the last one from then on. It is torn down with the test.
func newWire(t *testing.T, scripts ...func(*peer)) *wire {
	w := &wire{t: t, accept: make(chan net.Conn)}
	var n int
	w.server.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		script := scripts[min(n, len(scripts)-1)]
		n++
		w.mu.Unlock()
		w.served.Add(1)
		defer w.served.Done()
		ws, err := (&websocket.Upgrader{WriteBufferSize: 64 << 10}).Upgrade(rw, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer ws.Close()
		script(&peer{t: t, ws: ws, path: r.URL.Path})
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.server.Serve(w)
	}()
	t.Cleanup(func() {
		_ = w.server.Close()
		w.cut()
		<-done
		w.served.Wait()
	})
	return w
}

func (w *wire) Accept() (net.Conn, error) {
	conn, ok := <-w.accept
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (w *wire) Close() error   { close(w.accept); return nil }
func (w *wire) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// dial is the Config.Dial of clients.
func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusing {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	end := &pipeEnd{Conn: client}
	w.dialed = append(w.dialed, end)
	w.accept <- server
	return end, nil
}

// refuse makes dial fail from now on, or not.
func (w *wire) refuse(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusing = on
}

// cut closes all connections without a close frame.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.dialed {
		_ = end.Conn.Close()
	}
}

// freeze makes the latest connection half-open: what the client writes
// vanishes, and nothing arrives.
func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialed[len(w.dialed)-1].freeze()
}

// pipeEnd is the client's end of a connection that can freeze.
type pipeEnd struct {
	net.Conn
	mu     sync.Mutex
	frozen bool
	thaw   chan struct{} // closed by Close
}

func (p *pipeEnd) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen, p.thaw = true, make(chan struct{})
	_ = p.Conn.SetReadDeadline(time.Now()) // wakes a blocked read
}

func (p *pipeEnd) isFrozen() (bool, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen, p.thaw
}

func (p *pipeEnd) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if frozen, thaw := p.isFrozen(); frozen {
		<-thaw
		return 0, net.ErrClosed
	}
	return n, err
}

func (p *pipeEnd) Write(b []byte) (int, error) {
	if frozen, _ := p.isFrozen(); frozen {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *pipeEnd) Close() error {
	p.mu.Lock()
	if p.frozen {
		select {
		case <-p.thaw:
		default:
			close(p.thaw)
		}
	}
	p.mu.Unlock()
	return p.Conn.Close()
}

// peer is the server's side of one connection, as its script sees it.
type peer struct {
	t    *testing.T
	ws   *websocket.Conn
	path string
	mu   sync.Mutex // of writes
}

// rpcRequest is a request as the server sees it.
type rpcRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// param returns a member of the parameters, "" if it is not a string.
func (r rpcRequest) param(name string) string {
	var params map[string]any
	_ = json.Unmarshal(r.Params, &params)
	s, _ := params[name].(string)
	return s
}

// next returns the next request, ok false when the connection has ended.
func (p *peer) next() (r rpcRequest, ok bool) {
	_, data, err := p.ws.ReadMessage()
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(data, &r); err != nil {
		p.t.Errorf("client sent %q: %v", data, err)
	}
	return r, true
}

// serve answers connect in the session with the given ids and everything else
// through answer, until the connection ends.
func (p *peer) serve(session, server string, answer func(rpcRequest)) {
	for {
		r, ok := p.next()
		switch {
		case !ok:
			return
		case r.Method != "connect":
			answer(r)
		case r.param("sessionId") == "" || r.param("sessionId") == session:
			p.result(r, fmt.Sprintf(`{"serverId":%q,"sessionId":%q}`, server, session))
		default:
			p.fail(r, 40007, "INVALID_SESSION", "Invalid session")
		}
	}
}

// write sends a frame as it is.
func (p *peer) write(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...))
}

func (p *peer) result(r rpcRequest, result string) {
	p.write(`{"id":%s,"jsonrpc":"2.0","result":%s}`, r.ID, result)
}

func (p *peer) value(r rpcRequest, value string) {
	p.result(r, fmt.Sprintf(`{"sessionId":"s","value":%s}`, value))
}

func (p *peer) fail(r rpcRequest, code int, name, message string) {
	p.write(`{"error":{"code":%d,"data":{"type":%q},"message":%q},"id":%s,"jsonrpc":"2.0"}`, code, name, message, r.ID)
}

// event sends an event without a body of its own, whose time tells it apart.
func (p *peer) event(object, kind string, n int) {
	p.write(`{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"data":{"source":%q,"tags":[],"timestampMillis":"%d","type":%q},"object":%q,"type":%q}}}`,
		object, n, kind, object, kind)
}

// answerAll is an answer for serve that gives every request the value "x", those
// of a transaction too.
func (p *peer) answerAll(r rpcRequest) {
	value := `"x"`
	if all := r.operations(); len(all) > 0 {
		value = strings.TrimSuffix("["+strings.Repeat(`{"result":{"value":"x"}},`, len(all)), ",") + "]"
	}
	p.value(r, value)
}

// operations are the requests of a transaction.
func (r rpcRequest) operations() []rpcRequest {
	var params struct{ Operations []rpcRequest }
	_ = json.Unmarshal(r.Params, &params)
	return params.Operations
}

// plain is a script: a KMS that answers everything.
func plain(p *peer) { p.serve("s", "k", p.answerAll) }

// dialWire connects a client, closed with the test.
func dialWire(t *testing.T, w *wire, change func(*kurento.Config)) *kurento.Client {
	t.Helper()
	cfg := kurento.Config{URL: "ws://kms:8888/kurento", Dial: w.dial}
	if change != nil {
		change(&cfg)
	}
	c, err := kurento.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// line is one line of a transcript.
type line struct {
	Dir  string          `json:"dir"`
	Conn string          `json:"conn"`
	Msg  json.RawMessage `json:"msg"`
}

// message is a frame of a transcript.
type message struct {
	ID      json.RawMessage `json:"id"`
	JSONRPC string          `json:"jsonrpc"`
	Method  *string         `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
}

// readTranscript returns the lines of each connection.
func readTranscript(t testing.TB, path string) map[string][]line {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(map[string][]line)
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var l line
		switch err := decoder.Decode(&l); {
		case errors.Is(err, io.EOF):
			return conns
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		if l.Dir != "note" && len(l.Msg) > 0 {
			conns[l.Conn] = append(conns[l.Conn], l)
		}
	}
}
