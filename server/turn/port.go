package turn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// STUN error codes that an allocation or a peer is refused with (RFC 8656 §18,
// RFC 8489 §14.8).
const (
	codeUnauthorized = int(stun.CodeUnauthorized)
	codeForbidden    = int(stun.CodeForbidden)
	codeQuota        = int(stun.CodeAllocQuotaReached)
	codeCapacity     = int(stun.CodeInsufficientCapacity)
)

// port is a socket that clients come in by. Pion reads a request from it and
// handles it on the same goroutine before it reads the next one. So while one
// of Pion's handlers runs, the request that it is about is at hand: that is how
// two secrets can be tried, of which Pion's interface has room for one.
type port struct {
	net.PacketConn
	srv      *Server
	protocol string

	from    net.Addr // of the request under way
	request []byte   // bytes of it
	key     []byte   // that it was signed with
	name    string   // username that it was signed as
	held    bool     // an allocation is reserved until it is made, see Server.held

	idle *time.Timer // closes a TCP connection that nobody uses
	used bool        // an allocation was made; srv.mu
	once sync.Once
}

func newPort(s *Server, c net.PacketConn, protocol string) *port {
	return &port{PacketConn: c, srv: s, protocol: protocol}
}

// ReadFrom gives Pion the next request. An error ends the port, and Pion then
// ends its allocations.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	if p.held { // and could not be made
		p.held = false
		p.srv.unreserve(p)
	}
	n, from, err := p.PacketConn.ReadFrom(b)
	if err != nil {
		p.once.Do(func() {
			if p.idle != nil {
				p.idle.Stop()
			}
			p.PacketConn.Close()
			p.srv.forget(p)
		})
		return n, from, err
	}
	p.from, p.request = from, b[:n]
	return n, from, nil
}

// place is the key of an allocation: the 5-tuple without what is the same for
// all of one protocol.
func (p *port) place(client net.Addr) string { return p.protocol + " " + client.String() }

// authenticate finds the secret that the request was signed with. What keeps an
// allocation alive, or opens it to a peer, is accepted with the credentials
// that the allocation was made with, also when those have run out or their
// secret was replaced: a call must not end because of its length.
func (p *port) authenticate(r *turn.RequestAttributes) (string, []byte, bool) {
	user, expiry, ok := parseUsername(r.Username)
	if !ok {
		return p.unauthorized(r.Username, "malformed")
	}
	if a := p.srv.at(p.place(r.SrcAddr)); a != nil && r.Method != stun.MethodAllocate && a.username == r.Username {
		return user, a.key, true
	}
	if !time.Now().Before(expiry) {
		return p.unauthorized(user, "expired")
	}
	for _, credential := range p.srv.cfg.Secrets.credentials(r.Username) {
		key := turn.GenerateAuthKey(r.Username, r.Realm, credential)
		m := &stun.Message{Raw: bytes.Clone(p.request)}
		if m.Decode() == nil && stun.MessageIntegrity(key).Check(m) == nil {
			p.key, p.name = key, r.Username
			return user, key, true
		}
	}
	return p.unauthorized(user, "wrong")
}

func (p *port) unauthorized(user, cause string) (string, []byte, bool) {
	p.srv.refused(p, user, codeUnauthorized, slog.String("cause", cause))
	return "", nil, false
}

// admit holds an allocation against the quotas and reserves it.
func (p *port) admit(user, _ string, _ net.Addr) bool {
	if cause := p.srv.reserve(p, user); cause != "" {
		p.srv.refused(p, user, codeQuota, slog.String("cause", cause))
		return false
	}
	return true
}

// permit decides whether a peer may be reached.
func (p *port) permit(client net.Addr, peer net.IP) bool {
	if reachable(peer, p.srv.cfg.Peers) {
		return true
	}
	user := ""
	if a := p.srv.at(p.place(client)); a != nil {
		user = a.User
	}
	p.srv.refused(p, user, codeForbidden, slog.String("peer", peer.String()))
	return false
}

// relay makes the sockets that face the peers: over UDP only. Media does not
// need RFC 6062's TCP to the peer, and connecting out is what a relay should
// not do for anybody.
type relay struct {
	turn.RelayAddressGenerator
	p *port
}

var errNoTCPRelay = errors.New("TCP to peers is not relayed")

func (r relay) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	conn, addr, err := r.RelayAddressGenerator.AllocatePacketConn(c)
	if err != nil {
		r.p.srv.refused(r.p, c.UserID, codeCapacity, slog.String("cause", err.Error()))
	}
	return conn, addr, err
}

func (r relay) AllocateListener(c turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	r.p.srv.refused(r.p, c.UserID, codeCapacity, slog.String("cause", errNoTCPRelay.Error()))
	return nil, nil, errNoTCPRelay
}

func (r relay) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCPRelay }

// at is the allocation of a client, nil if there is none.
func (s *Server) at(place string) *allocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[place]
}

// reserve counts an allocation before it is made, so that two that are made at
// once cannot both be the last. It says why there may be none.
func (s *Server) reserve(p *port, user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	total, own := len(s.live)+len(s.held), 0
	for _, u := range s.held {
		if u == user {
			own++
		}
	}
	for _, a := range s.live {
		if a.User == user {
			own++
		}
	}
	switch {
	case s.closed:
		return "closed"
	case own >= s.cfg.UserQuota:
		return "user quota"
	case total >= s.cfg.TotalQuota:
		return "total quota"
	}
	s.held[p], p.held = user, true
	return ""
}

func (s *Server) unreserve(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, p)
}

// allocated is told that an allocation was made.
func (p *port) allocated(client, _ net.Addr, _, user, _ string, relayed net.Addr, _ int) {
	s := p.srv
	a := &allocation{Allocation: Allocation{User: user, Protocol: p.protocol, Client: client.String(), Relay: relayed.String(),
		Since: time.Now()}, username: p.name, key: p.key}
	s.mu.Lock()
	p.used, p.held = true, false
	delete(s.held, p)
	s.live[p.place(client)] = a
	s.mu.Unlock()
	s.event("turn.allocated", user, slog.String("client", a.Client), slog.String("relay", a.Relay), slog.String("protocol", p.protocol))
}

// released is told that an allocation has ended. It is logged before the server
// forgets it, so that Close returns behind the last event.
func (p *port) released(client, _ net.Addr, _, user, _ string) {
	s := p.srv
	a := s.at(p.place(client))
	if a == nil {
		return
	}
	s.event("turn.released", user, slog.String("client", a.Client), slog.String("relay", a.Relay),
		slog.Duration("lived_ms", time.Since(a.Since)))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, p.place(client))
	s.change.Broadcast()
}

// refused logs what a client was not given. user is who it says it is.
func (s *Server) refused(p *port, user string, code int, attrs ...slog.Attr) {
	client := ""
	if p.from != nil {
		client = p.from.String()
	}
	const longest = 128 // an unknown client wrote it
	if len(user) > longest {
		user = user[:longest]
	}
	s.event("turn.refused", user, append([]slog.Attr{slog.String("client", client), slog.Int("code", code)}, attrs...)...)
}

func (s *Server) event(kind, user string, attrs ...slog.Attr) {
	s.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, kind, append([]slog.Attr{slog.String("user", user)}, attrs...)...)
}

// quiet drops Pion's own messages: they repeat the events, and name usernames.
var quiet = func() logging.LoggerFactory {
	f := logging.NewDefaultLoggerFactory()
	f.DefaultLogLevel = logging.LogLevelDisabled
	return f
}()
