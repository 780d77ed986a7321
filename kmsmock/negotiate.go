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
	rejected  bool // nothing takes it
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

// errOffer is the answer to an offer that Kurento fails at.
func errOffer() error {
	return failf(40205, "SDP_END_POINT_PROCESS_OFFER_ERROR", "Error processing offer")
}

// answerTo describes the answer to an offer. data says whether the endpoint
// takes data channels.
func (s *Server) answerTo(offer *sdpText, data bool) (*description, error) {
	d := &description{stamp: time.Now().Unix() + ntpEpoch, attrs: sessionAnswer(offer)}
	offered, grouped := offer.bundle()
	d.group = grouped
	var used [3]bool
	for _, m := range offer.media {
		answer := &medium{kind: m.kind, proto: m.proto, formats: m.formats}
		answer.mid, _ = attr(m.attrs, "mid")
		d.media = append(d.media, answer)
		k := kindOfLine(m.kind)
		if used[k] || !m.taken(data) {
			answer.reject()
			continue
		}
		used[k] = true
		if err := s.answerMedium(m, answer); err != nil {
			return nil, err
		}
		if answer.accepted && slices.Contains(offered, answer.mid) {
			d.bundle = append(d.bundle, answer.mid)
		}
	}
	return d, nil
}

// sessionAnswer are the session's attributes as an answer repeats them: all but
// the groups, each once, seen from this side.
func sessionAnswer(offer *sdpText) []string {
	var out []string
	for i, a := range offer.attrs {
		name, value, _ := strings.Cut(a, ":")
		switch {
		case name == "group" || slices.Contains(offer.attrs[:i], a):
			continue
		case slices.Contains(directions, a):
			a = mirrored(a)
		case name == "setup":
			a = "setup:" + answerSetup(value)
		}
		out = append(out, a)
	}
	return out
}

// taken tells whether there is anything for an m-line of that kind and
// transport.
func (m *sdpMedia) taken(data bool) bool {
	switch m.kind {
	case "audio", "video":
		return strings.HasPrefix(strings.TrimPrefix(m.proto, "UDP/TLS/"), "RTP/SAVP")
	case "application":
		return data && strings.HasPrefix(strings.TrimPrefix(m.proto, "UDP/"), "DTLS/SCTP")
	}
	return false
}

// reject leaves nothing of a medium but its place.
func (m *medium) reject() {
	m.rejected = true
	m.lines = append([]string{"inactive"}, midLines(m.mid)...)
}

func (s *Server) answerMedium(m *sdpMedia, out *medium) error {
	if m.kind == "application" {
		return answerData(m, out)
	}
	for _, a := range m.attrs {
		if rest, ok := strings.CutPrefix(a, "extmap:"); ok && !strings.Contains(rest, " ") {
			return errOffer()
		}
	}
	accepted := m.accepted(keptCodecs[m.kind])
	out.codecs = m.codecs()
	out.ssrc = s.rand.Uint32()
	out.accepted = m.port != 0 && len(accepted) > 0
	if m.port == 0 {
		out.lines = append([]string{"inactive"}, midLines(out.mid)...)
		out.formats = formatsOf(accepted)
		return nil
	}
	// Without a codec Kurento keeps the first format, unexplained.
	if out.formats = formatsOf(accepted); len(accepted) == 0 {
		out.formats = m.formats[:1]
	}
	out.lines = answerLines(m, out)
	return nil
}

func formatsOf(accepted []acceptedFormat) []string {
	var out []string
	for _, f := range accepted {
		out = append(out, f.format)
	}
	return out
}

func midLines(mid string) []string {
	if mid == "" {
		return nil
	}
	return []string{"mid:" + mid}
}

// answerData answers an m-line for data channels. In the older syntax Kurento
// fails at it.
func answerData(m *sdpMedia, out *medium) error {
	port, ok := attr(m.attrs, "sctp-port")
	if !ok || m.formats[0] != "webrtc-datachannel" {
		return errOffer()
	}
	out.formats = m.formats[:1]
	out.accepted = m.port != 0
	if !out.accepted {
		out.lines = append([]string{"inactive"}, midLines(out.mid)...)
		return nil
	}
	out.lines = append(midLines(out.mid), "sctp-port:"+port)
	for _, a := range m.attrs {
		if line, ok := out.answered(a); ok && a != "rtcp-mux" && !slices.Contains(out.lines, line) {
			out.lines = append(out.lines, line)
		}
	}
	return nil
}

