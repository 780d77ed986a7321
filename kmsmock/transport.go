package kmsmock

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/packetio"
)

// The intervals are crooked on purpose: in virtual time a round one falls on
// the very instant at which the peer's packets arrive over links with round
// delays, and what happens in one instant happens in any order.
const (
	// checkInterval and maxChecks make ICE go on checking a candidate for about
	// as long as Kurento does before it gives up.
	checkInterval = 50_337 * time.Microsecond
	maxChecks     = 150
	// keepalive is the interval of checks on the selected pair.
	keepalive = 2_003_171 * time.Microsecond
	// flightInterval is after how long DTLS sends a flight again.
	flightInterval = 1_001_713 * time.Microsecond
	// maxDatagram is more than any UDP packet of a WebRTC peer.
	maxDatagram = 2048
)

// A mediaTransport carries the media of one stream of a WebRtcEndpoint, which
// is all of it when the m-lines are bundled: ICE, DTLS and SRTP by Pion's
// libraries. One goroutine reads the sockets and does everything a packet needs
// until it is sent on.
type mediaTransport struct {
	ep     *rtcEndpoint
	id     int       // of the stream, from 1
	name   string    // of the stream's connection in Kurento
	lines  []int     // m-lines
	local  iceSecret // what the stream's checks carry
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by the server's lock.
	ice         iceState
	dtlsState   [2]string // of dtlssrtpdec and dtlssrtpenc, "" before there is one
	dtlsIndex   int
	secured     bool
	agent       *ice.Agent
	pending     []ice.Candidate // remote candidates from before the agent
	dialling    []string        // remote candidates that dial in
	remoteKnown bool

	// Set when run begins.
	place      int  // among the streams that gather, from 1
	tcp        bool // gather TCP candidates
	stunServer string
	turn       *turnServer
	sockets    []*hostSocket
	listeners  []*passiveListener
	second     *secondComponent
	secondSeen atomic.Bool

	remote   chan struct{} // closed when the peer's credentials are known
	selected chan struct{} // closed when ICE has a pair
	done     chan struct{} // closed when run has returned
	once     sync.Once     // of selected

	muted     atomic.Bool  // nothing goes out any more
	reporting atomic.Bool  // the media state is CONNECTED
	lastHeard atomic.Int64 // last RTP or RTCP of the peer, ns since 1970

	srtpIn atomic.Pointer[srtp.Context]
	clear  atomic.Bool // RTP comes as it is
	dtlsIn *packetio.Buffer
	receiver
	sender
}

// An iceSecret is the user name fragment and password of one side.
type iceSecret struct{ ufrag, pwd string }

func newMediaTransport(ep *rtcEndpoint, id int, name string, local iceSecret) *mediaTransport {
	t := &mediaTransport{
		ep: ep, id: id, name: name, local: local, dtlsIn: packetio.NewBuffer(),
		remote: make(chan struct{}), selected: make(chan struct{}), done: make(chan struct{}),
	}
	t.second = &secondComponent{t: t}
	// Not the server's context: a transport is muted before it is cancelled.
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// setRemote takes the peer's credentials from the description of the stream's
// first m-line that has them. The lock is held.
func (t *mediaTransport) setRemote(remote *sdpText) {
	for _, line := range t.lines {
		if line < len(remote.media) && t.ice.ufrag == "" {
			m := remote.media[line]
			t.ice.ufrag, t.ice.pwd = m.attr(remote, "ice-ufrag"), m.attr(remote, "ice-pwd")
		}
		if line < len(remote.media) && remote.media[line].kind == "video" {
			t.announce(remote.media[line])
		}
	}
	if !t.remoteKnown && t.ice.ufrag != "" {
		t.remoteKnown = true
		close(t.remote)
	}
}

// announce notes the SSRC of the peer's video; only that one gets estimates.
func (t *mediaTransport) announce(m *sdpMedia) {
	text, _ := attr(m.attrs, "ssrc")
	number, _, _ := strings.Cut(text, " ")
	if ssrc, err := strconv.ParseUint(number, 10, 32); err == nil {
		t.statsMu.Lock()
		defer t.statsMu.Unlock()
		t.announced = uint32(ssrc)
	}
}

// stop ends the transport without a word to the peer. It is called without the
// lock and returns when nothing runs any more.
func (t *mediaTransport) stop() {
	t.muted.Store(true)
	t.cancel()
	t.stopReports()
	s := t.ep.obj.srv
	s.mu.Lock()
	started := t.ice.gathering
	s.mu.Unlock()
	if started {
		<-t.done
	}
	_ = t.dtlsIn.Close()
}

// run is the life of a transport from gathering on.
func (t *mediaTransport) run() {
	defer close(t.done)
	if !t.sleep(t.ep.obj.srv.pace.gather) {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	agent, err := t.gather()
	if err != nil {
		t.log("gather", err)
		return
	}
	defer t.closeSockets(agent)
	work.Go(t.discover)
	// The agent takes remote candidates in the background: they shall be there
	// before the checks begin, else how many there are at first is chance.
	if !t.await(t.remote) || !t.sleep(time.Microsecond) {
		return
	}
	conn, err := t.start(agent)
	if err != nil {
		t.log("start ICE", err)
		return
	}
	work.Go(func() { t.read(conn) })
	if t.await(t.selected) {
		t.secure(agent, conn)
	}
	<-t.ctx.Done()
}

// closeSockets ends ICE. Nothing is said to the peer.
func (t *mediaTransport) closeSockets(agent *ice.Agent) {
	_ = agent.GracefulClose()
	for _, l := range t.listeners {
		l.close()
	}
	t.second.close()
}

func (t *mediaTransport) log(what string, err error) {
	if t.ctx.Err() == nil {
		t.ep.obj.srv.log.Error("kms.media.failed", "object", t.ep.obj.id, "step", what, "error", err)
	}
}

func (t *mediaTransport) sleep(d time.Duration) bool {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-t.ctx.Done():
		}
	}
	return t.ctx.Err() == nil
}

