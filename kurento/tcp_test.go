package kurento_test

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"net/http"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/callbench/callbench/kurento"
)

// TestTCP makes calls and receives events over a real socket, which the
// virtual ones cannot stand for: acknowledgements, and goroutines that Close
// must have ended.
func TestTCP(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after the server has gone
	url := serveTCP(t, echo)
	c, err := kurento.Dial(t.Context(), kurento.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan kurento.Event)
	_, err = c.Subscribe(t.Context(), "o", func(ev kurento.Event) { events <- ev }, kurento.EventIceCandidateFound)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := c.Object("o").Invoke(t.Context(), "raiseEvent", nil, nil); err != nil {
			t.Fatal(err)
		}
		if ev := <-events; ev.Type != kurento.EventIceCandidateFound {
			t.Errorf("got %s", ev.Type)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// serveTCP serves WebSocket connections on the loopback interface with script
// until stopped, before which it has ended all of them.
func serveTCP(t testing.TB, script func(*websocket.Conn)) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{WriteBufferSize: 64 << 10}).Upgrade(rw, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer ws.Close()
		script(ws)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/kurento"
}

const candidateEvent = `{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"data":{"candidate":{"__module__":"kurento",` +
	`"__type__":"IceCandidate","candidate":"candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host","sdpMLineIndex":0,"sdpMid":"0"},` +
	`"source":"o","tags":[],"timestampMillis":"1795375378000","type":"IceCandidateFound"},"object":"o","type":"IceCandidateFound"}}}`

// echo is a script that answers everything alike, and before that raises an
// event if asked to. It does as little as it can: it runs in benchmarks.
func echo(ws *websocket.Conn) {
	var out bytes.Buffer
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if bytes.Contains(data, []byte("raiseEvent")) {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(candidateEvent))
		}
		_, rest, _ := bytes.Cut(data, []byte(`"id":"`))
		id, _, _ := bytes.Cut(rest, []byte(`"`))
		out.Reset()
		out.WriteString(`{"id":"`)
		out.Write(id)
		out.WriteString(`","jsonrpc":"2.0","result":{"serverId":"k","sessionId":"s","value":null}}`)
		_ = ws.WriteMessage(websocket.TextMessage, out.Bytes())
	}
}

// BenchmarkCall is one round trip over a loopback socket, the server's part
// included.
func BenchmarkCall(b *testing.B) {
	candidate := kurento.IceCandidate{Candidate: "candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host", SDPMid: "0"}
	offer := strings.Repeat("a=rtpmap:96 VP8/90000\r\n", 450) // 10 kB
	c, err := kurento.Dial(b.Context(), kurento.Config{URL: serveTCP(b, echo)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ep := c.WebRtcEndpoint("a9b1_kurento.MediaPipeline/77c5_kurento.WebRtcEndpoint")
	for name, call := range map[string]func() error{
		"ping":            func() error { return c.Ping(b.Context()) },
		"addIceCandidate": func() error { return ep.AddIceCandidate(b.Context(), candidate) },
		"processOffer10k": func() error { _, err := ep.ProcessOffer(b.Context(), offer); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := ep.AddIceCandidate(b.Context(), candidate); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
