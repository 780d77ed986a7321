package kmsmock

import (
	"slices"
	"strconv"
	"strings"
)

// An sdpText is a session description as GStreamer reads it: lines of the form
// "x=…" in any order, everything else passed over.
type sdpText struct {
	version    *string
	origin     *string // six fields, missing ones empty
	name       *string
	info, uri  *string
	emails     []string
	phones     []string
	connection *sdpConnection
	bandwidths []string
	key        *string
	attrs      []string // session attributes without "a="
	media      []*sdpMedia
}

type sdpMedia struct {
	kind    string
	port    uint32 // 0: rejected, or not a number
	ports   string // how many, "" for one
	proto   string
	formats []string // at least one, which may be empty
	attrs   []string // without "a="

	info        *string
	connections []*sdpConnection
	bandwidths  []string
	key         *string
}

// An sdpConnection is a c= line.
type sdpConnection struct{ network, family, address string }

// parseSDP is as lenient as GStreamer's parser. Kurento asks only that there is
// a version.
func parseSDP(text string) (*sdpText, error) {
	out := &sdpText{}
	text, _, _ = strings.Cut(text, "\x00")
	for {
		text = strings.TrimLeft(text, " \t\n\v\f\r")
		line, rest, more := strings.Cut(text, "\n")
		line, _, _ = strings.Cut(line, "\r")
		if len(line) > 1 && line[1] == '=' {
			out.line(line[0], line[2:])
		}
		if text = rest; !more {
			break
		}
	}
	if out.version == nil {
		return nil, failf(40201, "SDP_PARSE_ERROR", "Invalid SDP")
	}
	return out, nil
}

func (d *sdpText) line(kind byte, rest string) {
	switch kind {
	case 'm':
		d.media = append(d.media, parseMedia(rest))
		return
	case 'v':
		d.version = &rest
	case 'o':
		d.origin = ptr(strings.Join(fields(rest, 6), " "))
	case 's':
		d.name = &rest
	case 'u':
		d.uri = &rest
	case 'e':
		d.emails = append(d.emails, rest)
	case 'p':
		d.phones = append(d.phones, rest)
	}
	if n := len(d.media); n > 0 {
		d.media[n-1].line(kind, rest)
		return
	}
	switch kind {
	case 'i':
		d.info = &rest
	case 'c':
		d.connection = parseConnection(rest)
	case 'b':
		d.bandwidths = append(d.bandwidths, parseBandwidth(rest))
	case 'k':
		d.key = &rest
	case 'a':
		d.attrs = append(d.attrs, parseAttribute(rest))
	}
}

func (m *sdpMedia) line(kind byte, rest string) {
	switch kind {
	case 'i':
		m.info = &rest
	case 'c':
		m.connections = append(m.connections, parseConnection(rest))
	case 'b':
		m.bandwidths = append(m.bandwidths, parseBandwidth(rest))
	case 'k':
		m.key = &rest
	case 'a':
		m.attrs = append(m.attrs, parseAttribute(rest))
	}
}

func ptr(s string) *string { return &s }

// field cuts the first word off a line.
func field(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t")
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func fields(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i], s = field(s)
	}
	return out
}

func parseMedia(rest string) *sdpMedia {
	m := &sdpMedia{}
	var port string
	m.kind, rest = field(rest)
	port, rest = field(rest)
	port, m.ports, _ = strings.Cut(port, "/")
	m.port = uint32(leadingInt(port))
	if n := leadingInt(m.ports); n > 1 {
		m.ports = strconv.FormatInt(n, 10)
	} else {
		m.ports = ""
	}
	m.proto, rest = field(rest)
	for more := true; more; more = rest != "" {
		var format string
		format, rest = field(rest)
		m.formats = append(m.formats, format)
	}
	return m
}

