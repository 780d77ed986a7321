package simclient

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// TestNegotiate: the server asks for a new leg, even while the answer to the
// last offer is on its way.
func TestNegotiate(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		ask := func() {
			r.srv.sessions["alice"].rtc(signaling.ActionNegotiate, signaling.RTC{CallID: "c-1", RoomID: "r-1", Reason: signaling.ReasonDTLSTimeout})
		}
		offers, lateCandidate := 0, ""
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if s.user == "alice" && f.Action == signaling.ActionOffer {
				if offers++; offers == 1 {
					ask() // before the first offer is answered
				}
				if offers == 2 { // a candidate of the first leg is refused
					s.write(frame(signaling.TypeError, "", lateCandidate, signaling.Errorf(signaling.CodeBadState, "late")))
				}
			}
			if s.user == "alice" && f.Action == signaling.ActionCandidate && lateCandidate == "" {
				lateCandidate = f.ID
				return true
			}
			return false
		})
		r.call(alice, bob)
		alice.wait(t, time.Second, eventConnected, "leg=2")
		alice.order(t, "call.negotiate reason=dtls_timeout leg=2", "call.connected leg=2")
		alice.none(t, eventConnected, "leg=1")
		time.Sleep(5 * time.Second)
		r.srv.locked(ask)
		alice.wait(t, time.Second, eventConnected, "leg=3")
		time.Sleep(5 * time.Second)
		r.must(alice.Hangup(r.ctx))
		for _, kind := range []string{"media=audio", "media=video"} {
			if total := alice.one(t, eventMediaTotal, kind); total.int("units") < 290 || total.int("wrong") > 0 || total.int("restarts") > 0 {
				t.Errorf("a total goes over all legs: %v", total)
			}
		}
		alice.none(t, eventViolation)
		alice.none(t, eventFailure)
		alice.none(t, eventError)
	})
}

// TestOfferRefused: the refusal is told, and a later offer's answer is not
// mistaken for this one's.
func TestOfferRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		offers := 0
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if s.user != "alice" || f.Action != signaling.ActionOffer {
				return false
			}
			if offers++; offers > 1 {
				return false
			}
			s.write(frame(signaling.TypeError, "", f.ID, signaling.Errorf(signaling.CodeCodecUnsupported, "no VP8")))
			return true
		})
		r.call(alice, bob)
		alice.wait(t, time.Second, eventError, "code=codec_unsupported", "call=c-1")
		r.srv.locked(func() {
			r.srv.sessions["alice"].rtc(signaling.ActionNegotiate, signaling.RTC{CallID: "c-1", RoomID: "r-1", Reason: signaling.ReasonDTLSTimeout})
		})
		alice.wait(t, time.Second, eventConnected, "leg=2")
	})
}

// TestCandidates: those that come before the answer wait for it, and those of
// the second component are not used.
func TestCandidates(t *testing.T) {
	bubble(t, func(r *rig) {
		hub := r.withMedia()
		hub.extra = []string{ // sent before the answer
			"candidate:1 1 UDP 2015363327 10.9.9.9 9 typ host",
			"candidate:2 2 UDP 2015363582 10.0.0.2 5000 typ host",
			"candidate:3 1 TCP 1015021823 10.0.0.2 9 typ host tcptype active",
			"nonsense",
		}
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, time.Second, eventConnected)
		alice.order(t, "candidate.received n=1 type=host", "candidate.received n=2 type=host ignored=component",
			"candidate.received n=3 type=host", "candidate.received n=4 type=unknown ignored=malformed", "signal.received action=answer")
		alice.one(t, eventTrickle, "type=end")
		alice.one(t, eventTrickled, "n=1", "type=host")
		alice.one(t, eventTrickled, "type=end")
		alice.none(t, eventFailure)
	})
}

// TestKeyFrame: a picture loss indication makes the next frame a key frame.
func TestKeyFrame(t *testing.T) {
	bubble(t, func(r *rig) {
		hub := r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(2*time.Second + 100*time.Millisecond)
		hub.keyFrame(hub.of("bob")) // asks alice
		time.Sleep(time.Second)
		r.must(bob.Hangup(r.ctx))
		alice.wait(t, time.Second, eventCallEnded)
		if sent := alice.one(t, eventMediaSent, "media=video"); sent.int("key_frame_requests") != 1 {
			t.Errorf("%v", sent)
		}
	})
}

