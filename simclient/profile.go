package simclient

import (
	"fmt"
	"slices"

	"github.com/pion/webrtc/v4"
)

// Profile is what an app's WebRTC stack looks like from outside: its codecs, in
// its order and with its payload types, how it writes offers and candidates,
// and what becomes of it in the background. docs/profiles.md says where each of
// them is from.
//
// The order of codecs matters. A media server answers with all codecs that it
// knows in the offer's order, a client sends the first one of the answer, and so
// two clients of different profiles make the media server transcode, unless
// somebody pins one codec.
type Profile struct {
	Name         string
	Audio, Video []webrtc.RTPCodecParameters
	// Decode are the video codecs of a section that only receives, if those are not
	// Video: more can be decoded than encoded.
	Decode []webrtc.RTPCodecParameters
	// UsernameFragment: candidates name the ICE generation that they belong to.
	UsernameFragment bool
	// NetworkCost is what candidates say of the network, 0 for nothing.
	NetworkCost int
	// HidesAddresses: an app that may use neither camera nor microphone gets names
	// for its addresses that only multicast DNS knows (RFC 8828 §5.2, mode 3).
	HidesAddresses bool
	// VideoFirstAlone: if there is no audio track the video section is the first one.
	VideoFirstAlone bool
	// Suspends: in the background the app's JavaScript does not run.
	Suspends bool
	// BackgroundMedia: in the background the app goes on capturing and sending, as one
	// may that has a call in a foreground service or through CallKit.
	BackgroundMedia bool

	wording wording
}

// Electron is Chromium 156, which is inside Electron: what it offers is in its
// recorded offers, VP8 first.
func Electron() Profile {
	h264 := slices.Concat(
		withRTX(video("H264", 102, h264("42001f", 1)), 103),
		withRTX(video("H264", 104, h264("42001f", 0)), 107),
		withRTX(video("H264", 108, h264("42e01f", 1)), 109),
		withRTX(video("H264", 114, h264("42e01f", 0)), 115),
		withRTX(video("H264", 116, h264("4d001f", 1)), 117),
		withRTX(video("H264", 39, h264("4d001f", 0)), 40),
	)
	vp8 := withRTX(video("VP8", 96, ""), 97)
	av1 := withRTX(video("AV1", 45, "level-idx=5;profile=0;tier=0"), 46)
	vp9 := slices.Concat(withRTX(video("VP9", 98, "profile-id=0"), 99), withRTX(video("VP9", 100, "profile-id=2"), 101))
	fec := append(withRTX(plainVideo("red", 118), 119), plainVideo("ulpfec", 120))
	return Profile{
		Name:             "electron",
		UsernameFragment: true,
		HidesAddresses:   true,
		BackgroundMedia:  true,
		Audio:            libwebrtcAudio(nil),
		Video:            slices.Concat(vp8, h264, av1, vp9, fec),
		Decode:           slices.Concat(vp8, vp9, chromiumDecodes(), h264, chromiumDecodesLast(), fec, []webrtc.RTPCodecParameters{flexFEC(49)}),
		wording:          wording{ICEOptions: "trickle", AudioReducedSize: true, ReceiverRTT: true},
	}
}

// ReactNative is react-native-webrtc 124 on a phone whose H264 coder is in
// hardware: its encoder factory lists H264 before VP8, and libwebrtc numbers
// video codecs from 96 on in that order. 102 is taken by iLBC, so that VP9 gets
// the highest one that is free.
func ReactNative() Profile {
	return Profile{
		Name:            "react-native",
		NetworkCost:     10, // Wi-Fi
		VideoFirstAlone: true,
		Suspends:        true,
		BackgroundMedia: true,
		Audio:           libwebrtcAudio([]webrtc.RTPCodecParameters{audio("ILBC", 102, 8000, 0, "")}),
		Video: slices.Concat(
			withRTX(video("H264", 96, h264("640c1f", 1)), 97),
			withRTX(video("H264", 98, h264("42e01f", 1)), 99),
			withRTX(video("VP8", 100, ""), 101),
			withRTX(video("VP9", 127, ""), 103),
			withRTX(video("AV1", 35, ""), 36),
			withRTX(plainVideo("red", 104), 105),
			[]webrtc.RTPCodecParameters{plainVideo("ulpfec", 106)},
		),
		wording: wording{ICEOptions: "trickle renomination"},
	}
}

