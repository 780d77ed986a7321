// Package server is the signaling server: one WebSocket per client, routed by
// frame type, with messages, presence, and calls whose media runs through a
// media server.
//
// The way of a call: a frame is decoded by a connection (conn.go), routed
// by its session (session.go) to the call that the session is in (call.go),
// whose legs (leg.go) use the media server (package kms). Back: a media event
// runs on the call's ordered queue, is pushed to the session, and leaves
// through the connection's writer. Messages and presence have ordered queues of
// their own, which users are spread over (im.go, presence.go). What a client of
// level 0 says and hears is translated at the session (level.go).
package server

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// Config says what a Server works with and how patient it is. Auth, Media,
// State and History must be set; every other zero value stands for the default
// that its comment names.
type Config struct {
	Auth    Auth
	Media   Media
	State   State
	History History
	Log     *slog.Logger // nil: no log

	// Sweeper ends in History what a server of this name left open, when Restore has
	// found out what goes on. Nil: that stays open.
	Sweeper Sweeper
	// Unwritten is how many writes of History and Inbox are safe and not where they go
	// yet, for the metrics. Nil: that is not known.
	Unwritten func() int
	// Archive reads the history for clients. Nil: they cannot ask for it.
	Archive Archive
	// Inbox keeps messages for who is not there. Nil keeps none: a message to a
	// user without a session is refused with user_unavailable.
	Inbox Inbox
	// Push wakes devices of a user that is called and has no connection. Nil: a
	// user without a session cannot be called.
	Push Push
	// PushAll tells Push of every call, so that it can wake devices beside those
	// that are connected.
	PushAll bool
	// Relations say who may reach whom. Nil: every user is known and reached by
	// everybody, and has no contacts.
	Relations Relations

	// Recordings say where recordings go. Nil: nothing is recorded, and there is
	// no feature record.
	Recordings Recordings
	// Node names this server in the history and among those that share State,
	// "callbench" by default. A server with the name of one that was killed goes on with its
	// rooms; two that run at the same time must not have the same: a store.Claim of
	// a Redis sees to that.
	Node string

	// Revocations remember which tokens are good no more. Nil: none can be revoked.
	Revocations Revocations

	// Collectors are further metrics that Metrics serves.
	Collectors []prometheus.Collector
	// Checks ask for the parts that Ready tells of.
	Checks []Check

	// CheckOrigin decides which web pages may connect. Nil lets pages of the
	// server's own host connect, and clients that send no Origin at all, such
	// as apps.
	CheckOrigin func(*http.Request) bool
	// TrustedProxies are the load balancers in front of the server: what they
	// say in X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Limits are what one client, user or address may take.
	Limits Limits
	// Admission says how much is asked of the media server at once.
	Admission Admission
	// ICE gives a user's ICE servers, with credentials of its own, and how long
	// those are good. It must not wait. Nil: clients get none, and there is no
	// feature turn.
	ICE func(user string) ([]signaling.ICEServer, time.Duration)
	// NewID names a new session, call, room or message of a user. Nil makes random ids.
	// A test that compares runs makes repeatable ones.
	NewID func(kind, user string) string
	// VideoCodec is the one video codec of every room, "VP8" by default.
	VideoCodec string
	// AllowLoopback lets clients have ICE candidates of loopback addresses, as
	// those have that run on the media server's own machine.
	AllowLoopback bool

	// Level0 has the server speak level 0 only, as one that knows nothing but
	// the design document: a hello is of an unknown type.
	Level0 bool

	HelloTimeout   time.Duration // from connecting to hello; 10 s
	LevelTimeout   time.Duration // silence of a client with a token in its header that makes it one of level 0; 1 s
	Heartbeat      time.Duration // between WebSocket pings; 30 s
	Timeout        time.Duration // silence that ends a connection; 90 s
	ResumeWindow   time.Duration // how long a dropped session may be resumed; 60 s
	RingTimeout    time.Duration // how long the callee may ring; 60 s
	PushAfter      time.Duration // how long devices that seem connected may take to say that they ring before Push wakes others; 5 s
	ConfirmTimeout time.Duration // how long a member may take to confirm the end; 5 s
	DTLSTimeout    time.Duration // from ICE connected to DTLS connected; 5 s
	RecordTimeout  time.Duration // from the request to record until media is recorded; 10 s
	DTLSRetries    int           // how often a leg is made anew before the call fails; 3
	MediaTimeout   time.Duration // for one operation of the media server; 10 s
	StoreTimeout   time.Duration // for one operation of State, History or Inbox; 2 s
	WriteTimeout   time.Duration // for one frame to leave; 10 s
	CloseTimeout   time.Duration // for a client to read the end of its connection; 1 s

	MaxQueue      int // frames that may wait to be written to one client; 1024
	MaxQueueBytes int // bytes of them; 1 MiB
}

