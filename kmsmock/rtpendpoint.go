package kmsmock

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/srtp/v3"
)

// An rtpSession is what an RtpEndpoint has in place of ICE and DTLS: a pair of
// UDP ports for each medium, and keys out of the description if it has any.
type rtpSession struct {
	ep      *rtcEndpoint
	address netip.Addr // the one that is advertised
	suite   *cryptoSuite
	key     string // base64 of master key and salt
	lines   []*rtpLine
}

// A cryptoSuite is one of Kurento's CryptoSuite, with its name in SDP (RFC 4568,
// RFC 6188) and the length of master key and salt in bytes.
type cryptoSuite struct {
	name    string
	size    int
	profile srtp.ProtectionProfile
}

var cryptoSuites = map[string]*cryptoSuite{
	"AES_128_CM_HMAC_SHA1_32": {"AES_CM_128_HMAC_SHA1_32", 30, srtp.ProtectionProfileAes128CmHmacSha1_32},
	"AES_128_CM_HMAC_SHA1_80": {"AES_CM_128_HMAC_SHA1_80", 30, srtp.ProtectionProfileAes128CmHmacSha1_80},
	"AES_256_CM_HMAC_SHA1_32": {"AES_256_CM_HMAC_SHA1_32", 46, srtp.ProtectionProfileAes256CmHmacSha1_32},
	"AES_256_CM_HMAC_SHA1_80": {"AES_256_CM_HMAC_SHA1_80", 46, srtp.ProtectionProfileAes256CmHmacSha1_80},
}

func buildRtpEndpoint(o *mediaObject, args object) error {
	s := o.srv
	ep := &rtcEndpoint{element: newElement(o, "kmsrtpendpoint"), direction: "sendrecv"}
	ep.id = transportID{cname: fmt.Sprintf("user%d@host-%x", s.rand.Uint32(), s.rand.Uint32())}
	r := &rtpSession{ep: ep}
	crypto, _ := args["crypto"].(object)
	if err := r.useCrypto(crypto); err != nil {
		return err
	}
	var err error
	if r.address, err = s.advertised(args["useIpv6"] == true); err != nil {
		return err
	}
	ep.rtp, ep.port = r, streamsPort{ep}
	for k := range ep.carriers {
		t := newMediaTransport(ep, k+1, "rtp", iceSecret{})
		ep.streams = append(ep.streams, t)
		ep.carriers[k].Store(t)
	}
	ep.media = ep.streams[0]
	o.impl = ep
	return nil
}

// useCrypto takes the SDES struct of the constructor. A key without a suite
// means nothing; a suite without a key gets a random one.
func (r *rtpSession) useCrypto(crypto object) error {
	name, ok := crypto["crypto"].(string)
	if !ok {
		return nil
	}
	r.suite = cryptoSuites[name]
	plain, given := crypto["key"].(string)
	key := []byte(plain)
	if text, ok := crypto["keyBase64"].(string); ok && !given {
		key, _ = base64.StdEncoding.DecodeString(text)
		given = true
	}
	if !given {
		key = make([]byte, r.suite.size)
		for i := range key {
			key[i] = byte(r.ep.obj.srv.rand.Uint32())
		}
	}
	if len(key) != r.suite.size {
		return failf(40107, "MEDIA_OBJECT_ILLEGAL_PARAM_ERROR", "Master key size is wrong")
	}
	r.key = base64.StdEncoding.EncodeToString(key)
	return nil
}

// advertised is the address that descriptions name: the first one that is not
// the loopback interface's, unless the server is restricted to that.
func (s *Server) advertised(six bool) (netip.Addr, error) {
	hosts, err := s.hostAddresses(strings.Join(s.cfg.Interfaces, ","))
	if err != nil {
		return netip.Addr{}, err
	}
	for _, h := range hosts {
		if h.ip.Is6() == six && !h.ip.IsLinkLocalUnicast() {
			return h.ip.WithZone(""), nil
		}
	}
	if six {
		return netip.IPv6Unspecified(), nil
	}
	return netip.IPv4Unspecified(), nil
}

func (r *rtpSession) protoAccepted(proto string) bool {
	if r.suite != nil {
		return proto == "RTP/SAVP" || proto == "RTP/SAVPF"
	}
	return proto == "RTP/AVP" || proto == "RTP/AVPF"
}

