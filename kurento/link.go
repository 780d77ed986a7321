package kurento

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

// Buffers of the WebSocket. A message that exceeds the one for writing leaves
// in several frames and writes; an SDP offer of Chromium has up to 20 kB.
const (
	readBuffer  = 16 << 10
	writeBuffer = 64 << 10
)

// closeTimeout bounds the writing of a close frame, and the wait for one after
// writing has failed.
const closeTimeout = time.Second

// link is one connection to KMS. A lost link stays lost.
type link struct {
	cfg  *Config
	ids  *idSource
	ws   *websocket.Conn
	rpc  *jsonrpc2.Conn
	lost <-chan struct{} // closed when the link is lost
	// reaped is closed by the client when it has taken notice of the loss.
	reaped chan struct{}
	// sending admits one caller of rpc.DispatchCall, as a mutex that respects
	// contexts.
	sending  chan struct{}
	stream   *stream
	lastRead atomic.Int64 // UnixNano
	readDone chan struct{}
	watched  chan struct{}

	mu         sync.Mutex
	cause      error // why the link was lost, nil while it was not
	unanswered map[jsonrpc2.ID]expectation
}

// expectation is a request without a response.
type expectation struct {
	seq      uint64
	deadline time.Time        // when its caller gives up, or gave up
	result   *json.RawMessage // where its result goes
}

// idSource makes request ids. KMS answers a repeated id of the same session
// from a cache for 20 s instead of carrying out the request, so ids must not
// start again on a new connection, nor meet those of another process that used
// the session before: hence the random prefix.
type idSource struct {
	prefix string
	last   atomic.Uint64
}

func newIDSource() *idSource {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return &idSource{prefix: hex.EncodeToString(b[:]) + "-"}
}

func (s *idSource) next() (uint64, jsonrpc2.ID) {
	seq := s.last.Add(1)
	return seq, jsonrpc2.ID{Str: s.prefix + strconv.FormatUint(seq, 10), IsString: true}
}

// newLink connects. Events go to onEvent, one after the other.
func newLink(ctx context.Context, cfg *Config, ids *idSource, onEvent func(Event)) (*link, error) {
	l := &link{
		cfg:        cfg,
		ids:        ids,
		reaped:     make(chan struct{}),
		sending:    make(chan struct{}, 1),
		readDone:   make(chan struct{}),
		watched:    make(chan struct{}),
		unanswered: make(map[jsonrpc2.ID]expectation),
	}
	dialer := websocket.Dialer{
		NetDialContext:  l.dial,
		TLSClientConfig: cfg.TLS,
		ReadBufferSize:  readBuffer,
		WriteBufferSize: writeBuffer,
	}
	ws, response, err := dialer.DialContext(ctx, cfg.URL, nil)
	if err != nil {
		if response != nil {
			err = fmt.Errorf("%w: HTTP status %s", err, response.Status)
		}
		return nil, err
	}
	ws.SetReadLimit(cfg.ReadLimit)
	l.ws = ws
	l.stream = &stream{link: l, onEvent: onEvent}
	l.rpc = jsonrpc2.NewConn(context.Background(), l.stream, refusingHandler{},
		jsonrpc2.OnSend(l.stream.announce), jsonrpc2.OnRecv(l.received), jsonrpc2.SetLogger(protocolLog{cfg.Log}))
	l.lost = l.rpc.DisconnectNotify()
	go l.watch()
	return l, nil
}

// dial opens the TCP connection and taps its reads.
func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := l.cfg.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tappedConn{Conn: conn, link: l, ack: quickAck(conn)}, nil
}

// tappedConn notes when something arrived and has it acknowledged at once.
type tappedConn struct {
	net.Conn
	link *link
	ack  func() // nil where there is nothing to do
}

func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.link.lastRead.Store(time.Now().UnixNano())
	if c.ack != nil {
		c.ack()
	}
	return n, err
}

// abort loses the link for the given cause, unless it has one already.
func (l *link) abort(cause error) {
	l.setCause(cause)
	_ = l.ws.Close() // ends the read loop, which ends the rest
}

// setCause notes why the link is lost. The first cause counts, but a close
// frame from KMS says more than a write that failed after it.
func (l *link) setCause(cause error) {
	var said *websocket.CloseError
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil || l.cause != ErrClosed && errors.As(cause, &said) {
		l.cause = cause
	}
}

func (l *link) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// close says goodbye and returns when the link's goroutines have ended.
func (l *link) close() {
	l.setCause(ErrClosed)
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = l.ws.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(closeTimeout))
	l.abort(ErrClosed)
	l.wait()
}

// wait returns when the goroutines of a lost link have ended.
func (l *link) wait() {
	<-l.readDone
	<-l.watched
}

// watch pings and looks for signs of death until the link is lost.
func (l *link) watch() {
	defer close(l.watched)
	ticker := time.NewTicker(l.cfg.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.lost:
			return
		case <-ticker.C:
		}
		if err := l.checkAlive(time.Now()); err != nil {
			l.abort(err)
			return
		}
		if err := l.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(l.cfg.WriteTimeout)); err != nil {
			l.abort(fmt.Errorf("ping: %w", err))
			return
		}
	}
}

// checkAlive returns an error if KMS must be taken for dead or stuck. KMS works
// on the requests of a connection one at a time and answers nothing else
// meanwhile, not even pings: so the oldest request decides.
func (l *link) checkAlive(now time.Time) error {
	oldest, ok := l.oldest()
	if ok && now.Before(oldest.deadline) {
		return nil
	}
	if ok && now.Sub(oldest.deadline) > l.cfg.PingTimeout {
		return fmt.Errorf("request %d unanswered %v after its deadline", oldest.seq, now.Sub(oldest.deadline))
	}
	if silence := now.Sub(time.Unix(0, l.lastRead.Load())); silence > l.cfg.PingTimeout {
		return &SilenceError{For: silence}
	}
	return nil
}

func (l *link) oldest() (oldest expectation, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.unanswered {
		if !ok || e.seq < oldest.seq {
			oldest, ok = e, true
		}
	}
	return oldest, ok
}

// expect notes that a call is about to be sent.
func (l *link) expect(c *call, deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unanswered[c.id] = expectation{c.seq, deadline, &c.result}
}

// answer gives the call with this id its result, before jsonrpc2 lets it go on,
// and reports whether there is one.
func (l *link) answer(id string, result []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.unanswered[jsonrpc2.ID{Str: id, IsString: true}]
	if ok {
		*e.result = bytes.Clone(result)
	}
	return ok
}

// abandon notes that the caller of id does not wait any longer.
func (l *link) abandon(id jsonrpc2.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.unanswered[id]; ok {
		e.deadline = time.Now()
		l.unanswered[id] = e
	}
}

func (l *link) settle(id jsonrpc2.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unanswered, id)
}

// received is told of every message by jsonrpc2.
func (l *link) received(_ *jsonrpc2.Request, response *jsonrpc2.Response) {
	if response != nil {
		l.settle(response.ID)
	}
}
