package kmsmock

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pion/ice/v4"
)

// FuzzCandidate gives an endpoint any text for a candidate: it takes all of
// them, as Kurento does, and what it repeats of them reads as a candidate.
func FuzzCandidate(f *testing.F) {
	for _, text := range []string{
		"candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host", "a=candidate:1 1 tcp 1 ::1 9 typ host tcptype active generation 0",
		"candidate:7 1 UDP 505414655 127.0.0.2 36128 typ relay raddr 127.0.0.1 rport 28955", "candidate:1 2 UDP 1 x.local 5 typ host",
		"candidate:1 1 UDP 1 10.0.0.1 5 typ prflx raddr 0.0.0.0 rport 0 ufrag abcd network-cost 999", "", "a=end-of-candidates", "candidate:",
	} {
		f.Add(text, "0", 0)
	}
	s, err := New(Config{Timing: Fast, Interfaces: []string{"lo"}, DisableRequestCache: true})
	must(f, err)
	f.Cleanup(func() { _ = s.Close() })
	c := &conn{srv: s}
	ask := func(t testing.TB, method string, params map[string]any) any {
		frame, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
		must(t, err)
		var got struct{ Result struct{ Value any } }
		must(t, json.Unmarshal(s.serve(c, frame).frame, &got))
		return got.Result.Value
	}
	pipe := ask(f, "create", map[string]any{"type": "MediaPipeline"})
	endpoint := func(t testing.TB) any {
		return ask(t, "create", map[string]any{"type": "WebRtcEndpoint", "constructorParams": map[string]any{"mediaPipeline": pipe}})
	}
	f.Fuzz(func(t *testing.T, text, mid string, index int) {
		id := endpoint(t).(string)
		ask(t, "invoke", map[string]any{"object": id, "operation": "processOffer", "operationParams": map[string]any{
			"offer": "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=ice-ufrag:abcd\r\na=ice-pwd:" +
				strings.Repeat("p", 22) + "\r\n"}})
		for range 2 {
			ask(t, "invoke", map[string]any{"object": id, "operation": "addIceCandidate", "operationParams": map[string]any{
				"candidate": map[string]any{"candidate": text, "sdpMid": mid, "sdpMLineIndex": index}}})
		}
		s.mu.Lock()
		remotes := endpointOf(s.objects[id]).media.ice.remotes
		s.mu.Unlock()
		for _, spelled := range remotes {
			if _, err := ice.UnmarshalCandidate(spelled); err != nil {
				t.Errorf("%q is repeated as %q: %v", text, spelled, err)
			}
		}
		if len(remotes) > 1 {
			t.Errorf("%q counts %d times", text, len(remotes))
		}
		ask(t, "release", map[string]any{"object": id})
	})
}
