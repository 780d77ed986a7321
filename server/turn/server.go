// Package turn relays ICE for clients that cannot reach the media server
// themselves: an embedded TURN server (RFC 8656, on pion/turn) and the
// credentials that it and Coturn accept. docs/turn.md describes both.
package turn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/turn/v5"
)

// Config says what a Server works with. Secrets, Relay and one of PacketConn
// and Listener must be set; every other zero value stands for the default that
// its comment names.
type Config struct {
	PacketConn net.PacketConn             // where clients come in over UDP; closed by Close
	Listener   net.Listener               // where clients come in over TCP; closed by Close
	Relay      turn.RelayAddressGenerator // makes the sockets that face the peers
	Secrets    *Secrets                   // sign the credentials that are accepted
	Peers      []netip.Prefix             // may be reached although they are private: the media server's
	Log        *slog.Logger               // nil: no log

	Realm        string        // "callbench"
	UserQuota    int           // allocations that a user may have; 12, as LiveKit has: devices, networks, transports
	TotalQuota   int           // allocations altogether; 4096
	Lifetime     time.Duration // of an allocation that its client does not refresh; 10 min (RFC 8656 §3.2)
	MaxConns     int           // TCP connections altogether; 8192
	FirstRequest time.Duration // how long a TCP connection may take until it has an allocation; 30 s
}

// withDefaults returns the config with its zero values replaced, or says what
// is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.Secrets == nil || c.Relay == nil || c.PacketConn == nil && c.Listener == nil {
		return c, errors.New("turn: Secrets, Relay and one of PacketConn and Listener must be set")
	}
	if c.UserQuota < 0 || c.TotalQuota < 0 || c.Lifetime < 0 || c.MaxConns < 0 || c.FirstRequest < 0 {
		return c, errors.New("turn: a quota or duration is negative")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Realm == "" {
		c.Realm = "callbench"
	}
	for _, n := range []struct {
		at *int
		or int
	}{{&c.UserQuota, 12}, {&c.TotalQuota, 4096}, {&c.MaxConns, 8192}} {
		if *n.at == 0 {
			*n.at = n.or
		}
	}
	if c.Lifetime == 0 {
		c.Lifetime = 10 * time.Minute
	}
	if c.FirstRequest == 0 {
		c.FirstRequest = 30 * time.Second
	}
	return c, nil
}

// Allocation is a relayed transport address of a user.
type Allocation struct {
	User     string
	Protocol string // between client and server: "udp" or "tcp"
	Client   string // address and port that the server sees
	Relay    string // address and port that peers see
	Since    time.Time
}

// allocation is one that lives.
type allocation struct {
	Allocation
	username string // with which it was made; it goes on being good for it …
	key      []byte // … as this key does
}

// Server is a TURN server. It serves until Close.
type Server struct {
	cfg Config

	mu     sync.Mutex
	closed bool
	ports  map[*port]struct{}     // sockets that clients come in by: the UDP one and each TCP connection
	conns  int                    // of ports, the TCP connections
	live   map[string]*allocation // by protocol and client
	held   map[*port]string       // users whose allocations are being made
	change sync.Cond              // ports or live became fewer, or accepting ended
	accept bool                   // TCP connections are being accepted
}

// New starts a TURN server, which owns the sockets of the config from now on.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, ports: map[*port]struct{}{}, live: map[string]*allocation{}, held: map[*port]string{}}
	s.change.L = &s.mu
	if cfg.PacketConn != nil {
		if err := s.serve(newPort(s, cfg.PacketConn, "udp")); err != nil {
			err = fmt.Errorf("turn: serve UDP: %w", err)
			if cfg.Listener != nil {
				err = errors.Join(err, cfg.Listener.Close())
			}
			return nil, err
		}
	}
	if cfg.Listener != nil {
		s.accept = true
		go s.acceptAll()
	}
	return s, nil
}

// serve has Pion serve one socket. Each has a Pion server of its own, whose
// requests are then handled one after the other, see port.
func (s *Server) serve(p *port) error {
	if !s.add(p) {
		return errors.Join(errors.New("the server is closed or full"), p.PacketConn.Close())
	}
	_, err := turn.NewServer(turn.ServerConfig{
		Realm: s.cfg.Realm, LoggerFactory: quiet, AllocationLifetime: s.cfg.Lifetime,
		AuthHandler: p.authenticate, QuotaHandler: p.admit,
		EventHandler: turn.EventHandler{OnAllocationCreated: p.allocated, OnAllocationDeleted: p.released},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: p, PermissionHandler: p.permit,
			RelayAddressGenerator: relay{s.cfg.Relay, p}}},
	})
	if err != nil {
		s.forget(p)
		return errors.Join(err, p.PacketConn.Close())
	}
	return nil
}

func (s *Server) add(p *port) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if p.protocol == "tcp" {
		if s.conns >= s.cfg.MaxConns {
			return false
		}
		s.conns++
	}
	s.ports[p] = struct{}{}
	return true
}

func (s *Server) forget(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ports[p]; ok && p.protocol == "tcp" {
		s.conns--
	}
	delete(s.ports, p)
	s.change.Broadcast()
}

// acceptAgain is the pause after a connection could not be accepted.
const acceptAgain = 100 * time.Millisecond

// acceptAll serves TCP connections until the listener is closed.
func (s *Server) acceptAll() {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.accept = false
		s.change.Broadcast()
	}()
	for {
		c, err := s.cfg.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as no file descriptors, of which some will be free again
			s.cfg.Log.Error("turn.failed", "doing", "accept", "error", err.Error())
			time.Sleep(acceptAgain)
			continue
		}
		p := newPort(s, turn.NewSTUNConn(c), "tcp")
		p.idle = time.AfterFunc(s.cfg.FirstRequest, func() { s.closeUnused(p) })
		if err := s.serve(p); err != nil {
			p.idle.Stop()
			s.event("turn.refused", "", slog.String("client", c.RemoteAddr().String()), slog.Int("code", codeCapacity), slog.String("cause", "too many connections"))
		}
	}
}

// closeUnused ends a TCP connection that did not get to an allocation.
func (s *Server) closeUnused(p *port) {
	s.mu.Lock()
	used := p.used
	s.mu.Unlock()
	if !used {
		p.PacketConn.Close()
	}
}

// Allocations lists what lives, the oldest first.
func (s *Server) Allocations() []Allocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Allocation
	for _, a := range s.live {
		all = append(all, a.Allocation)
	}
	slices.SortFunc(all, func(a, b Allocation) int {
		if n := a.Since.Compare(b.Since); n != 0 {
			return n
		}
		if a.Relay < b.Relay {
			return -1
		}
		return 1
	})
	return all
}

// Close ends all allocations and connections and returns when nothing is left.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	if s.accept {
		errs = append(errs, s.cfg.Listener.Close())
	}
	for p := range s.ports {
		if err := p.PacketConn.Close(); !errors.Is(err, net.ErrClosed) { // it may have ended by itself
			errs = append(errs, err)
		}
	}
	for s.accept || len(s.ports) > 0 || len(s.live) > 0 {
		s.change.Wait()
	}
	s.mu.Unlock()
	return errors.Join(errs...)
}
