package kmsmock

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

func BenchmarkPing(b *testing.B) {
	s, err := New(Config{Timing: Fast})
	must(b, err)
	defer s.Close()
	c := &conn{srv: s}
	frame := []byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"interval":240000}}`)
	b.ReportAllocs()
	for b.Loop() {
		if rep := s.serve(c, frame); rep.drop {
			b.Fatal("dropped")
		}
	}
}

func BenchmarkInvokeGetName(b *testing.B) {
	s, err := New(Config{Timing: Fast, DisableRequestCache: true})
	must(b, err)
	defer s.Close()
	c := &conn{srv: s}
	s.serve(c, []byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`))
	id := s.Left()[0]
	frame := []byte(`{"jsonrpc":"2.0","id":2,"method":"invoke","params":{"object":"` + id + `","operation":"getName"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if rep := s.serve(c, frame); rep.drop {
			b.Fatal("dropped")
		}
	}
}

// BenchmarkForward is one video packet from datagram to datagram: decrypted,
// renumbered, encrypted, without the socket.
func BenchmarkForward(b *testing.B) {
	s, err := New(Config{Timing: Fast})
	must(b, err)
	defer s.Close()
	c := &conn{srv: s}
	s.serve(c, []byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`))
	s.mu.Lock()
	pipe := s.sortedObjects()[1]
	var ends []*rtcEndpoint
	for range 2 {
		o, err := s.create(s.model.byName["WebRtcEndpoint"], "s", object{"mediaPipeline": pipe, "certificateKeyType": "RSA"})
		must(b, err)
		ep := endpointOf(o)
		m := &medium{kind: "video", accepted: true, ssrc: 7, lines: []string{"sendrecv"},
			codecs: []*codec{{pt: 96, name: "VP8", clock: 90000, fir: true}}}
		ep.media.lines = []int{0}
		ep.media.setup(&description{media: []*medium{m}})
		ends = append(ends, ep)
	}
	(&link{ends[0].element, ends[1].element, kindVideo, defaultDescription, defaultDescription}).connect()
	s.reroute(pipe)
	s.mu.Unlock()
	key, salt := make([]byte, 16), make([]byte, 14)
	context := func() *srtp.Context {
		ctx, err := srtp.CreateContext(key, salt, srtp.ProtectionProfileAes128CmHmacSha1_80)
		must(b, err)
		return ctx
	}
	ends[0].media.srtpIn.Store(context())
	ends[1].media.open(context())
	ends[1].media.write = func([]byte) error { return nil }
	peer, seq := context(), uint16(0)
	payload := append([]byte{0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0}, make([]byte, 1000)...)
	cipher := make([]byte, 0, 1500)
	header := &rtp.Header{Version: 2, PayloadType: 96, SSRC: 1}
	packet := rtp.Packet{Header: *header, Payload: payload}
	plain, err := packet.Marshal()
	must(b, err)
	now := time.Now()
	b.ReportAllocs()
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		seq++
		plain[2], plain[3] = byte(seq>>8), byte(seq)
		cipher, err = peer.EncryptRTP(cipher[:0], plain, header)
		if err != nil {
			b.Fatal(err)
		}
		ends[0].media.datagram(cipher, now)
	}
	if n := ends[1].media.out[kindVideo].packets; n == 0 {
		b.Fatal("nothing was forwarded")
	}
}