func (t *mediaTransport) await(ch <-chan struct{}) bool {
	select {
	case <-ch:
	case <-t.ctx.Done():
	}
	return t.ctx.Err() == nil
}

// gather makes the ICE agent and reports its host candidates.
func (t *mediaTransport) gather() (*ice.Agent, error) {
	agent, err := ice.NewAgentWithOptions(t.agentOptions()...)
	if err != nil {
		return nil, err
	}
	err = agent.OnSelectedCandidatePairChange(func(ice.Candidate, ice.Candidate) {
		t.once.Do(func() { close(t.selected) })
	})
	if err != nil {
		t.closeSockets(agent)
		return nil, err
	}
	t.configure(agent)
	if err := t.openHosts(agent); err != nil {
		t.closeSockets(agent)
		return nil, err
	}
	t.hosted()
	return agent, nil
}

// configure takes what the endpoint's properties say when gathering begins.
func (t *mediaTransport) configure(agent *ice.Agent) {
	s, o := t.ep.obj.srv, t.ep.obj
	s.mu.Lock()
	defer s.mu.Unlock()
	t.agent = agent
	for _, c := range t.pending {
		_ = agent.AddRemoteCandidate(c)
	}
	t.pending = nil
	t.tcp = o.props["iceTcp"] != false
	if address, _ := o.props["stunServerAddress"].(string); address != "" {
		port, _ := o.props["stunServerPort"].(int64)
		t.stunServer = net.JoinHostPort(address, strconv.FormatInt(port, 10))
	}
	if server, ok := turnServerOf(o); ok {
		t.turn = &server
	}
}

func (t *mediaTransport) agentOptions() []ice.AgentOption {
	return []ice.AgentOption{
		ice.WithNet(t.ep.obj.srv.net), ice.WithLocalCredentials(t.local.ufrag, t.local.pwd),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6, ice.NetworkTypeTCP4, ice.NetworkTypeTCP6}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled), ice.WithDisableActiveTCP(),
		// Kurento reports neither a vanished peer nor a late one.
		ice.WithDisconnectedTimeout(0), ice.WithFailedTimeout(0),
		ice.WithCheckInterval(checkInterval), ice.WithKeepaliveInterval(keepalive), ice.WithMaxBindingRequests(maxChecks),
		ice.WithRelayAcceptanceMinWait(0), ice.WithSrflxAcceptanceMinWait(0), ice.WithPrflxAcceptanceMinWait(0),
		ice.WithLoggerFactory(quiet{}),
	}
}

// start begins the checks. The side that made the offer is in control.
func (t *mediaTransport) start(agent *ice.Agent) (*ice.Conn, error) {
	s := t.ep.obj.srv
	s.mu.Lock()
	ufrag, pwd, offered := t.ice.ufrag, t.ice.pwd, t.ep.offered
	s.mu.Unlock()
	if offered {
		return agent.StartDial(ufrag, pwd)
	}
	return agent.StartAccept(ufrag, pwd)
}

// secure reports the selected pair, shakes hands and then waits for the end.
func (t *mediaTransport) secure(agent *ice.Agent, conn *ice.Conn) {
	pair, err := agent.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		t.log("read the selected pair", err)
		return
	}
	t.sendMu.Lock()
	t.write = func(b []byte) error { _, err := conn.Write(b); return err }
	t.sendMu.Unlock()
	s := t.ep.obj.srv
	s.mu.Lock()
	proceed := !t.ep.closed && t.connected(pair.Local, pair.Remote)
	client := t.ep.isClient()
	s.mu.Unlock()
	if proceed {
		t.shake(conn, client)
	}
}

// read takes every datagram of the peer that is not STUN.
func (t *mediaTransport) read(conn *ice.Conn) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		t.datagram(buf[:n], time.Now())
	}
}

// datagram sorts by the first byte (RFC 7983) and, between RTP and RTCP, by
// the packet type (RFC 5761).
func (t *mediaTransport) datagram(b []byte, now time.Time) {
	switch {
	case len(b) < 2:
	case b[0] >= 20 && b[0] <= 63:
		_, _ = t.dtlsIn.Write(b, nil)
	case b[0] < 128 || b[0] > 191:
	case b[1] >= 192 && b[1] <= 223:
		t.readRTCP(b, now)
	default:
		t.readRTP(b, now)
	}
}

// quiet discards the logs of Pion's libraries.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, &strings.Builder{})
}
