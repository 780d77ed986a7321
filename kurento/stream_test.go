package kurento

import (
	"encoding/json"
	"testing"

	"github.com/sourcegraph/jsonrpc2"
)

const (
	testObject = ObjectID("ed9a1808-c7a7-4451-8732-7ac217a50d7a_kurento.MediaPipeline/04a7cdb9-0a25-49d6-8016-6a5d9ca162d3_kurento.WebRtcEndpoint")
	testEvent  = `{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"data":{"candidate":{"__module__":"kurento",` +
		`"__type__":"IceCandidate","candidate":"candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host","sdpMLineIndex":0,"sdpMid":"0"},` +
		`"source":"` + string(testObject) + `","tags":[],"timestampMillis":"1795375378000","type":"IceCandidateFound"},` +
		`"object":"` + string(testObject) + `","type":"IceCandidateFound"}}}`
)

// newTestClient returns a client without a connection, and the stream that
// would feed it.
func newTestClient() (*Client, *stream) {
	cfg, _ := Config{URL: "ws://kms/kurento"}.validated()
	c := &Client{cfg: cfg}
	return c, &stream{onEvent: c.event}
}

// FuzzDecode feeds the stream with what is not KMS: it may refuse it, and an
// event that it accepts may fail to decode, but nothing may panic.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		testEvent,
		`{"id":"a-1","jsonrpc":"2.0","result":{"sessionId":"s","value":null}}`,
		`{"error":{"code":40101,"data":{"type":"MEDIA_OBJECT_NOT_FOUND"},"message":"m"},"id":null,"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"data":{"timestampMillis":"","tags":[]},"object":"o","type":"Paused"}}}`,
		`[]`, `{}`, `null`, `{"method":"onEvent"}`, `{"id":1`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &stream{onEvent: func(ev Event) {
			for kind := range eventDecoders {
				_, _ = Event{Object: ev.Object, Type: kind, Data: ev.Data}.Decode()
			}
		}}
		var response jsonrpc2.Response
		_, _ = s.decode(data, &response)
	})
}

// BenchmarkEvent is the way of an event from the received bytes to the end of
// its handler, without and with decoding the body.
func BenchmarkEvent(b *testing.B) {
	for name, handler := range map[string]func(Event){
		"raw":    func(Event) {},
		"decode": func(ev Event) { _, _ = ev.Decode() },
	} {
		b.Run(name, func(b *testing.B) {
			c, s := newTestClient()
			c.listeners.add(&Subscription{client: c, object: testObject, handler: handler, types: []EventType{EventIceCandidateFound}})
			data := []byte(testEvent)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.decode(data, nil); err != nil {
					b.Fatal(err)
				}
			}
			c.listeners.running.Wait()
		})
	}
}

// BenchmarkEventThroughJSONRPC2 is what the decoding alone would cost if
// events went the way that jsonrpc2 provides.
func BenchmarkEventThroughJSONRPC2(b *testing.B) {
	data := []byte(testEvent)
	b.ReportAllocs()
	for b.Loop() {
		var r jsonrpc2.Request
		if err := json.Unmarshal(data, &r); err != nil {
			b.Fatal(err)
		}
		var n notification
		if err := json.Unmarshal(*r.Params, &n.Params); err != nil {
			b.Fatal(err)
		}
	}
}
