package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// instance is one life of the signaling server: until it is killed, or the world
// closes. What it stands on lives longer.
type instance struct {
	server *server.Server
	state  *store.Redis
	media  *kms.Media
	web    *http.Server
	life   *life
}

// newInstance starts a signaling server on the world's stores.
func (y *system) newInstance(ctx context.Context) (*instance, error) {
	v := &instance{life: new(life)}
	p, dialKMS, dialRedis := &y.parts, y.parts.kmsDial, y.redisLine.dial
	if p.mortal {
		dialKMS, dialRedis = v.life.dial(dialKMS), v.life.dial(dialRedis)
	}
	var err error
	v.media, err = kms.Dial(ctx, kms.Config{URL: p.kmsURL, Dial: dialKMS, Log: y.serverLog(v.life)})
	if err != nil {
		return nil, fmt.Errorf("connect to the media server: %w", err)
	}
	v.state = store.NewRedis(store.RedisConfig{Dial: dialRedis})
	v.server, err = server.New(y.serverConfig(v))
	if err == nil {
		err = v.server.Restore(ctx)
	}
	if err == nil {
		err = y.serve(v)
	}
	if err != nil {
		return nil, errors.Join(err, v.state.Close(), v.media.Close())
	}
	return v, nil
}

// serverConfig is what a signaling server stands on in this world.
func (y *system) serverConfig(v *instance) server.Config {
	p := &y.parts
	var history server.History = recorded{y.history, y.log}
	if p.plant.History != nil {
		history = p.plant.History(history)
	}
	cfg := server.Config{Auth: server.JWT(y.secret), Media: v.media, State: v.state, History: history, Archive: y.history.Archive(), Inbox: y.inbox, Relations: &y.access, Revocations: &y.revoked,
		Limits: server.Limits{ConnectionsPerAddress: server.Unlimited}, // on real sockets all clients are at one address
		Log:    y.serverLog(v.life), NewID: p.newID, AllowLoopback: true, Level0: p.level0}
	cfg.ResumeWindow = p.window
	cfg.Limits.MixedMembers, cfg.Limits.BroadcastMembers = p.roomLimit, p.roomLimit
	if y.files != "" {
		cfg.Recordings = y.recorder()
	}
	if p.pushes {
		cfg.Push = pusher{y.log, v.life}
	}
	if p.mortal {
		cfg.History, cfg.Inbox = mortalHistory{history, v.life}, mortalInbox{y.inbox, v.life}
	}
	if y.turn != nil {
		cfg.ICE = y.turn.issuer.ICE
	}
	return cfg
}

// serve lets clients in.
func (y *system) serve(v *instance) error {
	ln, err := y.parts.listenWeb()
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	if y.parts.mortal {
		ln = mortalListener{ln, v.life}
	}
	var front http.Handler = v.server
	if y.parts.plant.Front != nil {
		front = y.parts.plant.Front(v.server)
	}
	v.web = &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	y.running.Go(func() {
		if err := v.web.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !v.life.over.Load() {
			y.log.Add("server", "web.failed", trace.String("error", err.Error()))
		}
	})
	return nil
}

// close ends the instance in an orderly way.
func (v *instance) close() error {
	err := v.web.Close()
	v.server.Close()
	return errors.Join(err, v.state.Close(), v.media.Close())
}

// KillServer implements scenarios.ServerControl. What the dead server's goroutines
// still do reaches nobody.
func (y *system) KillServer() error {
	v := y.instance
	if v == nil {
		return errors.New("the server is dead already")
	}
	y.instance = nil
	y.log.Add("server", "server.killed")
	v.life.end()
	y.running.Go(v.bury)
	return nil
}

// bury ends what is left of an instance that was killed. What cannot be closed any
// more is no news.
func (v *instance) bury() {
	_ = v.web.Close()
	_ = v.state.Close()
	_ = v.media.Close()
	v.server.Close()
}

