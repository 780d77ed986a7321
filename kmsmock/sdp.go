package kmsmock

import (
	"slices"
	"strconv"
	"strings"
)

// An sdpText is a session description cut into lines, as far as Kurento reads
// it. Unknown lines are kept where they are copied to an answer, else ignored.
type sdpText struct {
	attrs      []string // session attributes without "a="
	connection string   // the session's c= line, "" without one
	media      []*sdpMedia
}

type sdpMedia struct {
	kind    string
	port    int // 0: rejected, or not a number
	proto   string
	formats []string
	attrs   []string // without "a="

	connection string // c= line of its own
}

// parseSDP is as lenient as GStreamer's parser: any lines of the form "x=…",
// with CRLF or LF, make a description.
func parseSDP(text string) (*sdpText, error) {
	out := &sdpText{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, failf(40201, "SDP_PARSE_ERROR", "Invalid SDP")
		}
		out.line(line[0], line[2:])
	}
	return out, nil
}

func (d *sdpText) line(kind byte, rest string) {
	switch kind {
	case 'm':
		d.media = append(d.media, parseMedia(rest))
	case 'c':
		if n := len(d.media); n > 0 {
			d.media[n-1].connection = rest
		} else {
			d.connection = rest
		}
	case 'a':
		if n := len(d.media); n > 0 {
			d.media[n-1].attrs = append(d.media[n-1].attrs, rest)
		} else {
			d.attrs = append(d.attrs, rest)
		}
	}
}

func parseMedia(rest string) *sdpMedia {
	m := &sdpMedia{}
	fields := strings.Fields(rest)
	for i, f := range fields {
		switch i {
		case 0:
			m.kind = f
		case 1:
			m.port, _ = strconv.Atoi(strings.SplitN(f, "/", 2)[0])
		case 2:
			m.proto = f
		default:
			m.formats = append(m.formats, f)
		}
	}
	return m
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

// bundle lists the mids of the BUNDLE group; ok is false without one.
func (d *sdpText) bundle() (mids []string, ok bool) {
	for _, a := range d.attrs {
		if rest, found := strings.CutPrefix(a, "group:BUNDLE"); found {
			return strings.Fields(rest), true
		}
	}
	return nil, false
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

// staticPayloads are the payload types that need no rtpmap (RFC 3551).
var staticPayloads = map[string]string{"0": "PCMU/8000", "8": "PCMA/8000"}

// keptCodecs are the codecs that Kurento answers with, by medium.
var keptCodecs = map[string][]string{
	"audio": {"OPUS", "PCMU", "PCMA"},
	"video": {"VP8", "VP9", "H264", "AV1"},
}

// codecs are the codecs of an offered medium that Kurento keeps, in order.
func (m *sdpMedia) codecs() []*codec { return m.codecsAmong(keptCodecs[m.kind]) }

func (m *sdpMedia) codecsAmong(kept []string) []*codec {
	var out []*codec
	for _, format := range m.formats {
		pt, err := strconv.Atoi(format)
		if err != nil || pt < 0 || pt > 127 {
			continue
		}
		name, clock, ok := m.rtpmap(format)
		if !ok || !slices.Contains(kept, name) {
			continue
		}
		c := &codec{pt: uint8(pt), name: name, clock: clock}
		if m.kind == "video" {
			c.kind = kindVideo
		}
		c.fmtp, _ = m.perFormat("fmtp", format)
		c.fir = slices.Contains(m.attrs, "rtcp-fb:"+format+" ccm fir")
		c.pli = slices.Contains(m.attrs, "rtcp-fb:"+format+" nack pli")
		c.nack = slices.Contains(m.attrs, "rtcp-fb:"+format+" nack")
		c.remb = slices.Contains(m.attrs, "rtcp-fb:"+format+" goog-remb")
		out = append(out, c)
	}
	return out
}

func (m *sdpMedia) rtpmap(format string) (name string, clock uint32, ok bool) {
	text, ok := m.perFormat("rtpmap", format)
	if !ok {
		if text, ok = staticPayloads[format]; !ok {
			return "", 0, false
		}
	}
	parts := strings.Split(text, "/")
	if len(parts) < 2 {
		return "", 0, false
	}
	rate, err := strconv.ParseUint(parts[1], 10, 32)
	return strings.ToUpper(parts[0]), uint32(rate), err == nil
}

func (m *sdpMedia) perFormat(name, format string) (string, bool) {
	for _, a := range m.attrs {
		if rest, ok := strings.CutPrefix(a, name+":"+format+" "); ok {
			return rest, true
		}
	}
	return "", false
}
