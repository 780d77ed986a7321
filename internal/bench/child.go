package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/server/store"
)

// The environment of a child says what it is.
const (
	roleVar  = "CALLBENCH_BENCH_ROLE" // one of those below
	redisVar = "CALLBENCH_BENCH_REDIS"
	mysqlVar = "CALLBENCH_BENCH_MYSQL"
	kmsVar   = "CALLBENCH_BENCH_KMS"

	roleServer  = "server"         // with messages and history in memory
	roleDurable = "durable server" // with both in MySQL
	roleHub     = "hub"
)

// secret signs the tokens of a run.
var secret = []byte("a secret of benchmarks, 32 bytes.")

// child is the life of a process that is measured: it prints its address and
// ends when its input does.
func child(role string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var trips atomic.Int64
	var ws http.Handler = newHub(server.JWT(secret))
	if role != roleHub {
		server, stop, err := newServer(role, &trips)
		if err != nil {
			return err
		}
		defer stop()
		ws = server
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", ws)
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, r *http.Request) {
		u := usageNow(r.FormValue("gc") != "")
		u.Trips = trips.Load()
		_ = json.NewEncoder(w).Encode(u)
	})
	mux.HandleFunc("GET /profile", pprof.Profile)
	mux.HandleFunc("GET /trace", pprof.Trace)
	mux.Handle("GET /heap", pprof.Handler("heap"))
	served := make(chan error, 1)
	go func() { served <- http.Serve(ln, mux) }()
	fmt.Println(ln.Addr())
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, os.Stdin); ended <- err }()
	select {
	case err = <-served:
	case err = <-ended:
	}
	return err
}

// newServer makes the server as `callbench serve` does, with presence and
// sessions in Redis. stop ends what it stands on.
func newServer(role string, trips *atomic.Int64) (_ *server.Server, stop func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	redis := store.NewRedis(store.RedisConfig{Addr: os.Getenv(redisVar), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &tripConn{Conn: c, trips: trips}, err
	}})
	if err := redis.Ping(ctx); err != nil {
		return nil, nil, err
	}
	cfg := server.Config{Auth: server.JWT(secret), State: redis, History: store.NewMemoryHistory(), Inbox: &store.MemoryInbox{},
		Relations: fans{}, Media: noMedia{}, AllowLoopback: true, Limits: limits()}
	if url := os.Getenv(kmsVar); url != "" {
		m, err := kms.Dial(ctx, kms.Config{URL: url})
		if err != nil {
			return nil, nil, err
		}
		cfg.Media = m
	}
	stop = func() {}
	if role == roleDurable {
		if stop, err = keepIn(ctx, os.Getenv(mysqlVar), &cfg); err != nil {
			return nil, nil, err
		}
	}
	s, err := server.New(cfg)
	return s, stop, err
}

// keepIn has messages and history kept in MySQL.
func keepIn(ctx context.Context, dsn string, cfg *server.Config) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "callbench-bench")
	if err != nil {
		return nil, err
	}
	m, err := store.OpenMySQL(ctx, store.MySQLConfig{DSN: dsn, Dir: dir})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cfg.History, cfg.Inbox = m.History(), m.Inbox()
	return func() {
		_ = m.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// limits are those of production where one address or user of the bench stays
// below them, and otherwise so high that they are counted and never reached.
func limits() server.Limits {
	const high = 1_000_000
	return server.Limits{ConnectionsPerAddress: high, MessagesPerMinute: high, CallsPerMinute: high}
}

// noMedia is the media server of a run without calls.
type noMedia struct{ server.Media }

// fans are relations in which one user, the star, has contacts.
type fans struct{}

const (
	star  = "star"
	fanOf = 100
)

func fan(i int) string { return fmt.Sprint("fan", i) }

// Reaches implements server.Relations.
func (fans) Reaches(string, string) bool { return true }

// Contacts implements server.Relations.
func (fans) Contacts(user string) (contacts []string) {
	if user == star {
		for i := range fanOf {
			contacts = append(contacts, fan(i))
		}
	}
	return contacts
}

// tripConn counts round trips: a write behind a read, or the first, begins one.
type tripConn struct {
	net.Conn
	trips *atomic.Int64
	asked atomic.Bool
}

func (c *tripConn) Write(b []byte) (int, error) {
	if !c.asked.Swap(true) {
		c.trips.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *tripConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.asked.Store(false)
	return n, err
}

// usage is what a child has used.
type usage struct {
	CPU         time.Duration // user and system
	RSS         uint64        // bytes that are resident
	Heap, Stack uint64        // bytes in use
	Goroutines  int
	Trips       int64 // to Redis
}

func usageNow(collect bool) usage {
	if collect {
		runtime.GC()
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{CPU: cpuTime(), RSS: resident(), Heap: m.HeapInuse, Stack: m.StackInuse, Goroutines: runtime.NumGoroutine()}
}

// resident is what /proc says of this process; 0 on systems that have none.
func resident() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// process is a child as its parent sees it.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	addr string
}

// start starts a child.
func (c config) start(ctx context.Context, role string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), roleVar+"="+role, redisVar+"="+c.redis, mysqlVar+"="+c.mysql, kmsVar+"="+c.kms)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the %s did not start: %w", role, err), p.stop())
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

func (p *process) stop() error {
	_ = p.in.Close()
	return p.cmd.Wait()
}

// usage asks the child what it has used, after a garbage collection if that is
// wanted.
func (p *process) usage(ctx context.Context, collect bool) (u usage, err error) {
	path := "/usage"
	if collect {
		path += "?gc=1"
	}
	body, err := p.get(ctx, path)
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(body, &u)
}

func (p *process) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// keep writes a profile of the child into the folder, if there is one.
func (c config) keep(ctx context.Context, p *process, path, name string) error {
	if c.profile == "" {
		return nil
	}
	body, err := p.get(ctx, path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.profile, name), body, 0o644)
}
