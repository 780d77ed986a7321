package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/callbench/callbench/signaling"
)

// specimen is what a real Chromium offered.
type specimen struct {
	Offer    string
	Gathered struct {
		Candidates []struct {
			Candidate        string
			SDPMid           string
			SDPMLineIndex    int
			UsernameFragment string
		}
	}
}

func specimens(t testing.TB) map[string]specimen {
	t.Helper()
	files, err := filepath.Glob("testdata/chromium/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	all := make(map[string]specimen)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r specimen
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = r
	}
	return all
}

func lines(s string) []string {
	return strings.Split(strings.TrimSuffix(s, "\r\n"), "\r\n")
}

// TestChromiumOffers pins VP8 and leaves everything else as it was.
func TestChromiumOffers(t *testing.T) {
	for name, r := range specimens(t) {
		t.Run(name, func(t *testing.T) {
			o, err := readOffer(r.Offer, "VP8", false)
			if err != nil {
				t.Fatal(err)
			}
			before, after := lines(r.Offer), lines(o.sdp)
			for _, l := range after {
				if !slices.Contains(before, l) && !strings.HasPrefix(l, "m=video ") {
					t.Errorf("%q was made up", l)
				}
			}
			for _, l := range before {
				if slices.Contains(after, l) || strings.HasPrefix(l, "m=video ") {
					continue
				}
				if !strings.HasPrefix(l, "a=rtpmap:") && !strings.HasPrefix(l, "a=fmtp:") && !strings.HasPrefix(l, "a=rtcp-fb:") {
					t.Errorf("%q was lost", l)
				}
			}
			if n := strings.Count(o.sdp, "VP8/90000"); n != strings.Count(r.Offer, "VP8/90000") {
				t.Errorf("VP8 is offered %d times", n)
			}
			for _, other := range []string{"H264/", "VP9/", "AV1/", "rtx/", "ulpfec/", "red/90000"} {
				if strings.Contains(o.sdp, other) {
					t.Errorf("%s is still offered", other)
				}
			}
			checkCandidates(t, r, o)
		})
	}
}

// checkCandidates passes every candidate of the recording, or drops it if it is
// an mDNS name.
func checkCandidates(t *testing.T, r specimen, o *offer) {
	t.Helper()
	if len(r.Gathered.Candidates) == 0 {
		t.Error("the recording has no candidates")
	}
	for _, c := range r.Gathered.Candidates {
		if c.Candidate == "" { // the last is null
			continue
		}
		index := c.SDPMLineIndex
		in := signaling.ICECandidate{Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: &index, UsernameFragment: c.UsernameFragment}
		got, wanted, err := readCandidate(in, false)
		if err != nil || wanted == strings.Contains(c.Candidate, ".local") {
			t.Errorf("%s: wanted %v, %v", c.Candidate, wanted, err)
			continue
		}
		if !wanted {
			continue
		}
		placed, stale, err := got.place(o)
		if err != nil || stale || placed.Text != c.Candidate || placed.SDPMid != c.SDPMid || placed.SDPMLineIndex != c.SDPMLineIndex {
			t.Errorf("%s became %+v, stale %v, %v", c.Candidate, placed, stale, err)
		}
	}
}

// Fingerprints of nobody's certificates.
var (
	fingerprintA = strings.Repeat("AA:", 31) + "AA"
	fingerprintB = strings.Repeat("BB:", 31) + "BB"
	fingerprintC = strings.Repeat("CC:", 31) + "CC"
)

// small is an offer that a case changes.
var small = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 " + fingerprintA + "\r\na=rtpmap:111 opus/48000/2\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 " + fingerprintB + "\r\na=rtpmap:96 VP8/90000\r\n"