// StartServer implements scenarios.ServerControl.
func (y *system) StartServer() error {
	if y.instance != nil {
		return errors.New("the server lives")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v, err := y.newInstance(ctx)
	if err != nil {
		return err
	}
	y.instance = v
	y.log.Add("server", "server.started")
	return nil
}

// serverLog is the log of a signaling server: a dead one writes nothing.
func (y *system) serverLog(l *life) *slog.Logger {
	return slog.New(mortalHandler{trace.Handler(y.log, "server"), l})
}

// life ties an instance to the world around it. When it has ended nothing passes
// between the two any more: as the system cuts off a process that was killed.
type life struct {
	over atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // in the order in which they were opened
}

var errDead = errors.New("the server was killed")

// end cuts off the instance.
func (l *life) end() {
	l.over.Store(true)
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// keep ties a connection to the life.
func (l *life) keep(c net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Load() {
		c.Close()
		return nil, errDead
	}
	m := &mortalConn{c, l}
	l.conns = append(l.conns, c)
	return m, nil
}

// dial makes the connections of a dialer, or of the machine's own, mortal.
func (l *life) dial(d dialer) dialer {
	if d == nil {
		d = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if l.over.Load() {
			return nil, errDead
		}
		c, err := d(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return l.keep(c)
	}
}

// mortalConn is a connection that ends with its instance.
type mortalConn struct {
	net.Conn
	life *life
}

// Close implements net.Conn.
func (c *mortalConn) Close() error {
	c.life.mu.Lock()
	c.life.conns = slices.DeleteFunc(c.life.conns, func(o net.Conn) bool { return o == c.Conn })
	c.life.mu.Unlock()
	return c.Conn.Close()
}

// mortalListener accepts connections that end with their instance.
type mortalListener struct {
	net.Listener
	life *life
}

// Accept implements net.Listener.
func (m mortalListener) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return m.life.keep(c)
}

// mortalHandler keeps the log of the living.
type mortalHandler struct {
	slog.Handler
	life *life
}

// Handle implements slog.Handler.
func (m mortalHandler) Handle(ctx context.Context, r slog.Record) error {
	if m.life.over.Load() {
		return nil
	}
	return m.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (m mortalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return mortalHandler{m.Handler.WithAttrs(attrs), m.life}
}

// WithGroup implements slog.Handler.
func (m mortalHandler) WithGroup(name string) slog.Handler {
	return mortalHandler{m.Handler.WithGroup(name), m.life}
}

// mortalHistory takes rows from the living.
type mortalHistory struct {
	server.History
	life *life
}

func (m mortalHistory) alive(write func() error) error {
	if m.life.over.Load() {
		return errDead
	}
	return write()
}

// RoomStarted implements server.History.
func (m mortalHistory) RoomStarted(ctx context.Context, r server.RoomHistory) error {
	return m.alive(func() error { return m.History.RoomStarted(ctx, r) })
}

// RoomEnded implements server.History.
func (m mortalHistory) RoomEnded(ctx context.Context, r server.RoomHistory) error {
	return m.alive(func() error { return m.History.RoomEnded(ctx, r) })
}

// MemberJoined implements server.History.
func (m mortalHistory) MemberJoined(ctx context.Context, r server.MemberHistory) error {
	return m.alive(func() error { return m.History.MemberJoined(ctx, r) })
}

// MemberLeft implements server.History.
func (m mortalHistory) MemberLeft(ctx context.Context, r server.MemberHistory) error {
	return m.alive(func() error { return m.History.MemberLeft(ctx, r) })
}

// CallChanged implements server.History.
func (m mortalHistory) CallChanged(ctx context.Context, c server.CallHistory) error {
	return m.alive(func() error { return m.History.CallChanged(ctx, c) })
}

// RecordingChanged implements server.History.
func (m mortalHistory) RecordingChanged(ctx context.Context, r server.RecordingHistory) error {
	return m.alive(func() error { return m.History.RecordingChanged(ctx, r) })
}

// mortalInbox takes messages from the living, and delivers to them.
type mortalInbox struct {
	server.Inbox
	life *life
}

// Put implements server.Inbox.
func (m mortalInbox) Put(ctx context.Context, owner string, msg signaling.Message) (server.Letter, bool, error) {
	if m.life.over.Load() {
		return server.Letter{}, false, errDead
	}
	return m.Inbox.Put(ctx, owner, msg)
}

// Delivered implements server.Inbox.
func (m mortalInbox) Delivered(ctx context.Context, owner string, numbers ...uint64) error {
	if m.life.over.Load() {
		return errDead
	}
	return m.Inbox.Delivered(ctx, owner, numbers...)
}
