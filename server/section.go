package server

import (
	"slices"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/callbench/callbench/signaling"
)

// Limits of an SDP offer. Chromium's, with audio, video, data and every codec that
// it has, is some 8 KB and three sections long; with as many candidates as a leg may
// have it is longer.
const (
	maxSDP        = 48 << 10 // bytes
	maxSections   = 16
	maxMid        = 32  // bytes; browsers count them
	maxCredential = 256 // bytes of ice-ufrag and ice-pwd (RFC 8839 §5.4)
)

// The transports that WebRTC has (RFC 8829 §5.1.2, RFC 8841 §4), by kind of media.
var transports = map[string][]string{
	"audio":       {"UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF"},
	"video":       {"UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF"},
	"application": {"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"},
}

// fingerprintBytes is how long fingerprints are, by hash function. MD2 and MD5 must
// not be used (RFC 8122 §5).
var fingerprintBytes = map[string]int{"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}

func invalidSDP(format string, args ...any) error {
	return signaling.Errorf(signaling.CodeInvalidSDP, format, args...)
}

// checkSize refuses an offer that is longer than any browser's.
func checkSize(text string) error {
	if len(text) > maxSDP {
		return invalidSDP("longer than %d bytes", maxSDP)
	}
	return nil
}

// checkSections refuses sections that nobody could tell apart.
func checkSections(d *sdp.SessionDescription) error {
	if n := len(d.MediaDescriptions); n > maxSections {
		return invalidSDP("%d media sections, and at most %d may be", n, maxSections)
	}
	seen := map[string]bool{}
	for _, m := range d.MediaDescriptions {
		mid, has := m.Attribute("mid")
		switch {
		case !has:
			continue
		case seen[mid]:
			return invalidSDP("two media sections have the same a=mid")
		case !isToken(mid) || len(mid) > maxMid:
			return invalidSDP("an a=mid is no token of at most %d characters", maxMid)
		}
		seen[mid] = true
	}
	return nil
}

// checkAttributes refuses values of a section that cannot be meant. A wrong one
// reaches the media server as it is, and fails there later and without a word.
func checkAttributes(m *sdp.MediaDescription) error {
	kind := m.MediaName.Media
	if _, bundled := m.Attribute("bundle-only"); m.MediaName.Port.Value == 0 && !bundled { // rejected
		return nil
	}
	if protos, known := transports[kind]; known && !slices.Contains(protos, strings.Join(m.MediaName.Protos, "/")) {
		return invalidSDP("the %s section has a transport that WebRTC has not", kind)
	}
	for _, a := range m.Attributes {
		var ok bool
		switch a.Key {
		case "setup":
			ok = a.Value == "actpass" || a.Value == "active" || a.Value == "passive"
		case "fingerprint":
			ok = isFingerprint(a.Value)
		case "ice-ufrag", "ice-pwd":
			ok = a.Value != "" && len(a.Value) <= maxCredential && strings.IndexFunc(a.Value, notICE) < 0
		default:
			continue
		}
		if !ok {
			return invalidSDP("the %s section has a wrong a=%s", kind, a.Key)
		}
	}
	return nil
}

// isFingerprint reports whether this is a hash function and as many bytes as it
// makes (RFC 8122 §5).
func isFingerprint(value string) bool {
	hash, digits, _ := strings.Cut(value, " ")
	bytes := strings.Split(digits, ":")
	return len(bytes) == fingerprintBytes[strings.ToLower(hash)] && !slices.ContainsFunc(bytes, func(b string) bool {
		return len(b) != 2 || strings.IndexFunc(b, notHex) >= 0
	})
}

func notHex(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'F') && (r < 'a' || r > 'f')
}

// notICE reports what is no ice-char (RFC 8839 §5.1).
func notICE(r rune) bool { return !isAlphanumeric(r) && r != '+' && r != '/' }

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// isToken reports whether this is a token of RFC 8866 §9.
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`{|}~", r) }) < 0
}
