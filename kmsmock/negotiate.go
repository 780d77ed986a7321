package kmsmock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ntpEpoch is the start of the NTP era in seconds before 1970; Kurento numbers
// its descriptions in NTP seconds.
const ntpEpoch = 2208988800

const absSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"

// A medium is one m-line as this side describes it.
type medium struct {
	kind      string // audio, video, application
	proto     string
	mid       string
	accepted  bool
	formats   []string
	codecs    []*codec
	ssrc      uint32
	bandwidth int       // of what is received, kbit/s; 0 writes no b= line
	port      int       // of an RtpEndpoint
	lines     []string  // between the m-line and the transport's attributes
	stream    int       // that carries it; 0 stands for the first
	secret    iceSecret // of a stream of its own
}

// A description is what this side says in an offer or answer.
type description struct {
	stamp  int64
	attrs  []string
	bundle []string
	group  bool // whether a BUNDLE group is written
	media  []*medium
}

// A transportID is what the description says about ICE and DTLS.
type transportID struct {
	ufrag, pwd, cname, fingerprint string
}

// answerTo describes the answer to an offer. data says whether the endpoint
// takes data channels.
func (s *Server) answerTo(offer *sdpText, data bool) *description {
	d := &description{stamp: time.Now().Unix() + ntpEpoch}
	for _, a := range offer.attrs {
		if !strings.HasPrefix(a, "group:BUNDLE") {
			d.attrs = append(d.attrs, a)
		}
	}
	offered, grouped := offer.bundle()
	d.group = grouped
	for _, m := range offer.media {
		answer := s.answerMedium(m, data)
		d.media = append(d.media, answer)
		if answer.accepted && slices.Contains(offered, answer.mid) {
			d.bundle = append(d.bundle, answer.mid)
		}
	}
	return d
}

func (s *Server) answerMedium(m *sdpMedia, data bool) *medium {
	out := &medium{kind: m.kind, proto: m.proto, formats: m.formats}
	out.mid, _ = attr(m.attrs, "mid")
	if m.kind == "application" {
		out.accepted = data && m.port != 0
		out.lines = dataLines(m, out.accepted)
		return out
	}
	out.codecs = m.codecs()
	out.formats = nil
	for _, c := range out.codecs {
		out.formats = append(out.formats, strconv.Itoa(int(c.pt)))
	}
	out.ssrc = s.rand.Uint32()
	out.accepted = m.port != 0 && len(out.codecs) > 0
	switch {
	case m.port == 0:
		out.lines = append([]string{"inactive"}, midLines(out.mid)...)
	case !out.accepted && len(m.formats) > 0:
		// Kurento rejects the medium and keeps the first format, unexplained.
		out.formats = m.formats[:1]
		fallthrough
	default:
		out.lines = answerLines(m, out)
	}
	return out
}

func midLines(mid string) []string {
	if mid == "" {
		return nil
	}
	return []string{"mid:" + mid}
}

func dataLines(m *sdpMedia, accepted bool) []string {
	mid, _ := attr(m.attrs, "mid")
	if !accepted {
		return append([]string{"inactive"}, midLines(mid)...)
	}
	port, _ := attr(m.attrs, "sctp-port")
	if port == "" {
		port = "5000"
	}
	return append(midLines(mid), "sctp-port:"+port, "setup:active")
}

