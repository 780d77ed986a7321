package kurento

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/serial"
)

// Client is one session with KMS. Its methods may be called by any number of
// goroutines.
type Client struct {
	cfg       Config
	ids       *idSource
	listeners listeners
	pool      serial.Pool     // handles events
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	done      chan struct{}  // closed when run has returned
	late      sync.WaitGroup // releases of what was created too late; begun with mu held

	mu      sync.Mutex
	link    *link         // nil while there is no connection
	ready   chan struct{} // closed while there is one
	session string
	server  string
}

// warm is how many goroutines for events are kept.
const warm = 8

// greeting is the result of connect.
type greeting struct {
	SessionID string `json:"sessionId"`
	ServerID  string `json:"serverId"`
}

// Dial connects to KMS and begins a session, or takes over Config.Session. ctx
// bounds the dialling only. A connection that is lost later is replaced until
// Close; one that cannot be had now is an error.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.validated()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, ids: newIDSource(), pool: serial.Pool{Keep: warm}, done: make(chan struct{}), ready: make(chan struct{})}
	l, hello, err := c.open(ctx, cfg.Session)
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.cfg.Log.Info("kms.connection", "state", "connected",
		"kms_session", hello.SessionID, "kms_server", hello.ServerID)
	c.publish(l, hello)
	go c.run(l)
	return c, nil
}

// Close ends the connection, fails the calls under way and returns when all
// goroutines of the client have ended, the handlers of events included: so
// they must not call it. Events still queued are dropped. KMS keeps the session
// and its objects, see CloseSession.
func (c *Client) Close() error {
	c.cancel()
	<-c.done // run has locked mu since: no new release of c.late begins
	c.late.Wait()
	c.listeners.forgetAll()
	c.listeners.running.Wait()
	c.pool.Close()
	return nil
}

// Session returns the id of the session, which changes when it is lost.
func (c *Client) Session() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// ServerID returns the id of the KMS process.
func (c *Client) ServerID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Connected reports whether there is a connection at the moment.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil
}

// Await waits until there is a connection. Its error is a *ConnectionError if
// ctx ended before.
func (c *Client) Await(ctx context.Context) error {
	_, err := c.connected(ctx)
	return err
}

// connected returns the link, and waits for one if there is none.
func (c *Client) connected(ctx context.Context) (*link, error) {
	for {
		if c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		l, wait := c.current()
		if l != nil {
			return l, nil
		}
		select {
		case <-wait:
		case <-c.ctx.Done():
		case <-ctx.Done():
			return nil, &ConnectionError{Err: ctx.Err()}
		}
	}
}

// current returns the link, or nil and what to wait for before asking again.
func (c *Client) current() (*link, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil, c.ready
	}
	select {
	case <-c.link.lost:
		return nil, c.link.reaped
	default:
		return c.link, nil
	}
}

// run watches over the connection until Close.
func (c *Client) run(l *link) {
	defer close(c.done)
	for l != nil {
		select {
		case <-l.lost:
			l.wait()
			c.lose(l)
			l = c.reconnect()
		case <-c.ctx.Done():
			l.close()
			c.unpublish(l)
			c.cfg.Log.Info("kms.connection", "state", "closed")
			return
		}
	}
}

// lose takes notice of the loss of l.
func (c *Client) lose(l *link) {
	err := l.err()
	c.cfg.Log.Warn("kms.connection", "state", "lost", "error", err.Error())
	c.unpublish(l)
	if c.cfg.OnLost != nil {
		c.cfg.OnLost(err)
	}
}

func (c *Client) unpublish(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.ready = nil, make(chan struct{})
	close(l.reaped)
}

func (c *Client) publish(l *link, hello greeting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.session, c.server = l, hello.SessionID, hello.ServerID
	close(c.ready)
}

// reconnect tries until it has a new link in use, or returns nil on Close.
func (c *Client) reconnect() *link {
	began := time.Now()
	for attempt := 1; c.pause(c.cfg.Backoff(attempt)); attempt++ {
		l, hello, err := c.open(c.ctx, c.Session())
		if err != nil {
			c.cfg.Log.Info("kms.connection", "state", "retrying", "attempt", attempt, "error", err.Error())
			continue
		}
		c.resume(l, hello, Reconnected{Attempts: attempt, Outage: time.Since(began)})
		return l
	}
	return nil
}

// pause returns false if the client was closed meanwhile.
func (c *Client) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.ctx.Err() == nil
	case <-c.ctx.Done():
		return false
	}
}

// resume puts a new link into use, after the owner was told what it is worth.
func (c *Client) resume(l *link, hello greeting, r Reconnected) {
	r.Session, r.Server = hello.SessionID, hello.ServerID
	r.SameSession, r.SameServer = r.Session == c.Session(), r.Server == c.ServerID()
	if !r.Resumed() {
		c.listeners.forgetAll()
	}
	c.cfg.Log.LogAttrs(c.ctx, slog.LevelInfo, "kms.connection", slog.String("state", "reconnected"),
		slog.String("kms_session", r.Session), slog.String("kms_server", r.Server),
		slog.Bool("same_session", r.SameSession), slog.Bool("same_server", r.SameServer),
		slog.Int("attempt", r.Attempts), slog.Float64("outage_ms", float64(r.Outage)/float64(time.Millisecond)))
	if c.cfg.OnReconnect != nil {
		c.cfg.OnReconnect(r)
	}
	c.publish(l, hello)
}

// open connects and binds the connection to a session: the one named, or a new
// one if KMS does not know that.
func (c *Client) open(ctx context.Context, session string) (*link, greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	l, err := newLink(ctx, &c.cfg, c.ids, c.event)
	if err != nil {
		return nil, greeting{}, fmt.Errorf("kurento: dial: %w", err)
	}
	hello, err := l.greet(ctx, session)
	if err != nil {
		l.close()
		return nil, greeting{}, err
	}
	return l, hello, nil
}

// greet binds the link to a session.
func (l *link) greet(ctx context.Context, session string) (greeting, error) {
	if session == "" {
		return l.connect(ctx, nil)
	}
	hello, err := l.connect(ctx, request{SessionID: session})
	if IsInvalidSession(err) {
		return l.connect(ctx, nil)
	}
	return hello, err
}

func (l *link) connect(ctx context.Context, params any) (hello greeting, err error) {
	call, err := l.start(ctx, methodConnect, params)
	if err != nil {
		return greeting{}, err
	}
	err = call.wait(ctx, &hello)
	return hello, err
}

// event hands an event to its subscribers. It is called by the link's reading
// goroutine.
func (c *Client) event(ev Event) {
	wanted := c.listeners.dispatch(ev)
	if log := c.cfg.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.LogAttrs(context.Background(), slog.LevelDebug, "kms.event",
			slog.String("object", string(ev.Object)), slog.String("type", string(ev.Type)), slog.Bool("wanted", wanted))
	}
}
