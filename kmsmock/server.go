package kmsmock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
)

// Config says how a Server behaves. The zero value is a server that answers as
// recorded, with media on every interface of the machine.
type Config struct {
	// Log takes the server's records; nil discards them.
	Log *slog.Logger
	// Net carries the media; nil is the machine's own network. A virtual
	// network must be of the major version that this package imports.
	Net transport.Net
	// Interfaces restricts media to the interfaces of these names; empty means
	// all. The loopback interface takes part only when it is named.
	Interfaces []string
	// Timing chooses between recorded delays and none.
	Timing Timing
	// NoNagle switches off the hold of about 40 ms on the second of two small
	// frames, which Kurento shows because it leaves TCP_NODELAY unset.
	NoNagle bool
	// Seed decides all ids, keys of SDP and ports that are only text.
	Seed uint64
	// CollectorPeriod is the garbage collection period; 0 means Kurento's 240 s.
	CollectorPeriod time.Duration
	// DisableRequestCache switches off the 20 s response cache.
	DisableRequestCache bool
	// Shuffle lets events overtake each other and the answer to their cause, as
	// happens in Kurento now and then. Without it they come in the order that
	// was recorded most.
	Shuffle bool
	// Warm spares the first endpoint and the first negotiation of the process
	// the delay that they have in Kurento.
	Warm bool
	// NoCrash spares the server Kurento's crashes: getIceTcp answers true, and
	// calls with an object of a class that Kurento does not expect, or to
	// connect the ports of a Mixer, an error.
	NoCrash bool
	// Control lets clients that are not on this machine use the control
	// endpoint.
	Control bool
	// KeepLeft lets a test that uses Start leave objects behind.
	KeepLeft bool
	// FileRoot is the folder that stands for the root of the file system in
	// the URIs of recorders and players: file:///recordings/x.webm is
	// recordings/x.webm below it. Empty means the machine's own root.
	FileRoot string
	// ResumablePlayer lets players go on after pause and setPosition. The
	// recorded server, on GStreamer 1.22, reports "Internal data stream error."
	// then and plays nothing more until stop.
	ResumablePlayer bool
	// Faults are the server's misbehaviour from the start; SetFaults changes it.
	Faults Faults
}

// defaultCollectorPeriod is mediaServer.resources.garbageCollectorPeriod of
// Kurento's own configuration.
const defaultCollectorPeriod = 240 * time.Second

// A Server is a Kurento Media Server. Create it with New, let it Serve one or
// more listeners or use it as an http.Handler, and Close it.
type Server struct {
	cfg   Config
	log   *slog.Logger
	net   transport.Net
	pace  pace
	model *model
	http  *http.Server

	ctx    context.Context // ends when the server closes
	cancel context.CancelFunc
	conns  sync.WaitGroup // websocket connections
	work   sync.WaitGroup // everything else

	mu             sync.Mutex // guards all below, and the objects
	rand           *rand.Rand
	serverID       string
	manager        *mediaObject
	objects        map[string]*mediaObject
	sessions       map[string]*session
	bound          map[string]*conn // by session
	open           map[*conn]bool
	cache          map[cacheKey]*cached
	cacheQueue     []*cached
	faults         Faults
	rules          []*rule
	ruleSerial     int
	scripts        []*Script
	recorderFaults map[string]string // failures by object id
	dice           *rand.Rand        // for faults alone, so that ids do not depend on them
	gates          []*gate
	address        string   // of the first listener
	toldLeft       []string // ids of left objects that a test was told of
	life           int      // counts the deaths of the process
	refusing       bool
	refusals       int
	timers         map[*time.Timer]bool // of what later will do
	gstNames       map[string]int       // elements made, by kind
	serial         int                  // objects made
	connSerial     int64                // connections accepted
	dtlsCount      int                  // DTLS connections begun
	closed         bool
	crashed        bool

	warmEndpoint, warmSDP bool

	recordingFault atomic.Pointer[recordingFault]

	certificates map[string]*tls.Certificate // by key type
}