// answerLines are the attributes of an answered medium in Kurento's order.
func answerLines(m *sdpMedia, out *medium) []string {
	var lines, feedback []string
	for _, a := range m.attrs {
		if strings.HasPrefix(a, "extmap:") && strings.HasSuffix(a, " "+absSendTime) {
			lines = append(lines, a)
		}
	}
	lines = append(lines, mirrored(m.direction()))
	lines = append(lines, midLines(out.mid)...)
	lines = append(lines, "rtcp:9 IN IP4 0.0.0.0")
	for _, format := range out.formats {
		if text, ok := m.perFormat("rtpmap", format); ok && out.accepted {
			lines = append(lines, "rtpmap:"+format+" "+text)
		}
		feedback = append(feedback, keptFeedback(m, format)...)
	}
	lines = append(lines, feedback...)
	for _, a := range m.attrs {
		if line, ok := out.answered(m, a); ok && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// copiedAttributes are those that an answer repeats as they are.
var copiedAttributes = []string{"framerate", "lang", "maxptime", "ptime", "quality"}

// answered is what an answer makes of an attribute of the offered medium; they
// keep their order.
func (m *medium) answered(offered *sdpMedia, a string) (string, bool) {
	name, value, _ := strings.Cut(a, ":")
	switch {
	case name == "fmtp":
		return a, m.accepted && formatOf(a, "fmtp:", m.formats)
	case name == "setup":
		return "setup:" + answerSetup(offered), true
	case name == "direction" && value == "active":
		return "direction:passive", true
	case a == "rtcp-mux", slices.Contains(copiedAttributes, name):
		return a, true
	}
	return "", false
}

// formatOf tells whether an attribute of that name is about one of the formats.
func formatOf(a, name string, formats []string) bool {
	rest, ok := strings.CutPrefix(a, name)
	format, _, _ := strings.Cut(rest, " ")
	return ok && slices.Contains(formats, format)
}

// answerSetup is the DTLS role that an answer takes: active unless the offerer
// insists on that itself.
func answerSetup(m *sdpMedia) string {
	if slices.Contains(m.attrs, "setup:active") {
		return "passive"
	}
	return "active"
}

// keptFeedbacks are the kinds of RTCP feedback that Kurento answers with.
var keptFeedbacks = []string{"goog-remb", "ccm fir", "nack", "nack pli"}

func keptFeedback(m *sdpMedia, format string) []string {
	var out []string
	for _, a := range m.attrs {
		if fb, ok := strings.CutPrefix(a, "rtcp-fb:"+format+" "); ok && slices.Contains(keptFeedbacks, fb) {
			out = append(out, a)
		}
	}
	return out
}

// offeredVideo are the video codecs of Kurento's own offers, payload types
// from 102 on.
var offeredVideo = []struct{ rtpmap, fmtp, feedback string }{
	{"AV1/90000", "level-idx=5;profile=0;tier=0", "nack,nack pli,goog-remb,ccm fir"},
	{"VP9/90000", "profile-id=0", "nack,nack pli,goog-remb,ccm fir"},
	{"VP8/90000", "", "nack,nack pli,goog-remb,ccm fir"},
	{"H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", "nack,nack pli,ccm fir"},
}

// newOffer describes an offer of the server's own.
func (s *Server) newOffer(audio, video, data bool, direction string) *description {
	d := &description{stamp: time.Now().Unix() + ntpEpoch, group: true}
	if audio {
		d.media = append(d.media, &medium{
			kind: "audio", proto: "RTP/SAVPF", mid: "audio0", formats: []string{"96", "0", "8"}, ssrc: s.rand.Uint32(),
			lines: []string{"setup:actpass", "extmap:3 " + absSendTime, "rtpmap:96 opus/48000/2", "rtcp:9 IN IP4 0.0.0.0",
				"rtcp-mux", direction, "mid:audio0"},
		})
	}
	if video {
		d.media = append(d.media, &medium{
			kind: "video", proto: "RTP/SAVPF", mid: "video0", formats: []string{"102", "103", "104", "105"},
			ssrc: s.rand.Uint32(), lines: videoOfferLines(direction),
		})
	}
	if data {
		d.media = append(d.media, &medium{
			kind: "application", proto: "UDP/DTLS/SCTP", mid: "application0", formats: []string{"webrtc-datachannel"},
			lines: []string{"setup:actpass", "sctp-port:" + strconv.Itoa(1024+s.rand.IntN(64511)), "mid:application0"},
		})
	}
	for _, m := range d.media {
		m.accepted = true
		d.bundle = append(d.bundle, m.mid)
	}
	return d
}

func videoOfferLines(direction string) []string {
	lines := []string{"setup:actpass", "extmap:3 " + absSendTime}
	codecs, feedback := offeredLines(102)
	lines = append(append(lines, codecs...), "rtcp:9 IN IP4 0.0.0.0", "rtcp-mux", direction, "mid:video0")
	return append(lines, feedback...)
}

// offeredLines are the attributes of the offered video codecs, whose payload
// types begin at first, and those of their feedback.
func offeredLines(first int) (lines, feedback []string) {
	for i, c := range offeredVideo {
		pt := strconv.Itoa(first + i)
		lines = append(lines, "rtpmap:"+pt+" "+c.rtpmap)
		if c.fmtp != "" {
			lines = append(lines, "fmtp:"+pt+" "+c.fmtp)
		}
		for fb := range strings.SplitSeq(c.feedback, ",") {
			feedback = append(feedback, "rtcp-fb:"+pt+" "+fb)
		}
	}
	return lines, feedback
}

// text writes a description. With candidates it is the form that
// getLocalSessionDescriptor has after gathering: ports and addresses of the
// default candidate in place.
func (d *description) text(id transportID, candidates []localCandidate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN IP4 0.0.0.0\r\ns=Kurento Media Server\r\n", d.stamp, d.stamp)
	if candidates == nil {
		b.WriteString("c=IN IP4 0.0.0.0\r\n")
	}
	b.WriteString("t=0 0\r\n")
	for _, a := range d.attrs {
		b.WriteString("a=" + a + "\r\n")
	}
	if d.group {
		b.WriteString("a=group:BUNDLE")
		for _, mid := range d.bundle {
			b.WriteString(" " + mid)
		}
		b.WriteString("\r\n")
	}
	for _, m := range d.media {
		m.write(&b, id, candidates)
	}
	return b.String()
}

func (m *medium) write(b *strings.Builder, id transportID, candidates []localCandidate) {
	if candidates != nil {
		candidates = m.own(candidates)
	}
	if m.secret.ufrag != "" {
		id.ufrag, id.pwd = m.secret.ufrag, m.secret.pwd
	}
	port, address := m.defaultAddress(candidates)
	fmt.Fprintf(b, "m=%s %d %s %s\r\n", m.kind, port, m.proto, strings.Join(m.formats, " "))
	if candidates != nil {
		fmt.Fprintf(b, "c=IN IP4 %s\r\n", address)
	}
	for _, line := range m.lines {
		if candidates != nil && strings.HasPrefix(line, "rtcp:") {
			line = fmt.Sprintf("rtcp:%d IN IP4 %s", port, address)
		}
		b.WriteString("a=" + line + "\r\n")
	}
	if m.kind == "application" && !m.accepted {
		return
	}
	if m.kind != "application" {
		fmt.Fprintf(b, "a=ssrc:%d cname:%s\r\n", m.ssrc, id.cname)
	}
	fmt.Fprintf(b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\n", id.ufrag, id.pwd, id.fingerprint)
	for _, c := range candidates {
		b.WriteString("a=" + c.text + "\r\n")
	}
}

// own are the candidates of the stream that carries the medium.
func (m *medium) own(candidates []localCandidate) []localCandidate {
	out := []localCandidate{}
	for _, c := range candidates {
		if c.stream == max(m.stream, 1) {
			out = append(out, c)
		}
	}
	return out
}

// defaultAddress is the port and address of the m-line: those of the last IPv4
// candidate of component 1, which is what was recorded.
func (m *medium) defaultAddress(candidates []localCandidate) (int, string) {
	port, address := 1, "0.0.0.0"
	if !m.accepted {
		return 0, address
	}
	for _, c := range candidates {
		if c.component == 1 && c.port != discardPort && !strings.Contains(c.address, ":") {
			port, address = c.port, c.address
		}
	}
	return port, address
}
