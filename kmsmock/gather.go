package kmsmock

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/pion/ice/v4"
)

// A hostSocket is a UDP socket of one component on one address.
type hostSocket struct {
	host      hostAddress
	component int
	port      int
	conn      *probedConn // nil when no STUN server is set
	tcp       []candidateKind
	tcpPorts  []int
}

// openHosts opens the sockets of both components, gives those of component 1
// to the agent, and reports the host candidates: all of component 1, then all
// of component 2. Kurento names its interfaces anew for each stream, so that
// the second one to gather has every address twice.
func (t *mediaTransport) openHosts(agent *ice.Agent) error {
	names := t.networkInterfaces()
	hosts, err := t.ep.obj.srv.hostAddresses(names)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return fmt.Errorf("no address to gather candidates on")
	}
	times := 1
	if names != "" {
		times = t.place
	}
	for component := 1; component <= 2; component++ {
		for n := range times * len(hosts) {
			if err := t.openHost(agent, hosts[n%len(hosts)], n, len(hosts), component); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *mediaTransport) networkInterfaces() string {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	v, _ := getNetworkInterfaces(t.ep.obj)
	return v.(string)
}

// openHost makes the candidates of one component on the n-th of so many
// addresses. One that comes again has no active candidate of its own.
func (t *mediaTransport) openHost(agent *ice.Agent, host hostAddress, n, addresses, component int) error {
	s := t.ep.obj.srv
	udp, err := s.net.ListenUDP("udp", &net.UDPAddr{IP: host.ip.AsSlice(), Zone: host.ip.Zone()})
	if err != nil {
		return fmt.Errorf("open a socket for candidates: %w", err)
	}
	socket := &hostSocket{host: host, component: component, port: udp.LocalAddr().(*net.UDPAddr).Port}
	conn := net.PacketConn(udp)
	if t.stunServer != "" && host.ip.Is4() {
		socket.conn = newProbedConn(udp)
		conn = socket.conn
	}
	t.sockets = append(t.sockets, socket)
	var passive *passiveListener
	for _, kind := range kindsOfHost(t.tcp) {
		port := socket.port
		if n >= addresses && kind == kindTCPActive {
			continue
		}
		switch kind {
		case kindTCPActive:
			port = discardPort
		case kindTCPPassive:
			if passive, err = t.listenPassive(host.ip, component); err == nil {
				port = passive.port
			} else {
				port = t.textPort(component, n)
			}
		}
		if kind != kindUDP {
			socket.tcp, socket.tcpPorts = append(socket.tcp, kind), append(socket.tcpPorts, port)
		}
		t.reportHost(socket, kind, n%addresses, port)
	}
	return t.attach(agent, socket, conn, passive)
}

// textPort is the port of a passive candidate where there is no TCP. Endpoints
// that gather at one instant do so in any order: drawn from the server's source
// of chance, it would make ids depend on that.
func (t *mediaTransport) textPort(component, n int) int {
	o := t.ep.obj
	return 1024 + newDice(o.srv.cfg.Seed, fmt.Sprintf("port %d %d %d %d", o.serial, t.id, component, n)).IntN(64511)
}

func (t *mediaTransport) reportHost(h *hostSocket, kind candidateKind, n, port int) {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ep.closed {
		return
	}
	foundation := n*len(kindsOfHost(t.tcp)) + 1
	switch kind {
	case kindTCPActive:
		foundation++
	case kindTCPPassive:
		foundation += 2
	}
	text := func(address string) string {
		return candidateText(strconv.Itoa(foundation), h.component, kind.transport,
			kind.priority(preferHost, h.host.position, h.component), address, port, "host", nil, kind.tcpType)
	}
	// An external address is written over the candidate on its way out only.
	t.foundCandidate(localCandidate{component: h.component, address: h.host.text(), port: port, tcp: kind != kindUDP,
		text: text(h.host.external(t.ep.obj)), pair: text(h.host.text())})
}

// attach gives the sockets to who reads them.
func (t *mediaTransport) attach(agent *ice.Agent, h *hostSocket, udp net.PacketConn, passive *passiveListener) error {
	if h.component == 2 {
		t.second.serve(udp, secondPatience, func() { _ = udp.Close() })
		if passive != nil {
			t.second.serve(passive.conn, 0, passive.close)
		}
		return nil
	}
	c, err := ice.NewCandidateHost(&ice.CandidateHostConfig{Network: "udp", Address: h.host.text(), Port: h.port,
		Component: ice.ComponentRTP, Priority: uint32(kindUDP.priority(preferHost, h.host.position, 1))})
	if err == nil {
		err = agent.AddVirtualCandidate(c, udp)
	}
	if err != nil {
		_ = udp.Close()
		if passive != nil {
			passive.close()
		}
		return fmt.Errorf("add a host candidate: %w", err)
	}
	if passive == nil {
		return nil
	}
	t.listeners = append(t.listeners, passive)
	tcp, err := ice.NewCandidateHost(&ice.CandidateHostConfig{Network: "tcp", Address: h.host.text(), Port: passive.port,
		Component: ice.ComponentRTP, TCPType: ice.TCPTypePassive,
		Priority: uint32(kindTCPPassive.priority(preferHost, h.host.position, 1))})
	if err == nil {
		err = agent.AddVirtualCandidate(tcp, passive.conn)
	}
	if err != nil {
		return fmt.Errorf("add a TCP candidate: %w", err)
	}
	return nil
}

// discover asks the STUN and TURN servers, whatever else happens meanwhile,
// and ends gathering.
func (t *mediaTransport) discover() {
	deadline := time.Now().Add(t.ep.obj.srv.pace.serverTimeout)
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		t.probe(deadline)
	}()
	if t.turn != nil {
		select {
		case <-probed:
		case <-time.After(probePatience):
		}
		t.relay(*t.turn)
	}
	<-probed
	t.finish()
}

// hosted notes that host candidates are there: checks can begin.
func (t *mediaTransport) hosted() {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ice.hosted = true
	if t.turn != nil || t.stunServer != "" {
		t.connecting()
	}
}
