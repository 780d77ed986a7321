package kmsmock

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/turn/v5"
)

// A turnServer is what a TURN URL says.
type turnServer struct {
	user, password, address string
	transport               string // udp, tcp or tls
}

// turnServerOf reads the TURN URL of an endpoint, if it has one that Kurento
// understands. The lock is held.
func turnServerOf(o *mediaObject) (turnServer, bool) {
	url, _ := o.props["turnUrl"].(string)
	parts := turnURL.FindStringSubmatch(url)
	if parts == nil {
		return turnServer{}, false
	}
	s := turnServer{user: parts[1], password: parts[2], address: net.JoinHostPort(parts[3], parts[4]), transport: parts[6]}
	if s.transport == "" {
		s.transport = "udp"
	}
	return s, true
}

// stream tells whether the server is reached over TCP.
func (s turnServer) stream() bool { return s.transport != "udp" }

// An allocation is a relayed socket at a TURN server.
type allocation struct {
	client *turn.Client
	base   net.PacketConn
	conn   net.PacketConn
}

func (a *allocation) close() {
	_ = a.conn.Close()
	a.client.Close()
	_ = a.base.Close()
}

// relay makes an allocation for each component on each IPv4 address and
// reports it. What fails, fails silently, as in Kurento.
func (t *mediaTransport) relay(server turnServer) {
	pace := &t.ep.obj.srv.pace
	ctx, cancel := context.WithTimeout(t.ctx, pace.serverTimeout)
	defer cancel()
	step, due := pace.relayStep, time.Now().Add(pace.firstRelay)
	if server.stream() {
		step = pace.relayStepTCP
	}
	number := t.countServer()
	for _, h := range t.sockets {
		if !h.host.ip.Is4() || ctx.Err() != nil {
			continue
		}
		a, err := t.allocate(ctx, server, h)
		if err != nil && (server.stream() || ctx.Err() != nil) {
			return
		}
		t.sleep(time.Until(due))
		due = due.Add(step)
		if err == nil {
			t.foundRelay(server, h, a, number)
		}
	}
	t.sleep(time.Until(due))
}

func (t *mediaTransport) countServer() int {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ice.servers++
	return t.ice.servers - 1
}

// relayAgain is for a later call to gather. Kurento then asks from the same
// sockets, so that a server refuses it a second allocation.
func (t *mediaTransport) relayAgain(server turnServer) {
	s := t.ep.obj.srv
	s.mu.Lock()
	relayed := slices.ContainsFunc(t.ice.found, func(c localCandidate) bool { return c.relayed })
	s.mu.Unlock()
	switch {
	case !relayed:
		t.relay(server)
	case server.stream():
		t.sleep(s.pace.firstRelay + 2*s.pace.relayStepTCP)
	default:
		t.sleep(s.pace.serverTimeout)
	}
}

// allocate makes one allocation; ctx bounds the wait for the server.
func (t *mediaTransport) allocate(ctx context.Context, server turnServer, h *hostSocket) (*allocation, error) {
	base, err := t.dialTURN(ctx, server, h)
	if err != nil {
		return nil, err
	}
	client, err := turn.NewClient(&turn.ClientConfig{Conn: base, TURNServerAddr: server.address, Username: server.user,
		Password: server.password, Net: t.ep.obj.srv.net, LoggerFactory: quiet{}})
	if err != nil {
		_ = base.Close()
		return nil, fmt.Errorf("make a TURN client: %w", err)
	}
	conn, err := net.PacketConn(nil), client.Listen()
	if err == nil {
		conn, err = client.AllocateWithContext(ctx)
	}
	if err != nil {
		client.Close()
		_ = base.Close()
		return nil, fmt.Errorf("allocate: %w", err)
	}
	return &allocation{client: client, base: base, conn: conn}, nil
}

// dialTURN opens the socket to the server, until ctx's deadline. What a URL calls tls is plain TCP,
// as it is in Kurento.
func (t *mediaTransport) dialTURN(ctx context.Context, server turnServer, h *hostSocket) (net.PacketConn, error) {
	n := t.ep.obj.srv.net
	if !server.stream() {
		conn, err := n.ListenUDP("udp4", &net.UDPAddr{IP: h.host.ip.AsSlice()})
		if err != nil {
			return nil, fmt.Errorf("open a socket for TURN: %w", err)
		}
		return conn, nil
	}
	// A server that does not even refuse would hold up the endpoint's end for
	// minutes: nothing waits for it longer than for an answer.
	deadline, _ := ctx.Deadline()
	conn, err := n.CreateDialer(&net.Dialer{Deadline: deadline}).Dial("tcp4", server.address)
	if err != nil {
		return nil, fmt.Errorf("connect to the TURN server: %w", err)
	}
	return turn.NewSTUNConn(newQueuedConn(conn)), nil
}

// foundRelay reports a relay candidate and puts its socket to use.
func (t *mediaTransport) foundRelay(server turnServer, h *hostSocket, a *allocation, number int) {
	relayed := a.conn.LocalAddr().(*net.UDPAddr)
	preference, port, foundation := preferRelayUDP, h.port, len(kindsOfHost(t.tcp))*2+1
	if server.stream() {
		preference, port, foundation = preferRelayTCP, discardPort, foundation-1
	}
	prio := priority(preference, kindUDP.direction, number, h.host.position, h.component)
	if err := t.attachRelay(h, a, relayed, prio); err != nil {
		a.close()
		return
	}
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ep.closed {
		return
	}
	t.foundCandidate(localCandidate{component: h.component, address: relayed.IP.String(), port: relayed.Port, relayed: true,
		text: candidateText(strconv.Itoa(foundation), h.component, "UDP", prio, relayed.IP.String(), relayed.Port, "relay",
			&relatedAddress{h.host.text(), port}, "")})
	t.connecting()
}

func (t *mediaTransport) attachRelay(h *hostSocket, a *allocation, relayed *net.UDPAddr, prio int) error {
	if h.component == 2 {
		t.second.serve(a.conn, secondPatience, a.close)
		return nil
	}
	c, err := ice.NewCandidateRelay(&ice.CandidateRelayConfig{Network: "udp", Address: relayed.IP.String(), Port: relayed.Port,
		Component: ice.ComponentRTP, Priority: uint32(prio), RelAddr: h.host.text(), RelPort: h.port, RelayProtocol: "udp",
		OnClose: func() error {
			a.client.Close()
			return a.base.Close()
		}})
	if err != nil {
		return fmt.Errorf("make a relay candidate: %w", err)
	}
	if err := t.agent.AddVirtualCandidate(c, a.conn); err != nil {
		return fmt.Errorf("add a relay candidate: %w", err)
	}
	return nil
}