func TestOffers(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, new string // replaced in small
		codec    string
		code     signaling.Code
	}{
		{"as it is", "", "", "VP8", ""},
		{"codec in small letters", "VP8", "vp8", "VP8", ""},
		{"another codec is pinned", "", "", "H264", signaling.CodeCodecUnsupported},
		{"no VP8", "VP8", "VP9", "VP8", signaling.CodeCodecUnsupported},
		{"VP8 that the m-line does not list", "SAVPF 96", "SAVPF 97", "VP8", signaling.CodeCodecUnsupported},
		{"video rejected", "m=video 9", "m=video 0", "H264", ""},
		{"no fingerprint", "a=fingerprint:sha-256 " + fingerprintA + "\r\n", "", "VP8", signaling.CodeInvalidSDP},
		{"no ufrag", "a=mid:a\r\na=ice-ufrag:u\r\n", "a=mid:a\r\n", "VP8", signaling.CodeInvalidSDP},
		{"no pwd", "a=ice-pwd:p\r\na=fingerprint:sha-256 " + fingerprintB, "a=fingerprint:sha-256 " + fingerprintB, "VP8", signaling.CodeInvalidSDP},
		{"no version", "v=0\r\n", "", "VP8", signaling.CodeInvalidSDP},
		{"no media", small[strings.Index(small, "m="):], "", "VP8", signaling.CodeInvalidSDP},
		{"nothing", small, "", "VP8", signaling.CodeInvalidSDP},
		{"a line within a line", "a=mid:a", "a=mid:a\ra=fingerprint:sha-256 DD", "VP8", signaling.CodeInvalidSDP},
		{"lines that end in LF", small, strings.ReplaceAll(small, "\r\n", "\n"), "VP8", ""},
		{"two sections of one name", "a=mid:v", "a=mid:a", "VP8", signaling.CodeInvalidSDP},
		{"a name that is no token", "a=mid:v", "a=mid:v w", "VP8", signaling.CodeInvalidSDP},
		{"a long name", "a=mid:v", "a=mid:" + strings.Repeat("v", 33), "VP8", signaling.CodeInvalidSDP},
		{"a side that knows what it is", "a=mid:v", "a=mid:v\r\na=setup:active", "VP8", ""},
		{"a side that does not", "a=mid:v", "a=mid:v\r\na=setup:holdconn", "VP8", signaling.CodeInvalidSDP},
		{"a side that is none", "a=mid:v", "a=mid:v\r\na=setup:maybe", "VP8", signaling.CodeInvalidSDP},
		{"a short fingerprint", "AA:AA:", "AA:", "VP8", signaling.CodeInvalidSDP},
		{"a fingerprint of other digits", "AA:AA:", "AG:AA:", "VP8", signaling.CodeInvalidSDP},
		{"a fingerprint in small letters", "AA:AA:", "aa:aa:", "VP8", ""},
		{"a fingerprint of MD5", "sha-256 " + fingerprintA, "md5 " + strings.Repeat("AA:", 15) + "AA", "VP8", signaling.CodeInvalidSDP},
		{"a fingerprint of SHA-1", "sha-256 " + fingerprintA, "SHA-1 " + strings.Repeat("AA:", 19) + "AA", "VP8", ""},
		{"two fingerprints, one wrong", "a=mid:v", "a=mid:v\r\na=fingerprint:sha-512 AA", "VP8", signaling.CodeInvalidSDP},
		{"a ufrag that could not be", "a=ice-ufrag:u", "a=ice-ufrag:u v", "VP8", signaling.CodeInvalidSDP},
		{"a long password", "a=ice-pwd:p", "a=ice-pwd:" + strings.Repeat("p", 257), "VP8", signaling.CodeInvalidSDP},
		{"no DTLS", "m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP", "VP8", signaling.CodeInvalidSDP},
		{"no DTLS where nothing is sent", "m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 0 RTP/AVP", "VP8", ""},
		{"many sections", "m=video", strings.Repeat("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n", 15) + "m=video", "VP8", signaling.CodeInvalidSDP},
		{"very long", "s=-", "s=" + strings.Repeat("x", 48<<10), "VP8", signaling.CodeInvalidSDP},
		{"a port that is none", "m=audio 9", "m=audio nine", "VP8", signaling.CodeInvalidSDP},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(small, test.old, test.new, 1)
			_, err := readOffer(text, test.codec, false)
			if test.code == "" && err != nil || test.code != "" && (err == nil || signaling.AsError(err).Code != test.code) {
				t.Errorf("got %v, want %q", err, test.code)
			}
			if err != nil && strings.Contains(err.Error(), "nine") {
				t.Errorf("%v quotes the SDP", err)
			}
		})
	}
}