// check finds what makes no sense in a configuration.
func (c *Config) check() error {
	switch {
	case c.Timing != Recorded && c.Timing != Fast:
		return fmt.Errorf("kmsmock: there is no timing %d", c.Timing)
	case c.CollectorPeriod < 0 || c.CollectorPeriod > 0 && c.CollectorPeriod < time.Millisecond:
		return fmt.Errorf("kmsmock: a garbage collection period of %v is below 1 ms", c.CollectorPeriod)
	case c.Faults.CrossMedia < CrossNone || c.Faults.CrossMedia > CrossCalls:
		return fmt.Errorf("kmsmock: there is no crossing of media %d", c.Faults.CrossMedia)
	}
	return nil
}

// New returns a server that is not listening yet. It fails when the
// configuration makes no sense or the machine's network interfaces cannot be
// read.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, net: cfg.Net, pace: paceOf(cfg), model: stockModel(), faults: cfg.Faults,
		recorderFaults: map[string]string{}, timers: map[*time.Timer]bool{},
		dice:     newDice(cfg.Seed, ""),
		rand:     rand.New(rand.NewPCG(cfg.Seed, 0x6b6d73)),
		gstNames: map[string]int{}, objects: map[string]*mediaObject{}, sessions: map[string]*session{}, bound: map[string]*conn{},
		open: map[*conn]bool{}, cache: map[cacheKey]*cached{}, certificates: map[string]*tls.Certificate{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.net == nil {
		std, err := stdnet.NewNet()
		if err != nil {
			return nil, fmt.Errorf("kmsmock: read network interfaces: %w", err)
		}
		s.net = std
	}
	if s.cfg.CollectorPeriod == 0 {
		s.cfg.CollectorPeriod = defaultCollectorPeriod
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.serverID = s.uuid()
	s.manager = newManager(s)
	s.work.Go(s.runCollector)
	return s, nil
}

// Serve accepts connections until the server is closed or l fails. It returns
// nil after Close.
func (s *Server) Serve(l net.Listener) error {
	s.announce(l)
	g := newGate(l)
	s.mu.Lock()
	s.gates = append(s.gates, g)
	g.set(!s.crashed && !s.refusing)
	s.mu.Unlock()
	err := s.http.Serve(g)
	if errors.Is(err, http.ErrServerClosed) || s.ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("kmsmock: accept: %w", err)
}

// Close cuts all connections without a close frame, as a Kurento that is
// stopped does, ends all media, and returns when nothing of the server runs.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for t := range s.timers {
		t.Stop()
	}
	s.cutAll()
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	s.conns.Wait()
	s.destroyAll()
	s.work.Wait()
	if err != nil {
		return fmt.Errorf("kmsmock: close listeners: %w", err)
	}
	return nil
}

// cutAll drops every connection. The lock is held.
func (s *Server) cutAll() {
	for _, c := range s.sortedConns() {
		c.cut()
	}
}

func (s *Server) destroyAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.sortedObjects() {
		if o != s.manager {
			o.dead = true
			s.destroy(o)
		}
	}
}

// spawn runs f in a goroutine that Close waits for. The lock is held, or the
// caller is itself such a goroutine.
func (s *Server) spawn(f func()) { s.work.Go(f) }

// runCollector is the garbage collector and, four times as often, the thread
// that marks the sessions of open connections.
func (s *Server) runCollector() {
	ticker := time.NewTicker(s.cfg.CollectorPeriod / 4)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		s.keepConnected()
		if n%4 == 0 {
			s.collect()
		}
		s.mu.Unlock()
	}
}

// CollectGarbage runs one garbage collection now.
func (s *Server) CollectGarbage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collect()
}

// uuid makes a version 4 UUID from the seeded source. The lock is held.
func (s *Server) uuid() string {
	var b [16]byte
	for i := 0; i < 16; i += 8 {
		v := s.rand.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
