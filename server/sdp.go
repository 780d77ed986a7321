package server

import (
	"slices"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/callbench/callbench/signaling"
)

// offer is a member's SDP offer, made ready for the media server.
type offer struct {
	sdp      string
	sections []section
}

// section is what candidates need to know of a media section.
type section struct {
	mid      string
	fragment string // ICE ufrag
	sends    string // the kind of media that the member sends in it; empty if it sends none
}

// indexOf is the index of the media section with this mid, -1 if there is none.
func (o *offer) indexOf(mid string) int {
	return slices.IndexFunc(o.sections, func(s section) bool { return s.mid == mid })
}

// hasFragment reports whether a media section has this ICE ufrag.
func (o *offer) hasFragment(f string) bool {
	return slices.ContainsFunc(o.sections, func(s section) bool { return s.fragment == f })
}

// readOffer checks an SDP offer and prepares it: the room's video codec is the
// only one left, what may stand at session level for all media sections
// stands in each of them, and candidates are those that a candidate frame may
// bring. The error is a *signaling.Error.
func readOffer(text, videoCodec string, loopback bool) (*offer, error) {
	d, err := parseOffer(text)
	if err != nil {
		return nil, err
	}
	if err := checkSections(d); err != nil {
		return nil, err
	}
	if err := filterCandidates(d, loopback); err != nil {
		return nil, err
	}
	o := &offer{}
	for _, m := range d.MediaDescriptions {
		if err := checkAttributes(m); err != nil {
			return nil, err
		}
		s, err := readSection(m)
		if err != nil {
			return nil, err
		}
		o.sections = append(o.sections, s)
		if err := pinCodec(m, videoCodec); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(d.MediaDescriptions, isActive) {
		return nil, signaling.Errorf(signaling.CodeInvalidSDP, "the offer has no media")
	}
	b, err := d.Marshal()
	if err != nil {
		return nil, signaling.Errorf(signaling.CodeInvalidSDP, "cannot be written again")
	}
	o.sdp = string(b)
	return o, nil
}

// parseOffer reads the text, and gives every section what it has of the session.
func parseOffer(text string) (*sdp.SessionDescription, error) {
	if err := checkSize(text); err != nil {
		return nil, err
	}
	if hidesControl(text) {
		return nil, signaling.Errorf(signaling.CodeInvalidSDP, "control characters within a line")
	}
	d := new(sdp.SessionDescription)
	if d.UnmarshalString(text) != nil { // its error quotes the SDP, which is not to be logged
		return nil, signaling.Errorf(signaling.CodeInvalidSDP, "not an SDP")
	}
	pushDown(d, "fingerprint", "setup", "ice-ufrag", "ice-pwd")
	return d, nil
}

// filterCandidates refuses an offer whose candidates would be refused in frames,
// and takes out those that the media server should not see.
func filterCandidates(d *sdp.SessionDescription, loopback bool) error {
	var refused error
	n := 0
	unwanted := func(a sdp.Attribute) bool {
		if a.Key != "candidate" {
			return false
		}
		_, pass, err := readCandidate(signaling.ICECandidate{Candidate: a.Key + ":" + a.Value}, loopback)
		if n++; err != nil {
			refused = err
		}
		return !pass
	}
	d.Attributes = slices.DeleteFunc(d.Attributes, unwanted)
	for _, m := range d.MediaDescriptions {
		m.Attributes = slices.DeleteFunc(m.Attributes, unwanted)
	}
	if refused == nil && n > maxCandidates {
		refused = signaling.Errorf(signaling.CodeInvalidCandidate, "more than %d candidates", maxCandidates)
	}
	return refused
}

// hidesControl reports whether a line contains control characters. One parser's
// lone CR is another's end of line, behind which anything could hide.
func hidesControl(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\n', c == '\t', c == '\r' && i+1 < len(text) && text[i+1] == '\n':
		case c < ' ', c == 0x7f:
			return true
		}
	}
	return false
}