// TestSessionAttributesMoveDown is the trap that Pion falls into.
func TestSessionAttributesMoveDown(t *testing.T) {
	text := strings.Replace(small, "a=fingerprint:sha-256 "+fingerprintA+"\r\n", "", 1)
	text = strings.ReplaceAll(text, "a=ice-pwd:p\r\n", "")
	text = strings.Replace(text, "t=0 0\r\n", "t=0 0\r\na=fingerprint:sha-256 "+fingerprintC+"\r\na=setup:actpass\r\na=ice-pwd:q\r\na=group:BUNDLE a v\r\n", 1)
	o, err := readOffer(text, "VP8", false)
	if err != nil {
		t.Fatal(err)
	}
	var d sdp.SessionDescription
	if err := d.UnmarshalString(o.sdp); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"fingerprint", "setup", "ice-pwd"} {
		if v, ok := d.Attribute(key); ok {
			t.Errorf("%s:%s is still at session level", key, v)
		}
	}
	want := []map[string]string{
		{"fingerprint": "sha-256 " + fingerprintC, "setup": "actpass", "ice-pwd": "q"},
		{"fingerprint": "sha-256 " + fingerprintB, "setup": "actpass", "ice-pwd": "q"}, // its own fingerprint counts
	}
	for i, m := range d.MediaDescriptions {
		for key, value := range want[i] {
			if got, _ := m.Attribute(key); got != value {
				t.Errorf("section %d has %s:%s, want %s", i, key, got, value)
			}
		}
	}
	if _, ok := d.Attribute("group"); !ok {
		t.Error("the bundle is gone")
	}
}

func FuzzReadOffer(f *testing.F) {
	f.Add(small)
	for _, r := range specimens(f) {
		f.Add(r.Offer)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := readOffer(text, "VP8", false)
		if err != nil {
			if signaling.AsError(err).Code == signaling.CodeInternal {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		again, err := readOffer(o.sdp, "VP8", false)
		if err != nil || again.sdp != o.sdp {
			t.Errorf("what was made is not stable: %v\n%q\n%q", err, o.sdp, again)
		}
	})
}

func FuzzReadCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host", "0", 0)
	f.Add("candidate:1 1 tcp 1518280447 10.0.0.2 9 typ host tcptype active generation 0 ufrag x", "", 1)
	f.Add("a=candidate:1 1 UDP 1 ::1 1 typ relay raddr 1.2.3.4 rport 5", "v", -1)
	o := &offer{sections: []section{{mid: "0", fragment: "x"}, {mid: "v", fragment: "y"}}}
	f.Fuzz(func(t *testing.T, text, mid string, index int) {
		c, wanted, err := readCandidate(signaling.ICECandidate{Candidate: text, SDPMid: mid, SDPMLineIndex: &index}, false)
		if err != nil || !wanted {
			return
		}
		if strings.ContainsAny(c.Text, "\r\n") || !strings.HasPrefix(c.Text, "candidate:") {
			t.Errorf("%q passed", c.Text)
		}
		placed, _, err := c.place(o)
		if err == nil && c.Fragment == "" && o.sections[placed.SDPMLineIndex].mid != placed.SDPMid {
			t.Errorf("%+v is in no section", placed)
		}
	})
}
