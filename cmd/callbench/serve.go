package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/demo"
	"github.com/callbench/callbench/server/store"
)

type serveCmd struct {
	Config     string        `env:"CALLBENCH_CONFIG" placeholder:"FILE" help:"YAML or JSON with the names of these flags and their values; a flag counts before the environment, and that before the file."`
	Listen     string        `env:"CALLBENCH_LISTEN" default:"127.0.0.1:8080" help:"Address for clients, the demo page, /healthz, /readyz and /metrics."`
	Kms        string        `env:"CALLBENCH_KMS" name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"A Kurento; if not given, the mock is embedded."`
	Redis      string        `env:"CALLBENCH_REDIS" placeholder:"HOST:PORT" help:"A Redis for sessions, rooms and presence: HOST:PORT, or a URL redis://USER:PASSWORD@HOST:PORT/DATABASE, with rediss:// for TLS. If not given, they are kept in memory."`
	Mysql      string        `env:"CALLBENCH_MYSQL" name:"mysql" placeholder:"USER:PASSWORD@tcp(HOST:PORT)/DATABASE" help:"A MySQL 8 or MariaDB for history, messages, users, contacts and blocks, whose tables are made; if not given, they are kept in memory."`
	Refresh    time.Duration `env:"CALLBENCH_MYSQL_REFRESH" name:"mysql-refresh" default:"10s" help:"How often users, contacts and blocks are read from the database of -mysql."`
	Data       string        `env:"CALLBENCH_DATA" name:"data" placeholder:"DIR" help:"Folder on this machine's disk where what is written is safe until MySQL has it; goes with -mysql."`
	Recordings string        `env:"CALLBENCH_RECORDINGS" placeholder:"DIR" help:"Folder that rooms and calls are recorded to; if not given, nothing is recorded."`
	RecordURI  string        `env:"CALLBENCH_RECORD_URI" name:"record-uri" placeholder:"file:///DIR" help:"What the media server calls that folder; if not given, as this machine does."`
	Node       string        `env:"CALLBENCH_NODE" default:"callbench" help:"Name of this server among those that share Redis. One that starts with the name of one that was killed goes on with its calls; one that runs under that name ends at once."`
	Turn       string        `env:"CALLBENCH_TURN" placeholder:"turn:HOST:PORT" help:"A TURN server that holds the secret below; if not given, one is embedded."`
	TurnSecret string        `env:"CALLBENCH_TURN_SECRET" help:"Secret of the TURN server's REST credentials."`
	Users      []string      `env:"CALLBENCH_USERS" default:"alice,bob,carol" help:"Demo users: each other's contacts, with tokens and a page. Empty (-users=): no demo; everybody with a token is known, or with -mysql who is in its table users."`
	PushURL    string        `env:"CALLBENCH_PUSH_URL" name:"push-url" placeholder:"https://HOST/PATH" help:"A webhook that wakes the devices of users that are called and not connected; if not given, those cannot be called."`
	PushSecret string        `env:"CALLBENCH_PUSH_SECRET" help:"Secret that the webhook's requests are signed with, 24 bytes or more."`
	PushAll    bool          `env:"CALLBENCH_PUSH_ALL" name:"push-all" help:"Tell the webhook of calls to users that are connected, too."`
	Level0     bool          `env:"CALLBENCH_LEVEL0" name:"level0" help:"Speak level 0 of the protocol only, the design document's frames."`
	LogLevel   slog.Level    `env:"CALLBENCH_LOG_LEVEL" default:"WARN" help:"What the log on standard error tells from: DEBUG, INFO, WARN, ERROR."`

	tokenFlags
	timeoutFlags
	limitFlags
	adminFlags
}

// tokenLife is how long a demo user's token is good.
const tokenLife = 24 * time.Hour

