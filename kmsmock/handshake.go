package kmsmock

import (
	"net"
	"slices"
	"time"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/pion/ice/v4"
	"github.com/pion/srtp/v3"
)

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
	t.watchClose(dconn, client)
}

// watchClose reads the DTLS connection until the peer or stop ends it.
func (t *mediaTransport) watchClose(dconn *dtls.Conn, client bool) {
	s := t.ep.obj.srv
	s.mu.Lock()
	channels := t.ep.channels
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if channels != nil && channels.transport == t {
			channels.run(dconn, client)
		}
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
		t.dtlsFailed()
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
	t.secured = true
	if !slices.ContainsFunc(t.ep.streams, func(t *mediaTransport) bool { return !t.secured }) {
		t.ep.presence.connected = true
		t.ep.changed("ConnectionStateChanged", true)
	}
	t.dtls(partDec, "CONNECTED")
	t.dtls(partEnc, "CONNECTED")
	t.startReports()
	for i := range t.ep.in {
		t.ep.in[i].since = time.Now().Add(time.Duration(i) * flowSpacing)
	}
	recheckPulls(t.ep.obj.pipeline().elements())
	t.ep.obj.pipeline().wakeHubs()
}

func (t *mediaTransport) closedByPeer() {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.ep.closed && t.ctx.Err() == nil {
		t.dtls(partDec, "CLOSED")
		t.dtls(partEnc, "CLOSED")
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