// TestWrongOrigin: media of anybody but the peer is told, whatever connection
// it comes through.
func TestWrongOrigin(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia().echo = true
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(5 * time.Second)
		r.must(alice.Hangup(r.ctx))
		for _, kind := range []string{"media=audio", "media=video"} {
			alice.one(t, eventWrongOrigin, kind, "call=c-1")
			if total := alice.one(t, eventMediaTotal, kind); total.int("wrong") < 100 || total.int("units") > 0 {
				t.Errorf("%v", total)
			}
		}
		alice.none(t, eventFlow)
	})
}

// TestInterceptors: with NACK, what was lost is sent again.
func TestInterceptors(t *testing.T) {
	lost := map[Interceptors]int64{}
	for _, set := range []Interceptors{Lean, Reports, NACK} {
		bubble(t, func(r *rig) {
			r.withMedia()
			with := func(c *Config) { c.Interceptors = set }
			alice, bob := r.connected("alice", with), r.connected("bob", with)
			r.call(alice, bob)
			alice.wait(t, time.Second, eventConnected)
			bob.host.Link.SetLoss(5)
			time.Sleep(10 * time.Second)
			r.must(bob.Hangup(r.ctx))
			lost[set] = bob.one(t, eventMediaTotal, "media=video").int("lost")
		})
	}
	if lost[Lean] == 0 || lost[Reports] == 0 {
		t.Errorf("nothing was lost at 5%% loss: %v", lost)
	}
}

// TestOfferOfProfile: codecs, payload types and their order are those of the
// app, audio first.
func TestOfferOfProfile(t *testing.T) {
	tests := map[string]struct {
		profile      Profile
		audio, video string
	}{
		"electron": {Electron(), "111 63 9 0 8 13 110 126",
			"96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 98 99 100 101 118 119 120"},
		"react-native": {ReactNative(), "111 63 9 102 0 8 13 110 126", "96 97 98 99 100 101 127 103 35 36 104 105 106"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			offer := offerOf(t, test.profile)
			if len(offer.MediaDescriptions) != 2 {
				t.Fatalf("%d m-lines", len(offer.MediaDescriptions))
			}
			for i, want := range []string{"audio UDP/TLS/RTP/SAVPF " + test.audio, "video UDP/TLS/RTP/SAVPF " + test.video} {
				m := offer.MediaDescriptions[i].MediaName
				if got := m.Media + " " + strings.Join(m.Protos, "/") + " " + strings.Join(m.Formats, " "); got != want {
					t.Errorf("m-line %d:\n got %s\nwant %s", i, got, want)
				}
			}
			p, err := ProfileByName(name)
			if err != nil || p.Name != name {
				t.Errorf("%v %v", p.Name, err)
			}
		})
	}
	if _, err := ProfileByName("netscape"); err == nil || !strings.Contains(err.Error(), "electron") {
		t.Errorf("unknown profile: %v", err)
	}
}

// TestPinningMatters: without it, the two profiles would send different codecs.
func TestPinningMatters(t *testing.T) {
	first := func(p Profile) string {
		m := offerOf(t, p).MediaDescriptions[1]
		codec, err := (&sdp.SessionDescription{MediaDescriptions: []*sdp.MediaDescription{m}}).GetCodecForPayloadType(formatOf(t, m))
		if err != nil {
			t.Fatal(err)
		}
		return codec.Name
	}
	if e, rn := first(Electron()), first(ReactNative()); e != "VP8" || rn != "H264" {
		t.Errorf("electron prefers %s, react-native %s", e, rn)
	}
}

func formatOf(t *testing.T, m *sdp.MediaDescription) uint8 {
	t.Helper()
	n := 0
	for _, c := range m.MediaName.Formats[0] {
		n = n*10 + int(c-'0')
	}
	return uint8(n)
}

// offerOf is the offer that a client with this profile makes.
func offerOf(t *testing.T, p Profile) *sdp.SessionDescription {
	t.Helper()
	var parsed *sdp.SessionDescription
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice", func(c *Config) { c.Profile = p }), r.connected("bob")
		offers := make(chan string, 1)
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			var rtc signaling.RTC
			if f.Into(&rtc); s.user == "alice" && f.Action == signaling.ActionOffer {
				offers <- rtc.SDP
			}
			return false
		})
		r.call(alice, bob)
		parsed = new(sdp.SessionDescription)
		r.must(parsed.UnmarshalString(<-offers))
	})
	return parsed
}

