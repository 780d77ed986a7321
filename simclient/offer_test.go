package simclient

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// difference is one between what a profile sends and what the real one does.
type difference struct {
	in   []string // the recordings that it is in
	line string   // "-" for what the real one has, "+" for what the profile has
	why  string
}

// differences are all that remain between the electron profile and Chromium,
// chance aside. docs/profiles.md has them too.
var differences = []difference{
	{in: []string{"audio_video", "video_first"},
		line: "-candidate:<foundation 1> 1 udp 2122260223 <address 1> <port 2> typ host generation 0 ufrag <ufrag 1> network-id 1", why: ownPort},
	{in: []string{"audio_video", "video_first"},
		line: "+candidate:<foundation 1> 1 udp 2122260223 <address 1> <port 1> typ host generation 0 ufrag <ufrag 1> network-id 1", why: ownPort},
	{in: []string{"recvonly_mdns"},
		line: "-candidate:<foundation 1> 1 udp 2113937151 <name 1> <port 2> typ host generation 0 ufrag <ufrag 1> network-cost 999", why: ownPort},
	{in: []string{"recvonly_mdns"},
		line: "+candidate:<foundation 1> 1 udp 2113937151 <name 1> <port 1> typ host generation 0 ufrag <ufrag 1> network-cost 999", why: ownPort},
}

const ownPort = "Until the answer bundles the sections, Chromium gathers a port for each (bundle policy balanced). Pion gathers for the " +
	"bundle alone, and the second section repeats its port. Every answer of this product bundles, after which Chromium, too, " +
	"uses the first section's transport and gives up the other's, so that nobody is ever reached at the other port."

// sent is what a client sends to set up a leg.
type sent struct {
	offer      string
	candidates []*trickled
}

// offers makes two clients call each other and returns what the caller sent.
func offers(t *testing.T, options ...func(*Config)) sent {
	t.Helper()
	var s sent
	bubble(t, func(r *rig) {
		r.srv.onRequest = func(from *fakeSession, f signaling.Frame) bool {
			var rtc signaling.RTC
			if err := f.Into(&rtc); err != nil || from.user != "alice" {
				return false
			}
			switch f.Action {
			case signaling.ActionOffer:
				s.offer = rtc.SDP
			case signaling.ActionCandidate:
				for _, c := range rtc.Batch() {
					s.candidates = append(s.candidates, &trickled{c.Candidate, c.SDPMid, *c.SDPMLineIndex, c.UsernameFragment})
				}
			}
			return false
		}
		alice, bob := r.connected("alice", options...), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(time.Second)
		alice.none(t, eventFailure)
	})
	return s
}

func audioOnly(t *testing.T) func(*Config) {
	clip, err := media.Load(media.ClipOpus)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Clips = []*media.Clip{clip} }
}

func receiveOnly(c *Config) { c.NoCamera, c.NoMicrophone = true, true }
func videoFirst(c *Config)  { c.VideoFirst = true }

// TestElectronOffers compares what the electron profile sends with what Chromium
// does, line by line. What differs is listed in differences, or this fails; and
// so it does for what is listed and does not differ any more.
func TestElectronOffers(t *testing.T) {
	option := map[string]func(*Config){"audio_video": func(*Config) {}, "audio_only": audioOnly(t), "video_first": videoFirst,
		"recvonly_mdns": receiveOnly}
	for _, name := range []string{"audio_video", "audio_only", "video_first", "recvonly_mdns"} {
		t.Run(name, func(t *testing.T) {
			real, ours := readRecording(t, name), offers(t, option[name])
			a, b := newNormalizer(), newNormalizer()
			found := differ(append(a.offer(real.Offer), a.candidates(real.Gathered.Candidates)...),
				append(b.offer(ours.offer), b.candidates(ours.candidates)...))
			justify(t, name, found)
		})
	}
}

// justify fails for every difference found that is not listed, and for every
// listed one that was not found.
func justify(t *testing.T, recording string, found []string) {
	t.Helper()
	listed := map[string]bool{}
	for _, d := range differences {
		if !slices.Contains(d.in, recording) {
			continue
		}
		listed[d.line] = true
		if !slices.Contains(found, d.line) {
			t.Errorf("%q is listed as a difference, and is none any more", d.line)
		}
	}
	for _, line := range found {
		if !listed[line] {
			t.Errorf("not listed: %s", line)
		}
	}
}

