package kmsmock

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
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
	Error       *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
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
	var offers []recordedOffer
	readTestdata(t, "offers.json", &offers)
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	for _, o := range offers {
		t.Run(o.Name, func(t *testing.T) {
			args := map[string]any{"mediaPipeline": pipe}
			for k, v := range o.Constructor {
				args[k] = v
			}
			ep := kms.create("WebRtcEndpoint", args)
			o.compare(t, kms, ep)
			kms.value("release", map[string]any{"object": ep})
		})
	}
	kms.value("release", map[string]any{"object": pipe})
}

func (o *recordedOffer) compare(t *testing.T, kms *testClient, ep string) {
	offer := map[string]any{"object": ep, "operation": "processOffer", "operationParams": map[string]any{"offer": o.Offer}}
	if o.Error != nil {
		if code, text := kms.fails("invoke", offer); code != o.Error.Code || text != o.Error.Message {
			t.Errorf("%d %s, want %d %s", code, text, o.Error.Code, o.Error.Message)
		}
	} else if got, want := maskAnswer(kms.value("invoke", offer).(string)), maskAnswer(o.Answer); got != want {
		t.Errorf("answer %s\nwant %s%s", got, want, firstDifference(want, got))
	}
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

// maskAnswer masks the fingerprint as the recordings do, and all else that
// differs from run to run.
func maskAnswer(s string) string {
	return strings.ReplaceAll(mask(s), "a=fingerprint:sha-256 F\r", "a=fingerprint:F\r")
}
