package conform

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"
)

// A section is one m-section of a recorded offer.
type section struct {
	kind      string // audio, video, application
	direction webrtc.RTPTransceiverDirection
	codecs    []webrtc.RTPCodecParameters
}

// sections cuts an offer into what a peer needs to know to make a like one.
func sections(sdp string) []section {
	var out []section
	for i, text := range strings.Split(strings.ReplaceAll(sdp, "\r\n", "\n"), "\nm=") {
		if i == 0 {
			continue
		}
		lines := strings.Split(text, "\n")
		fields := strings.Fields(lines[0])
		if len(fields) < 4 {
			continue // kind, port, protocol and a format make a medium
		}
		s := section{kind: fields[0], direction: webrtc.RTPTransceiverDirectionSendrecv}
		for _, l := range lines[1:] {
			switch l {
			case "a=sendonly":
				s.direction = webrtc.RTPTransceiverDirectionSendonly
			case "a=recvonly":
				s.direction = webrtc.RTPTransceiverDirectionRecvonly
			case "a=inactive":
				s.direction = webrtc.RTPTransceiverDirectionInactive
			}
		}
		for _, format := range fields[3:] {
			if c, ok := codecOf(s.kind, format, lines); ok {
				s.codecs = append(s.codecs, c)
			}
		}
		out = append(out, s)
	}
	return out
}

var staticCodecs = map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"}

func codecOf(kind, format string, lines []string) (webrtc.RTPCodecParameters, bool) {
	var c webrtc.RTPCodecParameters
	pt, err := strconv.Atoi(format)
	if err != nil {
		return c, false
	}
	rtpmap := staticCodecs[format]
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, "a=rtpmap:"+format+" "); ok {
			rtpmap = v
		}
		if v, ok := strings.CutPrefix(l, "a=fmtp:"+format+" "); ok {
			c.SDPFmtpLine = v
		}
		if v, ok := strings.CutPrefix(l, "a=rtcp-fb:"+format+" "); ok {
			name, parameter, _ := strings.Cut(v, " ")
			c.RTCPFeedback = append(c.RTCPFeedback, webrtc.RTCPFeedback{Type: name, Parameter: parameter})
		}
	}
	parts := strings.Split(rtpmap, "/")
	if len(parts) < 2 {
		return c, false
	}
	rate, err := strconv.Atoi(parts[1])
	if err != nil {
		return c, false
	}
	c.MimeType, c.ClockRate, c.PayloadType = kind+"/"+parts[0], uint32(rate), webrtc.PayloadType(pt)
	if len(parts) > 2 {
		channels, _ := strconv.Atoi(parts[2])
		c.Channels = uint16(channels)
	}
	return c, true
}

// secrets are the attributes by which a peer is found and believed.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`a=ice-ufrag:[^\r\n]*`),
	regexp.MustCompile(`a=ice-pwd:[^\r\n]*`),
	regexp.MustCompile(`a=fingerprint:[^\r\n]*`),
}

var ssrcLine = regexp.MustCompile(`a=ssrc:(\d+) `)

// ssrcs are the streams of a section, in their order.
func ssrcs(section string) []string {
	var out []string
	for _, m := range ssrcLine.FindAllStringSubmatch(section, -1) {
		if !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	return out
}

// impersonate is the recorded offer with the secrets and streams of a live peer's
// offer and without the recorded peer's candidates.
func impersonate(recorded, own string) (string, error) {
	for _, pattern := range secrets {
		value := pattern.FindString(own)
		if value == "" {
			return "", fmt.Errorf("the peer's offer has no %s", pattern)
		}
		recorded = pattern.ReplaceAllLiteralString(recorded, value)
	}
	theirs, ours := strings.Split(recorded, "\nm="), strings.Split(own, "\nm=")
	for i := 1; i < len(theirs) && i < len(ours); i++ {
		is := ssrcs(ours[i])
		for n, was := range ssrcs(theirs[i]) {
			if n < len(is) {
				theirs[i] = regexp.MustCompile(`(a=ssrc:|a=ssrc-group:.*)\b`+was+`\b`).ReplaceAllString(theirs[i], "${1}"+is[n])
			}
		}
	}
	return candidateLine.ReplaceAllString(strings.Join(theirs, "\nm="), ""), nil
}

var candidateLine = regexp.MustCompile(`a=(candidate:[^\r\n]*|end-of-candidates)\r?\n`)