// TestReactNativeOffers compares what the react-native profile sends with what
// is written down of it, and why, in testdata/react-native.
func TestReactNativeOffers(t *testing.T) {
	native := func(c *Config) { c.Profile = ReactNative() }
	tests := map[string][]func(*Config){
		"audio_video": {native},
		"video_alone": {native, func(c *Config) { c.NoMicrophone = true }},
	}
	for name, options := range tests {
		t.Run(name, func(t *testing.T) {
			s := offers(t, options...)
			n := newNormalizer()
			for _, d := range differ(expected(t, name), append(n.offer(s.offer), n.candidates(s.candidates)...)) {
				t.Error(d)
			}
		})
	}
}

// expected reads a file of normalized lines, in which lines that begin with # are
// comments.
func expected(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/react-native/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range bytes.Lines(b) {
		if text := strings.TrimRight(string(line), "\n"); text != "" && !strings.HasPrefix(text, "#") {
			lines = append(lines, text)
		}
	}
	return lines
}

// TestReceiveOnly: who may use neither camera nor microphone hears and sees the
// other one all the same, and is reached without having told an address.
func TestReceiveOnly(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice", receiveOnly), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(5 * time.Second)
		alice.one(t, eventConnected)
		alice.one(t, eventFlow, "media=audio", "state=flowing", "from=bob")
		alice.one(t, eventFlow, "media=video", "state=flowing", "from=bob")
		bob.none(t, eventFlow)
		alice.none(t, eventFailure)
		r.must(alice.Hangup(r.ctx))
		alice.none(t, eventMediaSent)
	})
}

// TestLegsHaveTheirOwnCredentials: a new leg is a new ICE session, in all else
// the same app.
func TestLegsHaveTheirOwnCredentials(t *testing.T) {
	var sdps []string
	bubble(t, func(r *rig) {
		r.withMedia()
		r.srv.onRequest = func(from *fakeSession, f signaling.Frame) bool {
			var rtc signaling.RTC
			if f.Action == signaling.ActionOffer && from.user == "alice" && f.Into(&rtc) == nil {
				sdps = append(sdps, rtc.SDP)
			}
			return false
		}
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, time.Second, eventConnected)
		r.srv.locked(func() {
			r.srv.sessions["alice"].rtc(signaling.ActionNegotiate, signaling.RTC{CallID: "c-1", RoomID: "r-1", Reason: signaling.ReasonDTLSTimeout})
		})
		alice.wait(t, time.Second, eventConnected, "leg=2")
	})
	if len(sdps) != 2 {
		t.Fatalf("%d offers", len(sdps))
	}
	n := newNormalizer()
	diffs := differ(n.offer(sdps[0]), n.offer(sdps[1]))
	for _, kind := range []string{"session", "ufrag", "pwd", "cname"} {
		if len(n.seen[kind]) != 2 {
			t.Errorf("%d values of %s in two offers: %q", len(n.seen[kind]), kind, diffs)
		}
	}
	for _, kind := range []string{"stream", "fingerprint"} {
		if len(n.seen[kind]) != 1 {
			t.Errorf("%d values of %s in two offers: %q", len(n.seen[kind]), kind, diffs)
		}
	}
}

// TestChromiumRestart: restartIce makes new credentials and counts the session's
// version up, and changes nothing else. docs/profiles.md says why the electron
// profile makes a new leg instead.
func TestChromiumRestart(t *testing.T) {
	r := readRecording(t, "restart_ice")
	n := newNormalizer()
	first, second := n.offer(r.Offer), n.offer(r.Restart)
	for i, line := range second {
		switch {
		case strings.HasPrefix(line, "o=- <session 1> "):
			if first[i] != "o=- <session 1> 2 IN IP4 127.0.0.1" || line != "o=- <session 1> 3 IN IP4 127.0.0.1" {
				t.Errorf("%s, then %s", first[i], line)
			}
		case strings.HasPrefix(line, "a=ice-ufrag:"), strings.HasPrefix(line, "a=ice-pwd:"):
			if line == first[i] {
				t.Errorf("the same again: %s", line)
			}
		case line != first[i]:
			t.Errorf("%s, then %s", first[i], line)
		}
	}
}

// TestDocumentedDifferences: docs/profiles.md lists the differences as the test
// does.
func TestDocumentedDifferences(t *testing.T) {
	const path, begin, end = "../docs/profiles.md", "<!-- differences:begin -->\n", "<!-- differences:end -->\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| recording | Chromium (-), the profile (+) | why, and why it does not matter |\n| --- | --- | --- |\n")
	for _, d := range differences {
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", strings.Join(d.in, ", "), d.line, d.why)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s…%s", path, begin, end)
	}
	if old == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s lists other differences than the test; go test ./simclient -run TestDocumentedDifferences -update writes them", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