// withDefaults returns the config with its zero values replaced, or says what
// is missing.
func (c Config) withDefaults() (Config, error) {
	if c.Auth == nil || c.Media == nil || c.State == nil || c.History == nil {
		return c, errors.New("server: Auth, Media, State and History must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.NewID == nil {
		c.NewID = randomID
	}
	if c.Relations == nil {
		c.Relations = open{}
	}
	if c.Node == "" {
		c.Node = "callbench"
	}
	if c.VideoCodec == "" {
		c.VideoCodec = "VP8"
	}
	c, err := c.withDurations()
	if err != nil {
		return c, err
	}
	if c.DTLSRetries < 0 || c.MaxQueue < 0 || c.MaxQueueBytes < 0 {
		return c, errors.New("server: a limit is negative")
	}
	if c.Limits, err = c.Limits.WithDefaults(); err != nil {
		return c, err
	}
	c.Admission, err = c.Admission.WithDefaults()
	return c.withLimits(), err
}

func (c Config) withDurations() (Config, error) {
	durations := []struct {
		at *time.Duration
		or time.Duration
	}{
		{&c.HelloTimeout, 10 * time.Second}, {&c.LevelTimeout, time.Second}, {&c.Heartbeat, 30 * time.Second}, {&c.Timeout, 90 * time.Second},
		{&c.ResumeWindow, 60 * time.Second}, {&c.RingTimeout, 60 * time.Second}, {&c.PushAfter, 5 * time.Second}, {&c.ConfirmTimeout, 5 * time.Second},
		{&c.DTLSTimeout, 5 * time.Second}, {&c.RecordTimeout, 10 * time.Second}, {&c.MediaTimeout, 10 * time.Second}, {&c.StoreTimeout, 2 * time.Second},
		{&c.WriteTimeout, 10 * time.Second}, {&c.CloseTimeout, time.Second},
	}
	for _, d := range durations {
		if *d.at < 0 {
			return c, errors.New("server: a duration is negative")
		}
		if *d.at == 0 {
			*d.at = d.or
		}
	}
	if c.Timeout <= c.Heartbeat {
		return c, errors.New("server: Timeout must be longer than Heartbeat")
	}
	return c, nil
}

func (c Config) withLimits() Config {
	if c.DTLSRetries == 0 {
		c.DTLSRetries = 3
	}
	if c.MaxQueue == 0 {
		c.MaxQueue = 1024
	}
	if c.MaxQueueBytes == 0 {
		c.MaxQueueBytes = 1 << 20
	}
	return c
}

// lower is base 32 in small letters.
var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// randomID makes ids such as s-9m2kq…: the kind's initial and 80 random bits.
func randomID(kind, _ string) string {
	bits := make([]byte, 10, 28)
	_, _ = rand.Read(bits) // it never fails
	id := append(bits[10:], kind[0], '-')
	return string(lower.AppendEncode(id, bits))
}

// Server is a signaling server. It is an http.Handler for GET /ws.
type Server struct {
	cfg        Config
	log        *slog.Logger
	upgrader   websocket.Upgrader
	pool       serial.Pool // of what is done for rooms and clients
	buffers    sync.Pool   // *frameBuffer
	users      directory
	mail       [spread]postbox
	rolls      [spread]roll
	mender     mender
	life       context.Context // of what is done for users: ends when Close has waited long enough
	giveUp     context.CancelFunc
	pushing    context.Context // of what Push is asked for: ends StoreTimeout after the last call
	stopPush   context.CancelFunc
	metrics    *metrics
	revoked    atomic.Uint64 // revocations so far
	callers    callers
	messages   meters
	calls      meters
	recordings meters
	entering   seats
	gate       gate
	ready      readiness

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}

	work sync.WaitGroup // connections, sessions and calls that have not ended
}