// answerLines are the attributes of an answered medium in Kurento's order.
func answerLines(m *sdpMedia, out *medium) []string {
	var lines []string
	for _, a := range m.attrs {
		if rest, ok := strings.CutPrefix(a, "extmap:"); ok {
			if words := strings.Split(rest, " "); len(words) > 1 && words[1] == absSendTime {
				lines = append(lines, a)
			}
		}
	}
	lines = append(lines, mirrored(m.direction()))
	lines = append(lines, midLines(out.mid)...)
	lines = append(lines, "rtcp:9 IN IP4 0.0.0.0")
	for _, format := range out.formats {
		if text, ok := m.perFormat("rtpmap", format); ok && out.accepted {
			lines = append(lines, strings.TrimSuffix("rtpmap:"+format+" "+text, " "))
		}
	}
	lines = append(lines, keptFeedback(m, out.formats)...)
	for _, a := range m.attrs {
		if line, ok := out.answered(a); ok && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// copiedAttributes are those that an answer repeats as they are.
var copiedAttributes = []string{"framerate", "lang", "maxptime", "mid", "ptime", "quality"}

// answered is what an answer makes of an attribute of the offered medium; they
// keep their order.
func (m *medium) answered(a string) (string, bool) {
	name, value, _ := strings.Cut(a, ":")
	switch {
	case name == "fmtp":
		return a, formatOf(value, m.formats)
	case name == "setup":
		return "setup:" + answerSetup(value), true
	case name == "direction":
		if value == "active" {
			return "direction:passive", true
		}
		return "direction:active", true
	case a == "rtcp-mux", slices.Contains(copiedAttributes, name):
		return a, true
	}
	return "", false
}

// formatOf tells whether an attribute's value is about one of the formats.
func formatOf(value string, formats []string) bool {
	format, _, _ := strings.Cut(value, " ")
	return slices.Contains(formats, format)
}

// answerSetup is the DTLS role that answers an offered one.
func answerSetup(offered string) string {
	switch offered {
	case "active":
		return "passive"
	case "passive", "actpass":
		return "active"
	}
	return "holdconn"
}

// keptFeedbacks are the kinds of RTCP feedback that Kurento answers with,
// whatever their parameters.
var keptFeedbacks = []string{"goog-remb", "ccm", "nack"}

func keptFeedback(m *sdpMedia, formats []string) []string {
	var out []string
	for _, a := range m.attrs {
		value, ok := strings.CutPrefix(a, "rtcp-fb:")
		words := strings.Fields(value)
		if ok && len(words) > 1 && slices.Contains(formats, words[0]) && slices.Contains(keptFeedbacks, words[1]) {
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
		first := offeredFirst(audio)
		d.media = append(d.media, &medium{
			kind: "video", proto: "RTP/SAVPF", mid: "video0", formats: offeredFormats(first),
			ssrc: s.rand.Uint32(), lines: videoOfferLines(first, direction),
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

// offeredFirst is the first payload type of the offered video codecs, which
// follow those of the audio.
func offeredFirst(audio bool) int {
	if audio {
		return 102
	}
	return 97
}

func offeredFormats(first int) []string {
	var out []string
	for i := range offeredVideo {
		out = append(out, strconv.Itoa(first+i))
	}
	return out
}

func videoOfferLines(first int, direction string) []string {
	lines := []string{"setup:actpass", "extmap:3 " + absSendTime}
	codecs, feedback := offeredLines(first)
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
	m.writeBandwidth(b)
	for _, line := range m.lines {
		if candidates != nil && strings.HasPrefix(line, "rtcp:") {
			line = fmt.Sprintf("rtcp:%d IN IP4 %s", port, address)
		}
		b.WriteString("a=" + line + "\r\n")
	}
	if m.rejected {
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

// writeBandwidth limits what the peer may send.
func (m *medium) writeBandwidth(b *strings.Builder) {
	if m.bandwidth > 0 {
		fmt.Fprintf(b, "b=AS:%d\r\n", m.bandwidth)
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