// Run implements `callbench serve`.
func (c *serveCmd) Run(ctx context.Context, out *console) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for clients: %w (-listen takes another address; 127.0.0.1:0 is a free port)", err)
	}
	h := &host{ip: ln.Addr().(*net.TCPAddr).IP, log: slog.New(slog.NewTextHandler(out.err, &slog.HandlerOptions{Level: c.LogLevel}))}
	defer func() {
		if !errors.Is(err, errTaken) { // the process ends, and leaves everything to the other
			err = errors.Join(err, h.close())
		}
	}()
	srv, err := c.build(ctx, h)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := errors.Join(srv.Restore(ctx), h.admin(c.adminFlags, srv)); err != nil {
		srv.Close()
		return errors.Join(err, ln.Close())
	}
	web := &http.Server{Handler: c.routes(srv), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	c.announce(out, ln.Addr().String(), h)
	select {
	case <-ctx.Done():
		c.drain(out, srv)
		fmt.Fprintln(out, "shutting down: calls end, clients are told to come back")
		srv.Close()
		err = web.Close()
		<-served
		fmt.Fprintln(out, "stopped")
	case <-h.taken:
		err = fmt.Errorf("%w (-node %s): this one ends and leaves its calls to it", errTaken, c.Node)
	case err = <-served:
		srv.Close()
	}
	return err
}

// errTaken is why a server ends at once, as if it were killed.
var errTaken = errors.New("another server has taken this one's name")

// drain gives load balancers time to see that nobody new should come.
func (c *serveCmd) drain(out *console, srv *server.Server) {
	srv.Drain()
	if c.DrainDelay > 0 {
		fmt.Fprintf(out, "draining for %v: /readyz says 503\n", c.DrainDelay)
		<-time.After(c.DrainDelay)
	}
}

func (c *serveCmd) check() error {
	if err := errors.Join(c.tokenFlags.check(), c.timeoutFlags.check(), c.limitFlags.check(), c.adminFlags.check()); err != nil {
		return err
	}
	if (c.Turn == "") != (c.TurnSecret == "") {
		return errors.New("-turn and -turn-secret go together")
	}
	if (c.PushURL == "") != (c.PushSecret == "") || c.PushAll && c.PushURL == "" {
		return errors.New("-push-url and -push-secret (CALLBENCH_PUSH_SECRET) go together, and -push-all with them")
	}
	if c.RecordURI != "" && c.Recordings == "" {
		return errors.New("-record-uri says what the media server calls the folder of -recordings, which is not given")
	}
	if (c.Mysql == "") != (c.Data == "") {
		return errors.New("-mysql and -data go together")
	}
	if c.Refresh < 10*time.Millisecond {
		return errors.New("-mysql-refresh must be 10ms or more")
	}
	c.Users = slices.DeleteFunc(c.Users, func(u string) bool { return u == "" })
	return nil
}

// build puts the server together from its parts.
func (c *serveCmd) build(ctx context.Context, h *host) (*server.Server, error) {
	cfg := server.Config{Node: c.Node,
		Log: h.log, AllowLoopback: h.ip.IsLoopback() || h.ip.IsUnspecified(), Level0: c.Level0}
	var err error
	if cfg.Auth, err = c.auth(h.log); err != nil {
		return nil, err
	}
	if err = c.limitFlags.apply(&cfg); err != nil {
		return nil, err
	}
	c.timeoutFlags.apply(&cfg)
	if cfg.Media, err = h.media(ctx, c.Kms, c.MediaLostAfter); err != nil {
		return nil, err
	}
	if cfg.ICE, err = h.ice(c.Turn, c.TurnSecret); err != nil {
		return nil, err
	}
	if cfg.State, err = h.state(ctx, c.Redis); err != nil {
		return nil, err
	}
	if c.Recordings != "" {
		if cfg.Recordings, err = recordingFolder(c.Recordings, c.RecordURI); err != nil {
			return nil, err
		}
		h.part("recordings", c.Recordings)
	}
	cfg.Revocations = revocations(cfg.State)
	if c.PushURL != "" {
		if cfg.Push, err = h.push(c.PushURL, c.PushSecret); err != nil {
			return nil, err
		}
		cfg.PushAll = c.PushAll
	}
	// As late as can be: from here on a server that has the name ends, and not before
	// that the journal can be opened, which the two may share.
	if err = h.claim(ctx, cfg.State, c.Node); err != nil {
		return nil, err
	}
	if err = c.permanent(ctx, h, &cfg); err != nil {
		return nil, err
	}
	cfg.Checks, cfg.Collectors = h.checks, h.collectors
	return server.New(cfg)
}

