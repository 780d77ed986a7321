package kmsmock

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// RestartTime is how long a killed Kurento takes to listen again, as recorded.
const RestartTime = 120 * time.Millisecond

// Kill is the death of the process: connections end without a close frame, new
// ones are refused, objects and sessions are gone, media stops without a word
// to the peers. Restart ends that state.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crash("killed")
}

// Restart kills the server if it lives and starts it again after a while, at
// the same addresses, with another server id.
func (s *Server) Restart(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crash("restarted")
	life := s.life
	s.later(after, func() {
		if s.crashed && s.life == life {
			s.begin()
		}
	})
}

// later runs f with the lock held when d has passed, unless the server is
// closed by then. The lock is held.
func (s *Server) later(d time.Duration, f func()) {
	if s.closed {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.timers, t)
		if !s.closed {
			f()
		}
	})
	s.timers[t] = true
}

// Refuse refuses new connections for a while; those that are open go on.
func (s *Server) Refuse(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Info("kms.fault", "type", "refuse")
	s.refusals++
	n := s.refusals
	s.refusing = true
	s.openGates()
	s.later(d, func() {
		if n == s.refusals {
			s.refusing = false
			s.openGates()
		}
	})
}

// crash is the end of the process. The lock is held.
func (s *Server) crash(why string) {
	if s.crashed || s.closed {
		return
	}
	s.crashed = true
	s.log.Error("kms.crashed", "error", why)
	s.cutAll()
	s.openGates()
	for _, o := range slices.Backward(s.sortedObjects()) {
		if o != s.manager {
			o.dead = true
			s.destroy(o)
		}
	}
	s.sessions, s.bound = map[string]*session{}, map[string]*conn{}
	s.cache, s.cacheQueue = map[cacheKey]*cached{}, nil
	s.life++
}

// accident is where Kurento crashes. With NoCrash it returns the error instead.
func (s *Server) accident(what string, instead error) error {
	if s.cfg.NoCrash {
		return instead
	}
	s.crash(what)
	return nil
}

// begin is the start of another process. What only a process remembers is new:
// ids, certificates, the numbers of GStreamer's elements, the slow first call.
func (s *Server) begin() {
	s.crashed = false
	s.gstNames, s.certificates = map[string]int{}, map[string]*tls.Certificate{}
	s.dtlsCount, s.warmEndpoint, s.warmSDP = 0, false, false
	delete(s.objects, s.manager.id)
	s.serverID = s.uuid()
	s.manager = newManager(s)
	s.log.Info("kms.started", "server", s.serverID)
	s.openGates()
}

// openGates opens or shuts the listeners as the server's state asks for. The
// lock is held.
func (s *Server) openGates() {
	for _, g := range s.gates {
		g.set(!s.crashed && !s.refusing)
	}
}

// A gate is a listener that can be shut for a while. A TCP listener is closed
// then, so that clients are refused as by a host where nothing listens, and
// opened again at its address. Connections of any other are cut at once.
type gate struct {
	addr net.Addr
	tcp  bool

	mu     sync.Mutex
	inner  net.Listener
	open   bool
	closed bool
	change chan struct{} // closed at the next change
}

func newGate(l net.Listener) *gate {
	_, tcp := l.(*net.TCPListener)
	return &gate{addr: l.Addr(), tcp: tcp, inner: l, open: true, change: make(chan struct{})}
}

func (g *gate) Addr() net.Addr { return g.addr }

// Accept returns the next connection that comes while the gate is open.
func (g *gate) Accept() (net.Conn, error) {
	for {
		l, wait, err := g.listener()
		if err != nil {
			return nil, err
		}
		if l == nil {
			<-wait
			continue
		}
		c, err := l.Accept()
		switch open := g.isOpen(); {
		case err == nil && open:
			return c, nil
		case err == nil:
			_ = c.Close()
		case open && !g.replaced(l), !g.tcp:
			return nil, err
		}
	}
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

func (g *gate) replaced(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inner != l
}

// listener is what there is to accept from, or what to wait for.
func (g *gate) listener() (net.Listener, <-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, net.ErrClosed
	}
	if g.tcp && g.open && g.inner == nil {
		l, err := net.Listen("tcp", g.addr.String())
		if err != nil {
			return nil, nil, fmt.Errorf("listen again: %w", err)
		}
		g.inner = l
	}
	if g.inner == nil {
		return nil, g.change, nil
	}
	return g.inner, nil, nil
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == open || g.closed {
		return
	}
	g.open = open
	if g.tcp && !open && g.inner != nil {
		_ = g.inner.Close()
		g.inner = nil
	}
	close(g.change)
	g.change = make(chan struct{})
}

// Close ends Accept for good.
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	close(g.change)
	g.change = make(chan struct{})
	if g.inner == nil {
		return nil
	}
	return g.inner.Close()
}