// rtpCodecs are the codecs of RtpEndpoints: they keep what WebRtcEndpoints drop.
var rtpCodecs = map[string][]string{
	"audio": append([]string{"AMR/8000"}, keptCodecs["audio"]...),
	"video": append([]string{"H265/90000"}, keptCodecs["video"]...),
}

// answer describes the answer to an offer and opens the ports for it. There is
// one medium of each kind; any other m-line is rejected.
func (r *rtpSession) answer(offer *sdpText) (*description, error) {
	d := &description{stamp: time.Now().Unix() + ntpEpoch, attrs: sessionAnswer(offer)}
	var used [2]bool
	for i, m := range offer.media {
		k := kindOfLine(m.kind)
		mid, _ := attr(m.attrs, "mid")
		out := &medium{kind: m.kind, proto: m.proto, mid: mid, formats: m.formats}
		d.media = append(d.media, out)
		if k == kindData || used[k] || !r.protoAccepted(m.proto) {
			out.reject()
			continue
		}
		used[k] = true
		line, err := r.open(k, i)
		if err != nil {
			return nil, err
		}
		out.port = line.port()
		r.describe(m, out)
	}
	return d, nil
}

// describe fills an answered medium.
func (r *rtpSession) describe(m *sdpMedia, out *medium) {
	out.ssrc = r.ep.obj.srv.rand.Uint32()
	out.codecs = m.codecsAmong(rtpCodecs[m.kind])
	out.accepted = m.port != 0 && len(out.codecs) > 0
	if m.port == 0 {
		out.lines = append([]string{"inactive"}, midLines(out.mid)...)
		return
	}
	if out.formats = formatsOf(m.accepted(rtpCodecs[m.kind])); len(out.codecs) == 0 {
		out.formats = m.formats[:1]
	}
	offered, crypto := r.cryptoAnswer(m)
	if offered && crypto == "" {
		// Kurento leaves a medium with the wrong keys half described.
		out.accepted = false
	}
	for _, line := range answerLines(m, out) {
		switch {
		case line == "rtcp-mux":
			continue
		case strings.HasPrefix(line, "rtcp:"):
			line = "rtcp:" + strconv.Itoa(out.port+1)
		}
		if crypto != "" && !strings.HasPrefix(line, "extmap:") {
			out.lines = append(out.lines, crypto)
			crypto = ""
		}
		out.lines = append(out.lines, line)
	}
}

func (r *rtpSession) cryptoLine() string { return "crypto:1 " + r.suite.name + " inline:" + r.key }

// cryptoAnswer tells whether keys were offered, and is this side's line if they
// are for its suite.
func (r *rtpSession) cryptoAnswer(m *sdpMedia) (offered bool, line string) {
	if _, offered = attr(m.attrs, "crypto"); r.suite == nil || !offered {
		return false, ""
	}
	if _, ok := r.remoteKey(m); ok {
		line = r.cryptoLine()
	}
	return true, line
}

// remoteKey is the peer's key for the suite of the endpoint. Only the first
// line of the offer counts.
func (r *rtpSession) remoteKey(m *sdpMedia) ([]byte, bool) {
	value, _ := attr(m.attrs, "crypto")
	fields := strings.Fields(value)
	if len(fields) < 3 || fields[1] != r.suite.name {
		return nil, false
	}
	inline, _, _ := strings.Cut(strings.TrimPrefix(fields[2], "inline:"), "|")
	key, err := base64.StdEncoding.DecodeString(inline)
	return key, err == nil && len(key) == r.suite.size
}

// offer turns an offer of a WebRtcEndpoint into one for plain ports.
func (r *rtpSession) offer(audio, video bool) (*description, error) {
	s := r.ep.obj.srv
	d := s.newOffer(audio, video, false, "sendrecv")
	d.group = false
	first := 98
	if audio {
		first = 105
	}
	for i, m := range d.media {
		k := kindOfLine(m.kind)
		line, err := r.open(k, i)
		if err != nil {
			return nil, err
		}
		m.port, m.proto = line.port(), "RTP/AVPF"
		if r.suite != nil {
			m.proto = "RTP/SAVPF"
		}
		m.formats, m.lines = r.offerLines(m, first)
	}
	return d, nil
}