// recordingFolder is the folder that recordings go to, which is made.
func recordingFolder(dir, uri string) (server.RecordingFolder, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(path, 0o755)
	}
	if err != nil {
		return server.RecordingFolder{}, fmt.Errorf("-recordings: %w", err)
	}
	if uri == "" {
		uri = "file://" + filepath.ToSlash(path)
	}
	if !strings.HasPrefix(uri, "file:///") {
		return server.RecordingFolder{}, fmt.Errorf("-record-uri %s is not a URI such as file:///recordings", uri)
	}
	return server.RecordingFolder{Base: uri, Path: path}, nil
}

// revocations are kept where the state is, if that can.
func revocations(state server.State) server.Revocations {
	if r, ok := state.(server.Revocations); ok {
		return r
	}
	return new(store.MemoryRevocations)
}

// permanent chooses where history, messages and relations are kept.
func (c *serveCmd) permanent(ctx context.Context, h *host, cfg *server.Config) error {
	if c.Mysql == "" {
		history := store.NewMemoryHistory()
		cfg.History, cfg.Archive, cfg.Inbox = history, history.Archive(), &store.MemoryInbox{}
		if len(c.Users) > 0 {
			cfg.Relations = friends(c.Users)
		}
		h.part("mysql", "none: history and messages are in memory")
		return nil
	}
	m, err := h.mysql(ctx, store.MySQLConfig{DSN: c.Mysql, Dir: c.Data, Users: c.Users, Refresh: c.Refresh})
	if err != nil {
		return err
	}
	cfg.History, cfg.Archive, cfg.Inbox, cfg.Relations, cfg.Unwritten = m.History(), m.Archive(), m.Inbox(), m.Relations(), m.Waiting
	cfg.Sweeper = m
	return nil
}

// friends makes every demo user every other's contact.
func friends(users []string) *store.MemoryRelations {
	r := new(store.MemoryRelations)
	for i, a := range users {
		r.Know(a)
		for _, b := range users[i+1:] {
			r.Befriend(a, b)
		}
	}
	return r
}

func (c *serveCmd) routes(srv *server.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/ws", srv)
	mux.Handle("GET /healthz", srv.Health())
	mux.Handle("GET /readyz", srv.Ready(false))
	mux.Handle("GET /metrics", srv.Metrics())
	mux.Handle("GET /api/", srv.API())
	if len(c.Users) > 0 {
		mux.Handle("/", demo.Handler(c.tokens))
	}
	return mux
}

// tokens are the demo users with a token for each.
func (c *serveCmd) tokens() (users []demo.User, err error) {
	for _, u := range c.Users {
		token, err := c.token(u, tokenLife)
		if err != nil {
			return nil, err
		}
		users = append(users, demo.User{Name: u, Token: token})
	}
	return users, nil
}

// announce says where everything is, what is embedded, and how to get in.
func (c *serveCmd) announce(out *console, addr string, h *host) {
	a := netip.MustParseAddrPort(addr)
	if a.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.Port()).String()
	}
	fmt.Fprintf(out, "clients    ws://%s/ws\n", addr)
	if len(c.Users) > 0 {
		fmt.Fprintf(out, "demo       http://%s/  (open it in two tabs)\n", addr)
	}
	fmt.Fprintf(out, "health     http://%s/healthz, http://%s/readyz\nmetrics    http://%s/metrics\n", addr, addr, addr)
	for _, p := range h.parts {
		fmt.Fprintf(out, "%-10s %s\n", p[0], p[1])
	}
	users, err := c.tokens()
	if err != nil {
		fmt.Fprintln(out.err, "callbench:", err)
	}
	for _, u := range users {
		fmt.Fprintf(out, "token of %s, good for %v: %s\n", u.Name, tokenLife, u.Token)
	}
}
