package kmsmock

import (
	"regexp"
	"strings"
	"testing"
)

func TestOffersThatKurentoRefuses(t *testing.T) {
	for _, text := range []string{"garbage", "12", "not an sdp", "", "\r\n", "v", "=", "a=x", "z=\r\n", "m=audio 9 RTP/SAVPF 0"} {
		if _, err := parseSDP(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	for _, text := range []string{"v=0\r\n", "v=0\n", "v=", "a=x\nv=1", "x\n  v=0", "v=0\r\nx\r\n"} {
		if _, err := parseSDP(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("v=0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n")
	f.Add("v=1\r\no=a b\r\ns=x\r\nc=IN IP4 1.2.3.4/5\r\nb=AS:7\r\nk=clear:x\r\nm=audio 9/2 RTP/AVP 0\r\nc=IN\r\nb=TIAS:-1\r\na=extmap:3 x y\r\n")
	f.Add("v=0\r\nm=\r\nm=video\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
	s, err := New(Config{Timing: Fast})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		offer, err := parseSDP(text)
		if err != nil {
			return
		}
		if _, err := parseSDP(offer.String()); err != nil {
			t.Fatalf("%q is repeated as %q: %v", text, offer, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		d, err := s.answerTo(offer, true)
		if err != nil {
			return
		}
		answer := d.text(transportID{ufrag: "abcd", pwd: "p", cname: "c", fingerprint: "F"}, nil)
		if got, err := parseSDP(answer); err != nil || len(got.media) != len(offer.media) {
			t.Fatalf("answer to %q is %q", text, answer)
		}
		if !strings.HasSuffix(answer, "\r\n") {
			t.Fatalf("answer %q", answer)
		}
	})
}

// TestAnswerWithoutAKnownCodec was compared with a real server: the medium is
// rejected but keeps its first format and most of its lines.
func TestAnswerWithoutAKnownCodec(t *testing.T) {
	s, err := New(Config{Timing: Fast})
	must(t, err)
	defer s.Close()
	offer, err := parseSDP("v=0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n" +
		"a=rtpmap:96 H265/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n")
	must(t, err)
	s.mu.Lock()
	d, err := s.answerTo(offer, false)
	must(t, err)
	answer := d.text(transportID{ufrag: "abcd", pwd: strings.Repeat("p", 22), cname: "user1@host-1"}, nil)
	answer = regexp.MustCompile(`a=ssrc:\d+ `).ReplaceAllString(answer, "a=ssrc:N ")
	s.mu.Unlock()
	want := "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=sendrecv\r\na=mid:0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=rtcp-fb:96 nack\r\n" +
		"a=rtcp-mux\r\na=ssrc:N cname:user1@host-1\r\n"
	if !strings.Contains(answer, want) || !strings.Contains(answer, "a=group:BUNDLE\r\n") {
		t.Errorf("answer %s", answer)
	}
}

// TestCandidatesForUnknownLines was compared with a real server: only the index
// counts, and only once gathering has begun.
func TestCandidatesForUnknownLines(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := kms.create("MediaPipeline", nil)
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		kms.invoke(ep, "processOffer", map[string]any{"offer": peers[0].offer()})
		add := func(mid string, index int) any {
			return kms.request("invoke", map[string]any{"object": ep, "operation": "addIceCandidate", "operationParams": map[string]any{
				"candidate": map[string]any{"candidate": peers[0].own, "sdpMid": mid, "sdpMLineIndex": index}}})["error"]
		}
		for _, index := range []int{0, 1, 7, -1} {
			if err := add("zzz", index); err != nil {
				t.Errorf("before gathering, index %d: %v", index, err)
			}
		}
		kms.invoke(ep, "gatherCandidates", nil)
		for index, refused := range map[int]bool{0: false, 1: false, 7: true, -1: true} {
			for _, mid := range []string{"0", "zzz", ""} {
				if err := add(mid, index); (err != nil) != refused {
					t.Errorf("mid %q, index %d: %v", mid, index, err)
				}
			}
		}
	})
}
