package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// conn is one WebSocket. Its reader is the one goroutine that it always has;
// its writer exists while there is something to write. So an idle connection
// costs a stack and some small structs.
type conn struct {
	srv    *Server
	ws     *websocket.Conn
	raw    syscall.RawConn // for writes that do not wait; nil if there are none
	out    serial.Queue
	from   netip.Addr // the client's address
	caller *caller    // that it is counted as
	pace   pace       // of the frames that are read

	opening sync.Mutex       // held while silence or the first frame decides the level
	opened  bool             // that was decided
	who     *Identity        // what the header's token proves, until the session begins
	refused *signaling.Error // why the header's token proves nothing; nil if there is none

	mu       sync.Mutex
	session  *session // nil until the level is decided; does not change then
	seen     time.Time
	proof    string // what the ping right behind the welcome says; empty if there is none
	heard    bool   // the client answered that ping, so its welcome must have arrived
	beat     *time.Timer
	batch    *batch // frames that the writer takes next; nil if none wait
	waiting  int    // frames to be written
	bytes    int    // bytes of them
	queued   int    // functions of the writer that have not ended
	shutting bool
	discard  bool      // what waits to be written is not written any more
	writeBy  time.Time // when shutting, everything is written by then or never
	cause    signaling.Code
}

func newConn(s *Server, ws *websocket.Conn, from netip.Addr) *conn {
	c := &conn{srv: s, ws: ws, raw: rawOf(ws), from: from, pace: newPace(s.cfg.Limits), out: serial.Queue{Pool: &s.pool}}
	ws.SetPingHandler(func(data string) error {
		c.alive()
		c.enqueue(websocket.PongMessage, []byte(data))
		return nil
	})
	ws.SetPongHandler(func(data string) error { c.pong(data); return nil })
	ws.SetCloseHandler(func(code int, _ string) error { c.shut(code, "", nil); return nil })
	return c
}

// open is the connection's beginning: the header's token is verified. It hands
// over to greet, and that to serve, on new goroutines: verifying a token grows
// the stack to 8 KB, which would be half of what an idle connection costs.
func (c *conn) open(bearer string) {
	c.srv.log.Info("conn.open", "remote", c.ws.RemoteAddr().String(), "client", c.from.String())
	if bearer != "" {
		c.who, c.refused = c.identify(bearer, "the header's token is not valid")
	}
	go c.greet()
}

// identify verifies a token that the client shows. One that is not good is
// answered late if the client's address has shown others.
func (c *conn) identify(token, message string) (*Identity, *signaling.Error) {
	who, err := c.srv.identify(token)
	if err == nil {
		return &who, nil
	}
	c.srv.log.Warn("token.refused", "client", c.from.String(), "error", err.Error())
	wire := refusal(err, message)
	if wire.Code == signaling.CodeUnauthorized {
		if d := c.srv.penalty(c.from); d > 0 {
			wait := time.NewTimer(d)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-c.out.Done(): // the server shuts down
			}
		}
	}
	return nil, wire
}

// penalty notes a bad token and is how long its answer has to wait.
func (s *Server) penalty(from netip.Addr) time.Duration {
	d := s.callers.fail(from, s.cfg.Limits)
	if d > 0 {
		s.metrics.limits.WithLabelValues(limitBadTokens).Inc()
	}
	return d
}

// serve reads frames until the connection ends.
func (c *conn) serve() {
	var err error
	for err == nil {
		var f signaling.Frame
		f, err = c.read()
		err = c.take(f, err)
	}
	c.finish(err)
}

// take does what was read. It returns nil if reading may go on.
func (c *conn) take(f signaling.Frame, err error) error {
	if ok, flood := c.pace.take(time.Now()); !ok && !isNetwork(err) {
		return c.slow(f.ID, flood)
	}
	if err != nil {
		return c.excuse(err)
	}
	c.alive()
	if !c.isShutting() {
		c.session.handle(f)
	}
	return nil
}

// slow refuses a frame of a client that sends too fast, and ends the connection
// of one that goes on all the same.
func (c *conn) slow(id string, flood bool) error {
	n := c.srv.cfg.Limits.FramesPerSecond
	wire := c.srv.exceeded(limitFramesPerSecond, "more than %d frames a second on one connection", n)
	if flood {
		c.fail(id, wire)
		return nil // reads on until the client has seen the close frame
	}
	c.alive()
	c.sendError(id, wire)
	return nil
}

// isNetwork reports whether an error ends the connection, so that there was no
// frame.
func isNetwork(err error) bool {
	var wire *signaling.Error
	return err != nil && !errors.As(err, &wire)
}

