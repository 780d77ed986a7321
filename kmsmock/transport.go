package kmsmock

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
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
	// stunTimeout is how long gathering waits for a STUN or TURN server.
	stunTimeout = 2050 * time.Millisecond
	// maxDatagram is more than any UDP packet of a WebRTC peer.
	maxDatagram = 2048
)

// A mediaTransport carries the media of one WebRtcEndpoint: ICE, DTLS and SRTP
// by Pion's libraries, over one socket per address. One goroutine reads the
// socket and does everything a packet needs until it is sent on.
type mediaTransport struct {
	ep     *rtcEndpoint
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by the server's lock.
	agent       *ice.Agent
	pending     []ice.Candidate // remote candidates from before the agent
	remoteKnown bool

	remote   chan struct{} // closed when the peer's credentials are known
	selected chan struct{} // closed when ICE has a pair
	done     chan struct{} // closed when run has returned
	once     sync.Once     // of selected

	muted     atomic.Bool  // nothing goes out any more
	reporting atomic.Bool  // the media state is CONNECTED
	lastHeard atomic.Int64 // last RTP or RTCP of the peer, ns since 1970

	srtpIn atomic.Pointer[srtp.Context]
	dtlsIn *packetio.Buffer
	receiver
	sender
}

func newMediaTransport(ep *rtcEndpoint) *mediaTransport {
	t := &mediaTransport{
		ep: ep, dtlsIn: packetio.NewBuffer(),
		remote: make(chan struct{}), selected: make(chan struct{}), done: make(chan struct{}),
	}
	// Not the server's context: a transport is muted before it is cancelled.
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// know tells the transport that the peer's credentials are there. The lock is held.
func (t *mediaTransport) know() {
	if !t.remoteKnown && t.ep.ice.ufrag != "" {
		t.remoteKnown = true
		close(t.remote)
	}
}

// addRemote takes a candidate of the peer. The lock is held.
func (t *mediaTransport) addRemote(c ice.Candidate) {
	if t.agent == nil {
		t.pending = append(t.pending, c)
		return
	}
	_ = t.agent.AddRemoteCandidate(c)
}

// stop ends the transport without a word to the peer. It is called without the
// lock and returns when nothing runs any more.
func (t *mediaTransport) stop() {
	t.muted.Store(true)
	t.cancel()
	t.stopReports()
	s := t.ep.obj.srv
	s.mu.Lock()
	started := t.ep.ice.gathering
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
	agent, err := t.gather()
	if err != nil {
		t.log("gather", err)
		return
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer func() { _ = agent.GracefulClose() }()
	if !t.await(t.remote) {
		return
	}
	conn, err := t.start(agent)
	if err != nil {
		t.log("start ICE", err)
		return
	}
	reader.Go(func() { t.read(conn) })
	if t.await(t.selected) {
		t.secure(agent, conn)
	}
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

// gather makes the ICE agent and reports its candidates.
func (t *mediaTransport) gather() (*ice.Agent, error) {
	agent, err := ice.NewAgentWithOptions(t.agentOptions()...)
	if err != nil {
		return nil, err
	}
	gathered := make(chan struct{})
	if err := t.watch(agent, gathered); err != nil {
		_ = agent.GracefulClose()
		return nil, err
	}
	s := t.ep.obj.srv
	s.mu.Lock()
	t.agent = agent
	for _, c := range t.pending {
		_ = agent.AddRemoteCandidate(c)
	}
	t.pending = nil
	s.mu.Unlock()
	if err := agent.GatherCandidates(); err != nil {
		_ = agent.GracefulClose()
		return nil, err
	}
	if t.await(gathered) {
		s.mu.Lock()
		t.ep.gathered()
		s.mu.Unlock()
	}
	return agent, nil
}

func (t *mediaTransport) watch(agent *ice.Agent, gathered chan struct{}) error {
	s := t.ep.obj.srv
	err := agent.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			close(gathered)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		t.ep.found(c)
	})
	if err != nil {
		return err
	}
	return agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) {
		t.once.Do(func() { close(t.selected) })
	})
}

func (t *mediaTransport) agentOptions() []ice.AgentOption {
	s, names := t.ep.obj.srv, t.ep.obj.srv.cfg.Interfaces
	options := []ice.AgentOption{
		ice.WithNet(s.net), ice.WithLocalCredentials(t.ep.id.ufrag, t.ep.id.pwd),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled), ice.WithDisableActiveTCP(),
		// Kurento reports neither a vanished peer nor a late one.
		ice.WithDisconnectedTimeout(0), ice.WithFailedTimeout(0),
		ice.WithCheckInterval(checkInterval), ice.WithKeepaliveInterval(keepalive), ice.WithMaxBindingRequests(maxChecks),
		ice.WithSTUNGatherTimeout(stunTimeout),
		// The address ::1 was never reported, even on the loopback interface.
		ice.WithIPFilter(func(ip net.IP) bool { return !ip.Equal(net.IPv6loopback) }),
		ice.WithInterfaceFilter(func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }),
		ice.WithLoggerFactory(quiet{}),
	}
	if len(names) > 0 {
		options = append(options, ice.WithIncludeLoopback())
	}
	return options
}

// found reports a candidate of the agent. The lock is held.
func (ep *rtcEndpoint) found(c ice.Candidate) {
	if !ep.closed && c.Type() == ice.CandidateTypeHost {
		ep.foundHost(c.Address(), c.Port())
	}
}