// pushDown moves attributes from session level into every media section that
// has none of its own. Pion writes its fingerprint at session level, and
// Kurento copies every session attribute of the offer into its answer: there
// Pion finds its own fingerprint, believes it to be Kurento's, and DTLS fails.
// For one that means both, such as ice-ufrag, the same holds.
func pushDown(d *sdp.SessionDescription, keys ...string) {
	for _, key := range keys {
		var moved []sdp.Attribute
		d.Attributes = slices.DeleteFunc(d.Attributes, func(a sdp.Attribute) bool {
			if a.Key != key {
				return false
			}
			moved = append(moved, a)
			return true
		})
		for _, m := range d.MediaDescriptions {
			if _, has := m.Attribute(key); !has {
				m.Attributes = append(m.Attributes, moved...)
			}
		}
	}
}

// isActive reports whether a media section is not rejected (RFC 8866 port 0)
// and carries audio or video. A bundled section may have port 0 as well and
// says bundle-only then (RFC 8843).
func isActive(m *sdp.MediaDescription) bool {
	_, bundled := m.Attribute("bundle-only")
	return (m.MediaName.Port.Value != 0 || bundled) && (m.MediaName.Media == "audio" || m.MediaName.Media == "video")
}

// readSection checks that WebRTC can be set up with a media section: Kurento
// answers nearly everything, and a section without these never connects.
func readSection(m *sdp.MediaDescription) (section, error) {
	mid, _ := m.Attribute("mid")
	fragment, _ := m.Attribute("ice-ufrag")
	s := section{mid: mid, fragment: fragment}
	if !isActive(m) {
		return s, nil
	}
	for _, key := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		if v, _ := m.Attribute(key); v == "" {
			return section{}, signaling.Errorf(signaling.CodeInvalidSDP, "an %s section has no a=%s", m.MediaName.Media, key)
		}
	}
	_, receives := m.Attribute("recvonly")
	if _, idle := m.Attribute("inactive"); !receives && !idle {
		s.sends = m.MediaName.Media
	}
	return s, nil
}

// sends reports whether the member offers to send media of this kind.
func (o *offer) sends(kind string) bool {
	return slices.ContainsFunc(o.sections, func(s section) bool { return s.sends == kind })
}

// pinCodec takes every payload type but those of the codec out of a video
// section. Retransmission (rtx), red and FEC go too: Kurento never answers
// them, so they would only be left to misunderstand.
func pinCodec(m *sdp.MediaDescription, codec string) error {
	if m.MediaName.Media != "video" || !isActive(m) {
		return nil
	}
	keep := payloadTypes(m, codec)
	if len(keep) == 0 {
		return signaling.Errorf(signaling.CodeCodecUnsupported, "the offer's video has no %s", codec)
	}
	m.MediaName.Formats = slices.DeleteFunc(m.MediaName.Formats, func(f string) bool { return !slices.Contains(keep, f) })
	m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool {
		pt, of := attributeOf(a)
		return of && pt != "*" && !slices.Contains(keep, pt)
	})
	return nil
}

// payloadTypes lists the payload types of a media section that have this codec.
func payloadTypes(m *sdp.MediaDescription, codec string) (types []string) {
	for _, a := range m.Attributes {
		if a.Key != "rtpmap" {
			continue
		}
		pt, encoding, _ := strings.Cut(a.Value, " ")
		name, _, _ := strings.Cut(encoding, "/")
		if strings.EqualFold(name, codec) && slices.Contains(m.MediaName.Formats, pt) {
			types = append(types, pt)
		}
	}
	return types
}

// attributeOf is the payload type that an attribute describes; of is false for
// attributes that describe none.
func attributeOf(a sdp.Attribute) (pt string, of bool) {
	switch a.Key {
	case "rtpmap", "fmtp", "rtcp-fb":
		pt, _, _ = strings.Cut(a.Value, " ")
		return pt, true
	}
	return "", false
}
