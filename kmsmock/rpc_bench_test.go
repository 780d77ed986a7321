package kmsmock

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/gorilla/websocket"
)

func BenchmarkCreateRelease(b *testing.B) {
	s, err := New(Config{Timing: Fast, DisableRequestCache: true})
	must(b, err)
	defer s.Close()
	c := &conn{srv: s}
	s.serve(c, []byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`))
	pipe := s.Left()[0]
	create := []byte(`{"jsonrpc":"2.0","id":2,"method":"create","params":{"type":"PassThrough","constructorParams":{"mediaPipeline":"` + pipe + `"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		rep := s.serve(c, create)
		var id string
		if v, err := parseJSON(rep.frame); err == nil {
			id = v.(object)["result"].(object)["value"].(string)
		}
		s.serve(c, []byte(`{"jsonrpc":"2.0","id":3,"method":"release","params":{"object":"`+id+`"}}`))
	}
	if left := s.Left(); len(left) != 1 {
		b.Fatalf("%d objects are left", len(left))
	}
}

// BenchmarkRoundTrip is a request and its response through a websocket: over a
// connection in memory, as in virtual time, and over the loopback interface.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		_, l := startMock(b, Config{Timing: Fast, DisableRequestCache: true})
		roundTrips(b, "ws://mock/kurento", l.dial)
	})
	b.Run("loopback", func(b *testing.B) {
		s, err := New(Config{Timing: Fast, DisableRequestCache: true})
		must(b, err)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		roundTrips(b, fmt.Sprintf("ws://%s/kurento", l.Addr()), (&net.Dialer{}).DialContext)
		must(b, s.Close())
		must(b, <-served)
	})
}

func roundTrips(b *testing.B, url string, dial func(context.Context, string, string) (net.Conn, error)) {
	d := websocket.Dialer{NetDialContext: dial}
	ws, _, err := d.Dial(url, nil)
	must(b, err)
	defer ws.Close()
	ask := func(frame []byte) []byte {
		if err := ws.WriteMessage(websocket.TextMessage, frame); err != nil {
			b.Fatal(err)
		}
		_, resp, err := ws.ReadMessage()
		if err != nil {
			b.Fatal(err)
		}
		return resp
	}
	v, err := parseJSON(ask([]byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`)))
	must(b, err)
	pipe := v.(object)["result"].(object)["value"].(string)
	for name, frame := range map[string]string{
		"ping":    `{"jsonrpc":"2.0","id":2,"method":"ping","params":{"interval":240000}}`,
		"getName": `{"jsonrpc":"2.0","id":3,"method":"invoke","params":{"object":"` + pipe + `","operation":"getName"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask([]byte(frame))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trips/s")
		})
	}
}