// start begins the checks. The side that made the offer is in control.
func (t *mediaTransport) start(agent *ice.Agent) (*ice.Conn, error) {
	s := t.ep.obj.srv
	s.mu.Lock()
	ufrag, pwd, offered := t.ep.ice.ufrag, t.ep.ice.pwd, t.ep.offered
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
	proceed := !t.ep.closed && t.ep.connected(pair.Local, pair.Remote)
	client := t.ep.isClient()
	s.mu.Unlock()
	if proceed {
		t.shake(conn, client)
	}
	<-t.ctx.Done()
}

// isClient tells which side opens DTLS: the one whose setup is active. The
// lock is held.
func (ep *rtcEndpoint) isClient() bool {
	for _, m := range ep.remote.media {
		if setup := m.attr(ep.remote, "setup"); setup != "" {
			return setup != "active"
		}
	}
	return true
}

func (t *mediaTransport) shake(conn *ice.Conn, client bool) {
	dconn, err := t.handshake(conn, client)
	if err != nil {
		t.brokeDown(err)
		return
	}
	if err := t.keys(dconn, client); err != nil {
		_ = dconn.Close()
		t.brokeDown(err)
		return
	}
	t.established()
	t.watchClose(dconn)
}

// watchClose reads the DTLS connection until the peer or stop ends it.
func (t *mediaTransport) watchClose(dconn *dtls.Conn) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, maxDatagram)
		for {
			if _, err := dconn.Read(buf); err != nil {
				return
			}
		}
	}()
	if t.await(ended) {
		t.closedByPeer()
		<-t.ctx.Done()
	}
	_ = dconn.Close()
	<-ended
}

func openDTLS(pipe net.PacketConn, peer net.Addr, client bool, common []dtls.Option) (*dtls.Conn, error) {
	if client {
		options := make([]dtls.ClientOption, len(common))
		for i, o := range common {
			options[i] = o
		}
		return dtls.ClientWithOptions(pipe, peer, options...)
	}
	options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	for _, o := range common {
		options = append(options, o)
	}
	return dtls.ServerWithOptions(pipe, peer, options...)
}

func (t *mediaTransport) handshake(conn *ice.Conn, client bool) (*dtls.Conn, error) {
	options := []dtls.Option{
		dtls.WithCertificates(t.ep.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithInsecureSkipVerify(true), // Kurento checks no fingerprint
		dtls.WithFlightInterval(flightInterval),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithLoggerFactory(quiet{}),
	}
	pipe := dtlsnet.PacketConnFromConn(&dtlsPipe{t: t, conn: conn})
	dconn, err := openDTLS(pipe, conn.RemoteAddr(), client, options)
	if err != nil {
		return nil, err
	}
	if err := dconn.HandshakeContext(t.ctx); err != nil {
		_ = dconn.Close()
		return nil, err
	}
	return dconn, nil
}

func (t *mediaTransport) brokeDown(err error) {
	t.log("DTLS", err)
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.ep.closed && t.ctx.Err() == nil {
		t.ep.dtlsFailed()
	}
}

// keys sets SRTP up with what DTLS agreed on.
func (t *mediaTransport) keys(dconn *dtls.Conn, client bool) error {
	state, _ := dconn.ConnectionState()
	cfg := &srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return err
	}
	in, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile,
		srtp.SRTPReplayProtection(256), srtp.SRTCPReplayProtection(64))
	if err != nil {
		return err
	}
	out, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return err
	}
	t.srtpIn.Store(in)
	t.open(out)
	return nil
}

func (t *mediaTransport) established() {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ep.closed {
		return
	}
	t.ep.presence.connected = true
	t.ep.changed("ConnectionStateChanged", true)
	t.ep.dtls(partDec, "CONNECTED")
	t.ep.dtls(partEnc, "CONNECTED")
	t.startReports(s.pace.reportInterval)
	for i := range t.ep.in {
		t.ep.in[i].since = time.Now()
	}
	s.recheckPulls()
	s.wakeHubs()
}

func (t *mediaTransport) closedByPeer() {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.ep.closed && t.ctx.Err() == nil {
		t.ep.dtls(partDec, "CLOSED")
		t.ep.dtls(partEnc, "CLOSED")
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

// A dtlsPipe is the socket as DTLS sees it.
type dtlsPipe struct {
	t    *mediaTransport
	conn *ice.Conn
}

func (p *dtlsPipe) Read(b []byte) (int, error) {
	n, _, err := p.t.dtlsIn.Read(b, nil)
	return n, err
}

func (p *dtlsPipe) Write(b []byte) (int, error) {
	if p.t.muted.Load() {
		return len(b), nil
	}
	return p.conn.Write(b)
}

func (p *dtlsPipe) Close() error                       { return p.t.dtlsIn.Close() }
func (p *dtlsPipe) LocalAddr() net.Addr                { return p.conn.LocalAddr() }
func (p *dtlsPipe) RemoteAddr() net.Addr               { return p.conn.RemoteAddr() }
func (p *dtlsPipe) SetDeadline(d time.Time) error      { return p.t.dtlsIn.SetReadDeadline(d) }
func (p *dtlsPipe) SetReadDeadline(d time.Time) error  { return p.t.dtlsIn.SetReadDeadline(d) }
func (p *dtlsPipe) SetWriteDeadline(_ time.Time) error { return nil }

// quiet discards the logs of Pion's libraries.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, &strings.Builder{})
}
