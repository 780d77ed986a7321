package kmsmock

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const (
	wsPath      = "/kurento"
	serverName  = "WebSocket++/0.8.2"
	maxMessage  = 32_000_000 // bytes; one more closes the connection
	closeWithin = time.Second
)

// A conn is one websocket connection of a client. Its requests are handled one
// after the other, in order.
type conn struct {
	srv     *Server
	serial  int64
	ws      *websocket.Conn
	wire    *wire
	outbox  *outbox
	session string // guarded by the server's lock
}

// ServeHTTP upgrades to a websocket and serves it until it ends. Only the
// path /kurento is served; any other is upgraded too and then closed.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isControl(r) {
		s.control(w, r)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		refusePlain(w)
		return
	}
	h := &hijacker{ResponseWriter: w}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(h, r, http.Header{"Server": {serverName}})
	if err != nil {
		return
	}
	if r.URL.Path != wsPath {
		closeWith(ws, websocket.CloseProtocolError, "Invalid path")
		_ = ws.Close()
		return
	}
	c := &conn{srv: s, ws: ws, wire: h.wire}
	ackDelay := s.ackDelay()
	if h.wire.tune(ackDelay) {
		c.outbox = newOutbox(c.writeBatch, 0)
	} else {
		c.outbox = newOutbox(c.writeSpaced, ackDelay)
	}
	if s.register(c) {
		c.run()
	}
}

// refusePlain answers a request that is no upgrade: 426, nothing but the
// Server header, no body.
func refusePlain(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	raw, _, err := h.Hijack()
	if err != nil {
		return
	}
	_, _ = raw.Write([]byte("HTTP/1.1 426 Upgrade Required\r\nServer: " + serverName + "\r\n\r\n"))
	_ = raw.Close()
}

func (s *Server) register(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.crashed {
		_ = c.wire.Close()
		return false
	}
	s.connSerial++
	c.serial = s.connSerial
	s.open[c] = true
	s.conns.Add(1)
	s.log.Info("kms.conn.opened", "conn", c.serial)
	return true
}

func (c *conn) run() {
	defer c.end()
	var writer sync.WaitGroup
	writer.Go(c.outbox.run)
	defer writer.Wait()
	defer c.outbox.close()
	defer c.confess()
	c.ws.SetReadLimit(maxMessage)
	c.ws.SetCloseHandler(func(code int, text string) error {
		if code == websocket.CloseNoStatusReceived {
			code = websocket.CloseNormalClosure
		}
		closeWith(c.ws, code, text)
		return nil
	})
	for c.next() {
	}
}

// confess logs a panic and ends the connection with it, which net/http would
// do without a word: a mistake of the mock shall not look like a client's.
func (c *conn) confess() {
	if p := recover(); p != nil {
		c.srv.log.Error("kms.panicked", "conn", c.serial, "error", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

func (c *conn) end() {
	s := c.srv
	_ = c.ws.Close()
	s.mu.Lock()
	s.unbind(c)
	delete(s.open, c)
	s.mu.Unlock()
	s.log.Info("kms.conn.closed", "conn", c.serial)
	s.conns.Done()
}

// next serves one message; false ends the connection.
func (c *conn) next() bool {
	kind, frame, err := c.read()
	if err != nil {
		return false
	}
	c.outbox.acked()
	switch {
	case c.wire.deaf.Load():
		return c.ignoreRest()
	case kind == websocket.TextMessage && !utf8.Valid(frame):
		closeWith(c.ws, websocket.CloseInvalidFramePayloadData, "Invalid UTF8 encoding")
		return false
	}
	rep := c.srv.serve(c, frame)
	if rep.drop {
		c.cut()
		return false
	}
	c.answer(rep)
	for _, sc := range rep.scenes {
		c.play(sc)
	}
	if c.wire.deaf.Load() {
		return c.ignoreRest()
	}
	return true
}

// answer sends what became of a request.
func (c *conn) answer(rep reply) {
	if rep.silent {
		return
	}
	put := func() { c.outbox.respond(rep.frame, rep.delay) }
	if rep.fate.rule == nil {
		put()
		return
	}
	c.srv.mu.Lock() // of what a rule holds back
	defer c.srv.mu.Unlock()
	c.meet(rep.fate, put, func() { c.outbox.behindNext(rep.frame) })
}

// ignoreRest takes what comes on a half-open connection until its end.
func (c *conn) ignoreRest() bool {
	_, _ = io.Copy(io.Discard, c.wire)
	return false
}

// hangUp closes the connection with a close frame.
func (c *conn) hangUp(how *Closing) {
	closeWith(c.ws, how.Code, how.Reason)
	c.cut()
}

func (c *conn) read() (int, []byte, error) {
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return 0, nil, err
	}
	frame, err := io.ReadAll(r)
	return kind, frame, err
}

// send queues an event of o for due.
func (c *conn) send(o *mediaObject, frame []byte, due time.Time) { c.outbox.add(frame, due, o.serial) }

// cut ends the TCP connection without a close frame.
func (c *conn) cut() { _ = c.wire.Close() }

// writeBatch writes frames that fall due together in one go, as websocketpp does.
// What ends it early may be a close frame that is held back with them.
func (c *conn) writeBatch(frames [][]byte) error {
	c.wire.begin()
	var err error
	for _, frame := range frames {
		if err = c.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
			break
		}
	}
	return errors.Join(err, c.wire.flush())
}

// frameSpacing keeps frames apart on a connection without a kernel. A client in
// virtual time then sees them one by one and does the same in every run.
const frameSpacing = 20 * time.Microsecond

// writeSpaced writes frames that fall due together one after the other.
func (c *conn) writeSpaced(frames [][]byte) error {
	for i, frame := range frames {
		if i > 0 {
			time.Sleep(frameSpacing)
		}
		if err := c.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
			return err
		}
	}
	return nil
}

func closeWith(ws *websocket.Conn, code int, text string) {
	var body []byte
	if code != websocket.CloseNoStatusReceived {
		body = websocket.FormatCloseMessage(code, text)
	}
	_ = ws.WriteControl(websocket.CloseMessage, body, time.Now().Add(closeWithin))
}
