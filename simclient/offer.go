package simclient

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/simclient/media"
)

// wording is how libwebrtc writes an offer. What is offered is Pion's; in which
// words, order and numbers is the profile's.
type wording struct {
	// ICEOptions is the value of a=ice-options.
	ICEOptions string
	// AudioReducedSize: audio sections, too, have a=rtcp-rsize.
	AudioReducedSize bool
	// ReceiverRTT: each section has a=rtcp-xr:rcvr-rtt=all.
	ReceiverRTT bool
}

// The RTP header extensions that libwebrtc offers, in its order.
var (
	audioExtensions = [...]string{
		"urn:ietf:params:rtp-hdrext:ssrc-audio-level",
		"http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
		"http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
		"urn:ietf:params:rtp-hdrext:sdes:mid",
	}
	videoExtensions = [...]string{
		"urn:ietf:params:rtp-hdrext:toffset",
		"http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
		"urn:3gpp:video-orientation",
		"http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
		"http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
		"http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
		"http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
		"http://www.webrtc.org/experiments/rtp-hdrext/color-space",
		"urn:ietf:params:rtp-hdrext:sdes:mid",
		"urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
		"urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
	}
)

// highestExtension is the highest id of a one-byte header extension (RFC 8285
// §4.2).
const highestExtension = 14

// extensionIDs numbers header extensions as libwebrtc does. In a bundle an
// extension has one id. It would like to have its place in its section's list;
// if another one has that, it gets the highest one that is free.
type extensionIDs [highestExtension + 1]string // the extension of each id

func (ids *extensionIDs) of(uri string, place int) int {
	if id := slices.Index(ids[:], uri); id > 0 {
		return id
	}
	if ids[place] != "" {
		place = highestExtension
		for ids[place] != "" {
			place--
		}
	}
	ids[place] = uri
	return place
}

// trackNames are the ids that a call's stream and tracks have in offers.
type trackNames struct {
	stream string
	tracks map[string]string // by kind
}

func newTrackNames() trackNames {
	return trackNames{stream: newUUID(), tracks: map[string]string{
		string(media.Audio): newUUID(), string(media.Video): newUUID()}}
}

// write puts an offer of Pion's in the profile's words. Only what is sent is
// written so: Pion's local description stays Pion's, and the answer fits both,
// since mids, payload types, SSRCs and credentials are the same.
func (w *wording) write(offer string, names trackNames) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(offer); err != nil {
		return "", fmt.Errorf("read Pion's offer: %w", err)
	}
	o := offerWriter{wording: w, names: names, session: d.Attributes, cname: newSecret(16)}
	d.Origin = sdp.Origin{Username: "-", SessionID: newSessionID(), SessionVersion: 2,
		NetworkType: "IN", AddressType: "IP4", UnicastAddress: "127.0.0.1"}
	sends := false
	for _, m := range d.MediaDescriptions {
		sends = o.section(m) || sends
	}
	stream := ""
	if sends {
		stream = " " + names.stream
	}
	group, _ := d.Attribute("group")
	d.Attributes = []sdp.Attribute{{Key: "group", Value: group}, {Key: "extmap-allow-mixed"},
		{Key: "msid-semantic", Value: " WMS" + stream}}
	b, err := d.Marshal()
	if err != nil {
		return "", fmt.Errorf("write offer: %w", err)
	}
	return string(b), nil
}

// offerWriter writes the sections of one offer.
type offerWriter struct {
	*wording
	names   trackNames
	session []sdp.Attribute // of Pion's offer
	cname   string
	ids     extensionIDs
	out     []sdp.Attribute // of the section that is being written
}

func (o *offerWriter) add(key, value string) {
	o.out = append(o.out, sdp.Attribute{Key: key, Value: value})
}

// section writes a media section anew and tells whether it sends.
func (o *offerWriter) section(m *sdp.MediaDescription) (sends bool) {
	kind := m.MediaName.Media
	o.out = nil
	o.add("rtcp", "9 IN IP4 0.0.0.0")
	o.transport(m)
	extensions := videoExtensions[:]
	if kind == string(media.Audio) {
		extensions = audioExtensions[:]
	}
	for i, uri := range extensions {
		o.add("extmap", strconv.Itoa(o.ids.of(uri, i+1))+" "+uri)
	}
	o.direction(m)
	if _, sends = m.Attribute("msid"); sends {
		o.add("msid", o.names.stream+" "+o.names.tracks[kind])
	}
	o.add("rtcp-mux", "")
	if kind != string(media.Audio) || o.AudioReducedSize {
		o.add("rtcp-rsize", "")
	}
	if o.ReceiverRTT {
		o.add("rtcp-xr", "rcvr-rtt=all")
	}
	for _, pt := range m.MediaName.Formats {
		o.codec(m, pt)
	}
	o.sources(m, kind)
	m.Attributes = o.out
	return sends
}

// transport writes ICE and DTLS, which Pion puts partly at session level.
func (o *offerWriter) transport(m *sdp.MediaDescription) {
	for _, key := range []string{"ice-ufrag", "ice-pwd", "ice-options", "fingerprint", "setup", "mid"} {
		value, ok := m.Attribute(key)
		if key == "ice-options" {
			value, ok = o.ICEOptions, true
		}
		for _, a := range o.session {
			if !ok && a.Key == key {
				value = a.Value
			}
		}
		o.add(key, value)
	}
}

func (o *offerWriter) direction(m *sdp.MediaDescription) {
	for _, a := range m.Attributes {
		switch a.Key {
		case "sendrecv", "sendonly", "recvonly", "inactive":
			o.add(a.Key, "")
		}
	}
}

// codec writes what describes one payload type, in libwebrtc's order.
func (o *offerWriter) codec(m *sdp.MediaDescription, pt string) {
	for _, key := range []string{"rtpmap", "rtcp-fb", "fmtp"} {
		for _, a := range m.Attributes {
			if of, _, _ := strings.Cut(a.Value, " "); a.Key == key && of == pt {
				o.add(key, a.Value)
			}
		}
	}
}

// sources writes the SSRCs, each with cname and msid alone.
func (o *offerWriter) sources(m *sdp.MediaDescription, kind string) {
	seen := map[string]bool{}
	for _, a := range m.Attributes {
		if a.Key == "ssrc-group" {
			o.add(a.Key, a.Value)
		}
	}
	for _, a := range m.Attributes {
		ssrc, _, _ := strings.Cut(a.Value, " ")
		if a.Key != "ssrc" || seen[ssrc] {
			continue
		}
		seen[ssrc] = true
		o.add("ssrc", ssrc+" cname:"+o.cname)
		o.add("ssrc", ssrc+" msid:"+o.names.stream+" "+o.names.tracks[kind])
	}
}

// credentials are the ICE credentials of a leg as libwebrtc makes them: 4 and 24
// characters (RFC 8445 §5.3 asks for at least 24 and 128 bits).
func credentials(s *webrtc.SettingEngine) { s.SetICECredentials(newSecret(4), newSecret(24)) }

// newSecret is n random characters of the alphabet that libwebrtc draws from.
func newSecret(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, n)
	rand.Read(b) // it never fails
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	return string(b)
}

// newSessionID is a random number of 19 digits, as most of those are that
// libwebrtc draws evenly below 2⁶³.
func newSessionID() uint64 {
	const least = 1_000_000_000_000_000_000
	n, err := rand.Int(rand.Reader, big.NewInt(1<<63-1-least))
	if err != nil { // it never fails
		return least
	}
	return least + n.Uint64()
}

// newUUID is a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