func (r *rtpSession) offerLines(m *medium, first int) (formats, lines []string) {
	lines = []string{"setup:actpass", "extmap:3 " + absSendTime}
	var feedback []string
	if m.kind == "audio" {
		formats = []string{"96", "0", "8", "97"}
		lines = append(lines, "rtpmap:96 opus/48000/2", "rtpmap:97 AMR/8000")
	} else {
		formats = []string{strconv.Itoa(first)}
		lines = append(lines, fmt.Sprintf("rtpmap:%d H265/90000", first))
		for _, fb := range []string{"nack", "nack pli", "ccm fir"} {
			feedback = append(feedback, fmt.Sprintf("rtcp-fb:%d %s", first, fb))
		}
		more, moreFeedback := offeredLines(first + 1)
		lines, feedback = append(lines, more...), append(feedback, moreFeedback...)
		formats = append(formats, offeredFormats(first+1)...)
	}
	lines = append(lines, "rtcp:"+strconv.Itoa(m.port+1))
	if r.suite != nil {
		lines = append(lines, r.cryptoLine())
	}
	lines = append(lines, "sendrecv", "mid:"+m.mid)
	return formats, append(lines, feedback...)
}

// text writes a description with the advertised address and the real ports.
func (r *rtpSession) text(d *description) string {
	family := "IP4"
	if r.address.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=Kurento Media Server\r\nc=IN %s %s\r\nt=0 0\r\n",
		d.stamp, d.stamp, family, r.address, family, r.address)
	for _, a := range d.attrs {
		b.WriteString("a=" + a + "\r\n")
	}
	for _, m := range d.media {
		fmt.Fprintf(&b, "m=%s %d %s %s\r\n", m.kind, m.port, m.proto, strings.Join(m.formats, " "))
		m.writeBandwidth(&b)
		for _, line := range m.lines {
			b.WriteString("a=" + line + "\r\n")
		}
		if m.port != 0 {
			fmt.Fprintf(&b, "a=ssrc:%d cname:%s\r\n", m.ssrc, r.ep.id.cname)
		}
	}
	return b.String()
}

// start begins to send and receive. The connection counts as there at once.
func (r *rtpSession) start(remote *sdpText, chosen *description) {
	ep := r.ep
	for _, line := range r.lines {
		t := line.t
		if line.index >= len(remote.media) || !chosen.media[line.index].accepted {
			continue
		}
		m := remote.media[line.index]
		t.setup(chosen)
		t.setRemote(remote)
		line.aim(remote, m)
		if r.secure(line, m) {
			t.startReports()
		}
	}
	ep.presence.connected = true
	ep.changed("ConnectionStateChanged", true)
}

// secure sets up SRTP, or lets RTP through as it is.
func (r *rtpSession) secure(line *rtpLine, m *sdpMedia) bool {
	t := line.t
	t.sendMu.Lock()
	t.write = line.write
	t.sendMu.Unlock()
	if r.suite == nil {
		t.clear.Store(true)
		t.open(clearText{})
		return true
	}
	remote, ok := r.remoteKey(m)
	local, err := base64.StdEncoding.DecodeString(r.key)
	keyLen, lenErr := r.suite.profile.KeyLen()
	if !ok || err != nil || lenErr != nil {
		return false
	}
	in, err := srtp.CreateContext(remote[:keyLen], remote[keyLen:], r.suite.profile,
		srtp.SRTPReplayProtection(256), srtp.SRTCPReplayProtection(64))
	if err != nil {
		return false
	}
	out, err := srtp.CreateContext(local[:keyLen], local[keyLen:], r.suite.profile)
	if err != nil {
		return false
	}
	t.srtpIn.Store(in)
	t.open(out)
	return true
}

// close ends what reads the ports.
func (r *rtpSession) close() {
	for _, line := range r.lines {
		line.close()
	}
}

// rtcpPort is where the peer takes RTCP (RFC 3605).
func rtcpPort(m *sdpMedia) int {
	if text, ok := attr(m.attrs, "rtcp"); ok {
		number, _, _ := strings.Cut(text, " ")
		if port, err := strconv.Atoi(number); err == nil {
			return port
		}
	}
	return int(m.port) + 1
}

// comedia tells whether the peer leaves it to its packets where it is.
func comedia(m *sdpMedia) bool { return slices.Contains(m.attrs, "direction:active") }