// TestFirstCodecOfTheAnswer is what a client sends, if it has a clip for it.
func TestFirstCodecOfTheAnswer(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.client("alice")
		for want, offered := range map[media.Codec][]webrtc.RTPCodecParameters{
			media.VP8:  append([]webrtc.RTPCodecParameters{Electron().Video[14]}, Electron().Video...), // AV1 first
			media.H264: ReactNative().Video,
		} {
			s, err := alice.newSender(media.Video, trackVideo, &call{id: "c-1"})
			r.must(err)
			got, err := s.Bind(binding{codecs: offered})
			r.must(err)
			if got.MimeType != want.MimeType() {
				t.Errorf("bound %s, want %v", got.MimeType, want)
			}
			r.must(s.Unbind(binding{codecs: offered}))
		}
		s, err := alice.newSender(media.Audio, trackAudio, &call{id: "c-1"})
		r.must(err)
		if _, err := s.Bind(binding{codecs: Electron().Audio[2:]}); err == nil {
			t.Error("bound audio without Opus")
		}
	})
}

// binding is a negotiated track.
type binding struct {
	webrtc.TrackLocalContext
	codecs []webrtc.RTPCodecParameters
}

func (b binding) CodecParameters() []webrtc.RTPCodecParameters { return b.codecs }
func (b binding) ID() string                                   { return "binding" }
func (b binding) SSRC() webrtc.SSRC                            { return 1 }
func (b binding) WriteStream() webrtc.TrackLocalWriter         { return nil }

// TestAudioOnly: without a clip of a kind there is no such m-line.
func TestAudioOnly(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		opus, err := media.Load(media.ClipOpus)
		r.must(err)
		alice, bob := r.connected("alice", func(c *Config) { c.Clips = []*media.Clip{opus} }), r.connected("bob")
		r.call(alice, bob)
		bob.wait(t, 2*time.Second, eventFlow, "media=audio", "from=alice")
		time.Sleep(time.Second)
		bob.none(t, eventFlow, "media=video")
		r.must(alice.Hangup(r.ctx))
		if kinds := len(alice.find(eventMediaSent)); kinds != 1 {
			t.Errorf("sent %d kinds", kinds)
		}
	})
}

func TestCombine(t *testing.T) {
	for _, test := range []struct {
		ice  webrtc.ICEConnectionState
		dtls webrtc.DTLSTransportState
		want webrtc.PeerConnectionState
	}{
		{webrtc.ICEConnectionStateNew, webrtc.DTLSTransportStateNew, webrtc.PeerConnectionStateNew},
		{webrtc.ICEConnectionStateChecking, webrtc.DTLSTransportStateNew, webrtc.PeerConnectionStateConnecting},
		{webrtc.ICEConnectionStateConnected, webrtc.DTLSTransportStateNew, webrtc.PeerConnectionStateConnecting},
		{webrtc.ICEConnectionStateConnected, webrtc.DTLSTransportStateConnecting, webrtc.PeerConnectionStateConnecting},
		{webrtc.ICEConnectionStateConnected, webrtc.DTLSTransportStateConnected, webrtc.PeerConnectionStateConnected},
		{webrtc.ICEConnectionStateConnected, webrtc.DTLSTransportStateClosed, webrtc.PeerConnectionStateConnected},
		{webrtc.ICEConnectionStateDisconnected, webrtc.DTLSTransportStateConnected, webrtc.PeerConnectionStateDisconnected},
		{webrtc.ICEConnectionStateFailed, webrtc.DTLSTransportStateConnected, webrtc.PeerConnectionStateFailed},
		{webrtc.ICEConnectionStateConnected, webrtc.DTLSTransportStateFailed, webrtc.PeerConnectionStateFailed},
	} {
		if got := combine(test.ice, test.dtls); got != test.want {
			t.Errorf("%v and %v: %v, want %v", test.ice, test.dtls, got, test.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for candidate, want := range map[string][2]string{
		"": {"", "end"},
		"candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host":                                              {"1", "host"},
		"candidate:7 2 UDP 505414654 127.0.0.1 35466 typ relay raddr 127.0.0.1 rport 30165":                  {"2", "relay"},
		"candidate:805218091 1 udp 2122260223 10.99.0.2 33983 typ host generation 0 ufrag oBxa network-id 1": {"1", "host"},
		"candidate:remote1 1 UDP 1845501695 127.0.0.1 50360 typ prflx":                                       {"1", "prflx"},
		"typ":        {"", "unknown"},
		"a 1 b typ":  {"", "unknown"},
		"no type at": {"", "unknown"},
	} {
		if component, typ := describe(candidate); !slices.Equal([]string{component, typ}, want[:]) {
			t.Errorf("%q: component %q, type %q", candidate, component, typ)
		}
	}
}