// New makes a server. It serves until Close.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, conns: make(map[*conn]struct{}), pool: serial.Pool{Keep: warm}}
	s.users.init()
	s.gate.cfg = cfg.Admission
	s.life, s.giveUp = context.WithCancel(context.Background())
	s.pushing, s.stopPush = context.WithCancel(context.Background())
	for i := range spread {
		s.mail[i].srv, s.rolls[i].srv = s, s
		s.rolls[i].there = make(map[string]*standing)
	}
	s.metrics = newMetrics(s)
	s.upgrader = websocket.Upgrader{
		HandshakeTimeout: cfg.HelloTimeout,
		ReadBufferSize:   512, // an idle connection keeps its read buffer and no write buffer
		WriteBufferSize:  4096,
		WriteBufferPool:  &sync.Pool{},
		CheckOrigin:      cfg.CheckOrigin,
	}
	return s, nil
}

// warm is how many goroutines are kept for rooms and writers: a few for each CPU are
// busy at a time.
const warm = 32

// ServeHTTP makes GET /ws a client's connection. The connection outlives the
// request: net/http's goroutine and its buffers, 8 KB and more, are given back.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ws" {
		http.NotFound(w, r)
		return
	}
	if s.isClosed() {
		http.Error(w, "the server shuts down", http.StatusServiceUnavailable)
		return
	}
	from := s.clientAddr(r)
	n := s.cfg.Limits.ConnectionsPerAddress
	caller := s.callers.enter(from, n)
	if caller == nil {
		wire := s.exceeded(limitConnectionsPerAddress, "more than %d connections from one address, or %d from one IPv6 site", n, n*perSite)
		http.Error(w, wire.Error(), http.StatusTooManyRequests)
		return
	}
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.callers.leave(caller)
		return // Upgrade has answered the request
	}
	c := newConn(s, ws, from)
	c.caller = caller
	if !s.track(c) {
		s.callers.leave(caller)
		ws.Close()
		return
	}
	go c.open(bearer(r))
}

// bearer is the token of the request's Authorization header, "" if it has none.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	return true
}

// forget ends what track began.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.callers.leave(c.caller)
	s.work.Done()
}

// Run serves connections of ln until ctx ends, closes the server and returns
// when everything has ended.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	h := &http.Server{Handler: s, ReadHeaderTimeout: s.cfg.HelloTimeout,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	err := h.Serve(ln)
	s.Close()
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return errors.Join(err, h.Close())
}

// Close ends every call, tells the clients to come back elsewhere (close code
// 1012), and returns when nothing is left: endpoints and pipelines are
// released, State is clean, History is written, no goroutine runs.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	sessions, rooms := s.users.close()
	for _, r := range rooms {
		r.host.shutdown()
	}
	for _, r := range rooms {
		<-r.queue.Done()
	}
	s.settle()
	for _, u := range sessions {
		u.end(causeShutdown)
	}
	s.closeConns()
	patience := time.AfterFunc(s.cfg.StoreTimeout, s.stopPush)
	s.work.Wait()
	patience.Stop()
	s.stopPush()
	s.closeQueues()
	s.pool.Close()
}

// settle returns when the messages that were taken by now are stored and pushed.
func (s *Server) settle() {
	for i := range spread {
		done := make(chan struct{})
		if s.mail[i].queue.Do(func() { close(done) }) {
			<-done
		}
	}
}

// closeQueues returns when the last messages and presences are stored, or those
// that a store was too slow for are given up.
func (s *Server) closeQueues() {
	patience := time.AfterFunc(2*s.cfg.StoreTimeout, s.giveUp)
	defer patience.Stop()
	for i := range spread {
		s.mail[i].queue.Close()
		s.rolls[i].queue.Close()
	}
	s.settleDebts()
	s.giveUp()
	s.mender.stop()
}