// leadingInt reads a number as C does: what does not begin with one is 0.
func leadingInt(s string) int64 {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '-' && r != '+' })
	if end < 0 {
		end = len(s)
	}
	for ; end > 0; end-- {
		if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// parseConnection leaves the time to live out, which means nothing to an
// address that is not a group.
func parseConnection(rest string) *sdpConnection {
	f := fields(rest, 3)
	address, _, _ := strings.Cut(f[2], "/")
	return &sdpConnection{f[0], f[1], address}
}

func parseBandwidth(rest string) string {
	kind, value, _ := strings.Cut(rest, ":")
	return kind + ":" + strconv.FormatUint(uint64(uint32(leadingInt(value))), 10)
}

// parseAttribute drops the colon of an empty value.
func parseAttribute(rest string) string { return strings.TrimSuffix(rest, ":") }

// String writes the description as GStreamer does, which is how Kurento repeats
// it: in a fixed order, the times as "0 0", the title of a medium without its
// line end.
func (d *sdpText) String() string {
	var b strings.Builder
	one := func(kind string, v *string) {
		if v != nil {
			b.WriteString(kind + "=" + *v + "\r\n")
		}
	}
	one("v", d.version)
	one("o", d.origin)
	one("s", d.name)
	one("i", d.info)
	one("u", d.uri)
	for _, v := range d.emails {
		one("e", &v)
	}
	for _, v := range d.phones {
		one("p", &v)
	}
	d.connection.write(&b)
	for _, v := range d.bandwidths {
		one("b", &v)
	}
	b.WriteString("t=0 0\r\n")
	one("k", d.key)
	for _, v := range d.attrs {
		one("a", &v)
	}
	for _, m := range d.media {
		m.write(&b)
	}
	return b.String()
}

func (c *sdpConnection) write(b *strings.Builder) {
	if c != nil {
		b.WriteString("c=" + c.network + " " + c.family + " " + c.address + "\r\n")
	}
}

func (m *sdpMedia) write(b *strings.Builder) {
	ports := strconv.FormatUint(uint64(m.port), 10)
	if m.ports != "" {
		ports += "/" + m.ports
	}
	b.WriteString("m=" + m.kind + " " + ports + " " + m.proto + " " + strings.Join(m.formats, " ") + "\r\n")
	if m.info != nil {
		b.WriteString("i=" + *m.info)
	}
	for _, c := range m.connections {
		c.write(b)
	}
	for _, v := range m.bandwidths {
		b.WriteString("b=" + v + "\r\n")
	}
	if m.key != nil {
		kind, value, _ := strings.Cut(*m.key, ":")
		b.WriteString("k=" + kind + ":" + value + "\r\n")
	}
	for _, a := range m.attrs {
		b.WriteString("a=" + a + "\r\n")
	}
}

// attr returns the value of the first attribute of that name.
func attr(attrs []string, name string) (string, bool) {
	for _, a := range attrs {
		if v, ok := strings.CutPrefix(a, name+":"); ok {
			return v, true
		}
	}
	return "", false
}

// attr looks in the medium first and then in the session.
func (m *sdpMedia) attr(d *sdpText, name string) string {
	if v, ok := attr(m.attrs, name); ok {
		return v
	}
	v, _ := attr(d.attrs, name)
	return v
}

// bundle lists the mids of the BUNDLE group; ok is false when there is no group
// of any kind. Only the first group counts.
func (d *sdpText) bundle() (mids []string, ok bool) {
	value, ok := attr(d.attrs, "group")
	words := strings.Fields(value)
	if len(words) > 0 && words[0] == "BUNDLE" {
		mids = words[1:]
	}
	return mids, ok
}

var directions = []string{"sendrecv", "sendonly", "recvonly", "inactive"}

func (m *sdpMedia) direction() string {
	for _, a := range m.attrs {
		if slices.Contains(directions, a) {
			return a
		}
	}
	return "sendrecv"
}

// mirrored is a direction as the other side sees it.
func mirrored(direction string) string {
	switch direction {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return direction
}

// staticPayloads are the payload types that need no rtpmap (RFC 3551), as far
// as Kurento has their codecs.
var staticPayloads = map[int64]string{0: "PCMU/8000", 8: "PCMA/8000"}

// keptCodecs are the codecs that Kurento answers with, by medium: an rtpmap is
// one of them as a whole or none.
var keptCodecs = map[string][]string{
	"audio": {"opus/48000/2", "PCMU/8000", "PCMA/8000"},
	"video": {"AV1/90000", "VP9/90000", "VP8/90000", "H264/90000"},
}

// An acceptedFormat is a format of the offer that Kurento keeps, with what it
// takes it for.
type acceptedFormat struct{ format, codec string }

// accepted are the formats of an offered medium that Kurento keeps, in order.
func (m *sdpMedia) accepted(kept []string) []acceptedFormat {
	var out []acceptedFormat
	for _, format := range m.formats {
		if codec, ok := m.codecOf(format, kept); ok {
			out = append(out, acceptedFormat{format, codec})
		}
	}
	return out
}

// codecOf finds the codec of a format. Names of codecs with a static payload
// type must be in capitals, and may say that there is one channel.
func (m *sdpMedia) codecOf(format string, kept []string) (string, bool) {
	text, ok := m.perFormat("rtpmap", format)
	if !ok {
		if text, ok = staticPayloads[leadingInt(format)]; !ok {
			return "", false
		}
	}
	encoding, _ := field(text)
	for _, codec := range kept {
		static := codec == staticPayloads[0] || codec == staticPayloads[8]
		switch {
		case encoding == "" && !static, static && strings.TrimSuffix(encoding, "/1") == codec,
			!static && strings.EqualFold(encoding, codec):
			return codec, true
		}
	}
	return "", false
}

// codecs are the kept formats that RTP can come with.
func (m *sdpMedia) codecs() []*codec { return m.codecsAmong(keptCodecs[m.kind]) }

func (m *sdpMedia) codecsAmong(kept []string) []*codec {
	var out []*codec
	for _, f := range m.accepted(kept) {
		pt := leadingInt(f.format)
		if pt < 0 || pt > 127 {
			continue
		}
		name, rate, _ := strings.Cut(f.codec, "/")
		c := &codec{pt: uint8(pt), name: strings.ToUpper(name), clock: uint32(leadingInt(rate))}
		if m.kind == "video" {
			c.kind = kindVideo
		}
		c.fmtp, _ = m.perFormat("fmtp", f.format)
		c.fir = slices.Contains(m.attrs, "rtcp-fb:"+f.format+" ccm fir")
		c.pli = slices.Contains(m.attrs, "rtcp-fb:"+f.format+" nack pli")
		c.nack = slices.Contains(m.attrs, "rtcp-fb:"+f.format+" nack")
		c.remb = slices.Contains(m.attrs, "rtcp-fb:"+f.format+" goog-remb")
		out = append(out, c)
	}
	return out
}

// perFormat is the value of an attribute about one format, which may be empty.
func (m *sdpMedia) perFormat(name, format string) (string, bool) {
	for _, a := range m.attrs {
		rest, ok := strings.CutPrefix(a, name+":"+format)
		if ok && (rest == "" || rest[0] == ' ') {
			return strings.TrimPrefix(rest, " "), true
		}
	}
	return "", false
}