// ProfileByName finds a profile by the name that scenarios use.
func ProfileByName(name string) (Profile, error) {
	names := []string{}
	for _, p := range []Profile{Electron(), ReactNative()} {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("unknown profile %q; there are %q", name, names)
}

// register gives a MediaEngine the profile's codecs: those that it can decode if
// video is only received.
func (p Profile) register(m *webrtc.MediaEngine, receiveOnly bool) error {
	video := p.Video
	if receiveOnly && p.Decode != nil {
		video = p.Decode
	}
	for _, k := range []struct {
		kind   webrtc.RTPCodecType
		codecs []webrtc.RTPCodecParameters
	}{{webrtc.RTPCodecTypeAudio, p.Audio}, {webrtc.RTPCodecTypeVideo, video}} {
		for _, codec := range k.codecs {
			if err := m.RegisterCodec(codec, k.kind); err != nil {
				return fmt.Errorf("profile %s: register %s: %w", p.Name, codec.MimeType, err)
			}
		}
	}
	return nil
}

// libwebrtcAudio is libwebrtc's list; a native build has more in it than
// Chromium.
func libwebrtcAudio(native []webrtc.RTPCodecParameters) []webrtc.RTPCodecParameters {
	opus := audio("opus", 111, 48000, 2, "minptime=10;useinbandfec=1")
	opus.RTCPFeedback = []webrtc.RTCPFeedback{{Type: webrtc.TypeRTCPFBTransportCC}}
	return slices.Concat(
		[]webrtc.RTPCodecParameters{opus, audio("red", 63, 48000, 2, "111/111"), audio("G722", 9, 8000, 0, "")},
		native,
		[]webrtc.RTPCodecParameters{
			audio("PCMU", 0, 8000, 0, ""),
			audio("PCMA", 8, 8000, 0, ""),
			audio("CN", 13, 8000, 0, ""),
			audio("telephone-event", 110, 48000, 0, ""),
			audio("telephone-event", 126, 8000, 0, ""),
		})
}

// chromiumDecodes are VP9's profiles for 4:4:4, which Chromium does not encode
// in real time.
func chromiumDecodes() []webrtc.RTPCodecParameters {
	return slices.Concat(withRTX(video("VP9", 35, "profile-id=1"), 36), withRTX(video("VP9", 37, "profile-id=3"), 38))
}

// chromiumDecodesLast are what follows H264's common profiles: H264 4:4:4, and
// AV1 of both profiles.
func chromiumDecodesLast() []webrtc.RTPCodecParameters {
	return slices.Concat(
		withRTX(video("H264", 41, h264("f4001f", 1)), 42),
		withRTX(video("H264", 43, h264("f4001f", 0)), 44),
		withRTX(video("AV1", 45, "level-idx=5;profile=0;tier=0"), 46),
		withRTX(video("AV1", 47, "level-idx=5;profile=1;tier=0"), 48),
	)
}

// flexFEC is forward error correction (draft-ietf-payload-flexible-fec-scheme-03),
// which is only offered to be received.
func flexFEC(pt webrtc.PayloadType) webrtc.RTPCodecParameters {
	codec := video("flexfec-03", pt, "repair-window=10000000")
	codec.RTCPFeedback = []webrtc.RTCPFeedback{{Type: webrtc.TypeRTCPFBGoogREMB}, {Type: webrtc.TypeRTCPFBTransportCC}}
	return codec
}

func audio(name string, pt webrtc.PayloadType, rate uint32, channels uint16, fmtp string) webrtc.RTPCodecParameters {
	return webrtc.RTPCodecParameters{PayloadType: pt, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: "audio/" + name, ClockRate: rate, Channels: channels, SDPFmtpLine: fmtp}}
}

func video(name string, pt webrtc.PayloadType, fmtp string) webrtc.RTPCodecParameters {
	return webrtc.RTPCodecParameters{PayloadType: pt, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: "video/" + name, ClockRate: 90000, SDPFmtpLine: fmtp,
		RTCPFeedback: []webrtc.RTCPFeedback{
			{Type: webrtc.TypeRTCPFBGoogREMB},
			{Type: webrtc.TypeRTCPFBTransportCC},
			{Type: webrtc.TypeRTCPFBCCM, Parameter: "fir"},
			{Type: webrtc.TypeRTCPFBNACK},
			{Type: webrtc.TypeRTCPFBNACK, Parameter: "pli"},
		}}}
}

// plainVideo is a video codec without feedback.
func plainVideo(name string, pt webrtc.PayloadType) webrtc.RTPCodecParameters {
	codec := video(name, pt, "")
	codec.RTCPFeedback = nil
	return codec
}

// withRTX adds the codec's retransmission format (RFC 4588).
func withRTX(codec webrtc.RTPCodecParameters, pt webrtc.PayloadType) []webrtc.RTPCodecParameters {
	rtx := plainVideo("rtx", pt)
	rtx.SDPFmtpLine = fmt.Sprintf("apt=%d", codec.PayloadType)
	return []webrtc.RTPCodecParameters{codec, rtx}
}

// h264 is the format of RFC 6184 with a profile-level-id and a packetization-mode.
func h264(profile string, mode int) string {
	return fmt.Sprintf("level-asymmetry-allowed=1;packetization-mode=%d;profile-level-id=%s", mode, profile)
}