// read reads one frame. Its error is a *signaling.Error if the client can be
// told, and a network error otherwise.
func (c *conn) read() (signaling.Frame, error) {
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return signaling.Frame{}, err
	}
	buf := c.srv.buffer()
	defer c.srv.buffers.Put(buf)
	n, err := buf.readFrom(r, signaling.MaxFrame+1)
	switch {
	case err != nil:
		return signaling.Frame{}, err
	case n > signaling.MaxFrame:
		return signaling.Frame{}, signaling.Errorf(signaling.CodeTooLarge, "more than %d bytes", signaling.MaxFrame)
	case kind != websocket.TextMessage:
		return signaling.Frame{}, signaling.Errorf(signaling.CodeBadFrame, "not a text message")
	}
	return signaling.Decode(buf.Bytes())
}

// isTimeout reports whether a deadline passed. gorilla hides
// os.ErrDeadlineExceeded.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// excuse answers a frame that could not be read. It returns nil if reading may
// go on, and the error that ends the connection otherwise.
func (c *conn) excuse(err error) error {
	var wire *signaling.Error
	switch {
	case isTimeout(err) && !c.isShutting():
		c.fail("", signaling.Errorf(signaling.CodeSessionTimeout, "nothing was heard for %v", c.srv.cfg.Timeout))
		return err
	case !errors.As(err, &wire) || c.isShutting():
		return err
	case wire.Code.Info().Close != 0:
		c.fail("", wire)
		return nil // reads on until the client has seen the close frame
	default:
		c.alive()
		c.sendError("", wire)
		return nil
	}
}

// alive notes a sign of life. While the connection is shutting down its reader
// keeps the deadline that shut gave it.
func (c *conn) alive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extend()
}

// pong notes an answer to a ping. Nothing else shows that the welcome arrived:
// a client may send frames and pings right behind its hello.
func (c *conn) pong(data string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.heard && c.proof != "" && data == c.proof {
		c.heard = true
		c.session.put(time.Now()) // the old token is spent for other servers too
	}
	c.extend()
}

// extend lets the connection live for another timeout from now. c.mu is held.
func (c *conn) extend() {
	c.seen = time.Now()
	if c.session != nil && !c.shutting {
		_ = c.ws.SetReadDeadline(c.seen.Add(c.srv.cfg.Timeout))
	}
}

func (c *conn) isShutting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shutting
}

// begin is called once, when the session is known: from now on the connection
// pings, and silence is measured.
func (c *conn) begin(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	if !c.shutting {
		c.beat = time.AfterFunc(c.srv.cfg.Heartbeat, c.heartbeat)
	}
	c.extend()
}

