package kmsmock

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A recordedOffer is an offer with what a real server made of it. What differs
// from run to run is masked.
type recordedOffer struct {
	Name        string         `json:"name"`
	Offer       string         `json:"offer"`
	Constructor map[string]any `json:"constructor"`
	Answer      string         `json:"answer"`
	Remote      string         `json:"remote"`   // of getRemoteSessionDescriptor, "" for the offer itself
	NoRemote    bool           `json:"noRemote"` // there is none
	Error       *recordedError `json:"error"`

	Options    map[string]any `json:"options"`    // of generateOffer
	Properties map[string]int `json:"properties"` // set before
	Again      *recordedError `json:"again"`      // when a good answer follows, nil if that is taken
}

type recordedError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// dialServer dials the server at CALLBENCH_KMS_URL, or a mock.
func dialServer(t *testing.T) *testClient {
	t.Helper()
	if url := os.Getenv("CALLBENCH_KMS_URL"); url != "" {
		kms := dialURL(t, url, (&net.Dialer{}).DialContext)
		t.Cleanup(kms.close)
		return kms
	}
	_, l := startMock(t, Config{Timing: Fast})
	kms := dialTest(t, l)
	t.Cleanup(kms.close)
	return kms
}

func readTestdata(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	must(t, json.Unmarshal(b, into))
}

// TestAnswers holds the mock to the answers of a real server, line by line.
func TestAnswers(t *testing.T) {
	compareOffers(t, "WebRtcEndpoint", "offers.json")
}

// TestRtpEndpointAnswers does so with endpoints that have no ICE.
func TestRtpEndpointAnswers(t *testing.T) {
	compareOffers(t, "RtpEndpoint", "rtp_offers.json")
}

func compareOffers(t *testing.T, class, file string) {
	t.Helper()
	var offers []recordedOffer
	readTestdata(t, file, &offers)
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	for _, o := range offers {
		t.Run(o.Name, func(t *testing.T) {
			args := map[string]any{"mediaPipeline": pipe}
			for k, v := range o.Constructor {
				args[k] = v
			}
			ep := kms.create(class, args)
			o.compare(t, kms, ep)
			kms.value("release", map[string]any{"object": ep})
		})
	}
	kms.value("release", map[string]any{"object": pipe})
}

func (o *recordedOffer) compare(t *testing.T, kms *testClient, ep string) {
	t.Helper()
	o.process(t, kms, ep, "processOffer", "offer")
	if o.NoRemote {
		kms.fails("invoke", map[string]any{"object": ep, "operation": "getRemoteSessionDescriptor"})
		return
	}
	want := o.Remote
	if want == "" {
		want = o.Offer
	}
	if got := kms.invoke(ep, "getRemoteSessionDescriptor", nil); got != want {
		t.Errorf("remote description %q\nwant %q", got, want)
	}
}

// process gives the endpoint the description and compares what comes of it.
func (o *recordedOffer) process(t *testing.T, kms *testClient, ep, operation, parameter string) {
	t.Helper()
	offer := map[string]any{"object": ep, "operation": operation, "operationParams": map[string]any{parameter: o.Offer}}
	if o.Error != nil {
		if code, text := kms.fails("invoke", offer); code != o.Error.Code || text != o.Error.Message {
			t.Errorf("%d %s, want %d %s", code, text, o.Error.Code, o.Error.Message)
		}
	} else if got, want := maskAnswer(kms.value("invoke", offer).(string)), maskAnswer(o.Answer); got != want {
		t.Errorf("answer %s\nwant %s%s", got, want, firstDifference(want, got))
	}
}

// answerMasks hide what differs from run to run.
var answerMasks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`o=- \d+ \d+ IN`), "o=- N N IN"},
	{regexp.MustCompile(`a=ssrc:\d+ cname:user\d+@host-[0-9a-f]+`), "a=ssrc:N cname:C"},
	{regexp.MustCompile(`a=ice-ufrag:\S{4}\r`), "a=ice-ufrag:U\r"},
	{regexp.MustCompile(`a=ice-pwd:\S{22}\r`), "a=ice-pwd:P\r"},
	{regexp.MustCompile(`a=fingerprint:sha-256 [0-9A-F:]{95}`), "a=fingerprint:F"},
	{regexp.MustCompile(`a=sctp-port:\d+`), "a=sctp-port:S"},
	// Of RtpEndpoints.
	{regexp.MustCompile(`m=(\w+) \d{3,} `), "m=$1 P "},
	{regexp.MustCompile(`a=rtcp:\d{3,}`), "a=rtcp:P"},
	{regexp.MustCompile(`((?:o=- N N|c=)(?: ?)IN IP4) (?:127|10|172|192)\S+`), "$1 A"},
}

func maskAnswer(s string) string {
	for _, m := range answerMasks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	return s
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\r\n"), strings.Split(got, "\r\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("\n\tfirst at line %d: %q, want %q", i+1, g[i], w[i])
		}
	}
	return ""
}

// TestOwnOffers holds the mock to the offers of a real server.
func TestOwnOffers(t *testing.T) {
	var offers []recordedOffer
	readTestdata(t, "own_offers.json", &offers)
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	for _, o := range offers {
		t.Run(o.Name, func(t *testing.T) {
			args := map[string]any{"mediaPipeline": pipe}
			for k, v := range o.Constructor {
				args[k] = v
			}
			ep := kms.create("WebRtcEndpoint", args)
			for name, v := range o.Properties {
				kms.invoke(ep, "set"+strings.ToUpper(name[:1])+name[1:], map[string]any{name: v})
			}
			options := map[string]any{}
			if o.Options != nil {
				options["options"] = o.Options
			}
			got, want := maskAnswer(kms.invoke(ep, "generateOffer", options).(string)), maskAnswer(o.Answer)
			if got != want {
				t.Errorf("offer %s\nwant %s%s", got, want, firstDifference(want, got))
			}
		})
	}
	kms.value("release", map[string]any{"object": pipe})
}

// TestProcessedAnswers gives answers of every kind to an offer of the server's.
func TestProcessedAnswers(t *testing.T) {
	var answers []recordedOffer
	readTestdata(t, "processed_answers.json", &answers)
	good := answers[0].Offer
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	for _, o := range answers {
		t.Run(o.Name, func(t *testing.T) {
			ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
			kms.invoke(ep, "generateOffer", nil)
			o.process(t, kms, ep, "processAnswer", "answer")
			again := map[string]any{"object": ep, "operation": "processAnswer", "operationParams": map[string]any{"answer": good}}
			if o.Again == nil {
				kms.value("invoke", again)
			} else if code, text := kms.fails("invoke", again); code != o.Again.Code || text != o.Again.Message {
				t.Errorf("again: %d %s, want %d %s", code, text, o.Again.Code, o.Again.Message)
			}
		})
	}
	kms.value("release", map[string]any{"object": pipe})
}

// TestTooLongAnswerIsTheEnd imitates a crash of Kurento's own.
func TestTooLongAnswerIsTheEnd(t *testing.T) {
	inBubble(t, 0, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": kms.create("MediaPipeline", nil)})
		kms.invoke(ep, "generateOffer", nil)
		answer := "v=0\r\n" + strings.Repeat("m=audio 9 RTP/SAVPF 96\r\n", 3)
		must(t, kms.ws.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": 99, "method": "invoke", "params": map[string]any{
			"object": ep, "operation": "processAnswer", "operationParams": map[string]any{"answer": answer}}}))
		kms.wg.Wait() // until the connection is cut
	})
}

// TestEndpointIsStuckWithAnOfferItCannotAnswer was seen on a real server.
func TestEndpointIsStuckWithAnOfferItCannotAnswer(t *testing.T) {
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe, "useDataChannels": true})
	process := func(offer string) map[string]any {
		return map[string]any{"object": ep, "operation": "processOffer", "operationParams": map[string]any{"offer": offer}}
	}
	for _, offer := range []string{"v=0\r\nm=application 9 DTLS/SCTP 5000\r\na=sctpmap:5000 webrtc-datachannel 1024\r\n", "v=0\r\n"} {
		if code, text := kms.fails("invoke", process(offer)); code != 40205 || text != "Error processing offer" {
			t.Errorf("%q: %d %s", offer, code, text)
		}
	}
	if code, text := kms.fails("invoke", map[string]any{"object": ep, "operation": "generateOffer"}); code != 40204 {
		t.Errorf("generateOffer: %d %s", code, text)
	}
	kms.value("release", map[string]any{"object": pipe})
}