// welcomed reports whether the client has shown that its welcome arrived.
func (c *conn) welcomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// heartbeat pings, and has the session write down when the client was last
// heard.
func (c *conn) heartbeat() {
	c.enqueue(websocket.PingMessage, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shutting {
		c.beat.Reset(c.srv.cfg.Heartbeat)
		c.session.beat(c.seen)
	}
}

// send queues a frame. A client that does not read what it is sent is
// disconnected: it can resume and gets the rest then.
func (c *conn) send(frame []byte) { c.enqueue(websocket.TextMessage, frame) }

// sendThen queues a frame and something to be done when it was written, which
// may be nil.
func (c *conn) sendThen(frame []byte, then func()) {
	c.enqueueThen(websocket.TextMessage, frame, then)
}

// sendError queues an error frame.
func (c *conn) sendError(id string, wire *signaling.Error) {
	c.srv.metrics.refuse(wire.Code)
	if b, err := encode(signaling.Frame{Type: signaling.TypeError, ID: id}, wire); err == nil {
		c.send(b)
	}
}

func (c *conn) enqueue(kind int, b []byte) {
	c.enqueueThen(kind, b, nil)
}

// queue has the writer do something. Until it is done, nobody else writes. c.mu is
// held.
func (c *conn) queue(write func()) {
	c.queued++
	c.out.Do(func() {
		write()
		c.mu.Lock()
		c.queued--
		c.mu.Unlock()
	})
}

// welcome queues a welcome and what the client missed. That is not counted as
// waiting: the session keeps it anyway, and all of it may be as much as may
// wait. The welcome to a resumed session has a ping behind it, with a proof that
// nobody can know who has not read so far.
func (c *conn) welcome(frame []byte, resumed bool, missed [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shutting {
		return
	}
	if resumed {
		c.proof = rand.Text()
	}
	proof := c.proof
	c.batch = nil // what comes from now on is behind the welcome
	c.queue(func() {
		c.put(outFrame{kind: websocket.TextMessage, text: frame})
		if proof != "" {
			c.put(outFrame{kind: websocket.PingMessage, text: []byte(proof)})
		}
		for _, b := range missed {
			c.put(outFrame{kind: websocket.TextMessage, text: b})
		}
	})
}

// caughtUp tells the session if nothing waits to be written any more.
func (c *conn) caughtUp() {
	c.mu.Lock()
	last, session := c.waiting == 0, c.session
	c.mu.Unlock()
	if last && session != nil {
		session.caughtUp()
	}
}

// wrote reports whether a write was done. If not, the connection ends.
func (c *conn) wrote(err error) bool {
	if err != nil {
		_ = c.ws.NetConn().Close() // the reader ends, and with it the connection
	}
	return err == nil
}

// limits are whether what waits is given up, and until when a write may take.
func (c *conn) limits() (discard bool, deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeBy.IsZero() {
		return c.discard, time.Now().Add(c.srv.cfg.WriteTimeout)
	}
	return c.discard, c.writeBy
}

// overflow disconnects a slow consumer: what waits is given up.
func (c *conn) overflow() {
	c.mu.Lock()
	c.discard = true
	c.mu.Unlock()
	wire := signaling.Errorf(signaling.CodeSlowConsumer, "more than %d frames or %d bytes wait to be read",
		c.srv.cfg.MaxQueue, c.srv.cfg.MaxQueueBytes)
	c.shut(wire.Code.Info().Close, wire.Code, nil)
}

// fail tells the client what is wrong and closes the connection with the code
// that the error table gives. Whatever is wrong with a hello, there was none.
func (c *conn) fail(id string, wire *signaling.Error) {
	c.srv.metrics.refuse(wire.Code)
	b, err := encode(signaling.Frame{Type: signaling.TypeError, ID: id}, wire)
	if err != nil {
		b = nil
	}
	code := wire.Code.Info().Close
	if code == 0 {
		code = signaling.CodeHelloRequired.Info().Close
	}
	c.shut(code, wire.Code, b)
}

// shut begins the end of the connection: a last frame, if there is one, and the
// close frame leave behind everything queued before. All that has CloseTimeout,
// and so has the reader to find the client's answer: closing a TCP connection
// that has unread data would reset it, and the client might never see the close
// code. shut may be called by anybody and more than once; the first call counts.
func (c *conn) shut(closeCode int, cause signaling.Code, last []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shutting {
		return
	}
	c.shutting, c.cause = true, cause
	if c.beat != nil {
		c.beat.Stop()
	}
	c.writeBy = time.Now().Add(c.srv.cfg.CloseTimeout)
	message := websocket.FormatCloseMessage(closeCode, string(cause))
	deadline := c.writeBy
	c.out.Do(func() { c.writeLast(last, message, deadline) })
	c.out.Stop()
	_ = c.ws.NetConn().SetDeadline(deadline) // also that of a write that is stuck
}

func (c *conn) writeLast(last, message []byte, deadline time.Time) {
	_ = c.ws.SetWriteDeadline(deadline)
	if last != nil && c.ws.WriteMessage(websocket.TextMessage, last) != nil {
		return
	}
	_ = c.ws.WriteMessage(websocket.CloseMessage, message)
}

// finish ends the connection when its reader has ended. It returns when the
// writer has, too.
func (c *conn) finish(err error) {
	defer c.srv.forget(c)
	dropped := !c.isShutting()
	if dropped {
		_ = c.ws.Close() // nobody is there to read
		c.shut(websocket.CloseAbnormalClosure, "", nil)
	}
	c.leave(err)
	<-c.out.Done()
	_ = c.ws.Close()
}

// leave tells the session that its connection is gone. A client that closed
// with 1000 has said goodbye.
func (c *conn) leave(err error) {
	attrs := []slog.Attr{slog.String("cause", string(c.cause)), slog.String("error", err.Error())}
	s := c.session
	if s != nil {
		attrs = append(attrs, slog.String("session", s.id), slog.String("user", s.user))
	}
	c.srv.log.LogAttrs(context.Background(), slog.LevelInfo, "conn.closed", attrs...)
	if s != nil {
		s.detach(c, c.cause == "" && websocket.IsCloseError(err, websocket.CloseNormalClosure))
	}
}

// closeConns tells all clients that the server shuts down.
func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.fail("", signaling.Errorf(signaling.CodeGoingAway, "the server shuts down"))
	}
}
