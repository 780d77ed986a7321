package simclient

import (
	"fmt"
	"slices"

	"github.com/pion/webrtc/v4"
)

// Profile is what an app's WebRTC stack looks like from outside: its codecs, in
// its order and with its payload types, and how it writes candidates.
//
// The order matters. A media server answers with all codecs that it knows in
// the offer's order, a client sends the first one of the answer, and so two
// clients of different profiles make the media server transcode, unless
// somebody pins one codec.
type Profile struct {
	Name         string
	Audio, Video []webrtc.RTPCodecParameters
	// UsernameFragment: candidates name the ICE generation that they belong to.
	UsernameFragment bool
}

// Electron is Chromium 156, which is inside Electron: codecs and payload types
// as in its recorded offers, VP8 first.
func Electron() Profile {
	return Profile{
		Name:             "electron",
		UsernameFragment: true,
		Audio:            libwebrtcAudio(),
		Video: slices.Concat(
			withRTX(video("VP8", 96, ""), 97),
			withRTX(video("H264", 102, h264("42001f", 1)), 103),
			withRTX(video("H264", 104, h264("42001f", 0)), 107),
			withRTX(video("H264", 108, h264("42e01f", 1)), 109),
			withRTX(video("H264", 114, h264("42e01f", 0)), 115),
			withRTX(video("H264", 116, h264("4d001f", 1)), 117),
			withRTX(video("H264", 39, h264("4d001f", 0)), 40),
			withRTX(video("AV1", 45, "level-idx=5;profile=0;tier=0"), 46),
			withRTX(video("VP9", 98, "profile-id=0"), 99),
			withRTX(video("VP9", 100, "profile-id=2"), 101),
			withRTX(plainVideo("red", 118), 119),
			[]webrtc.RTPCodecParameters{plainVideo("ulpfec", 120)},
		),
	}
}

// ReactNative is react-native-webrtc 124 on a phone whose H264 coder is in
// hardware: its encoder factory lists H264 before VP8, and libwebrtc numbers
// video codecs from 96 on in that order.
func ReactNative() Profile {
	return Profile{
		Name:  "react-native",
		Audio: libwebrtcAudio(),
		Video: slices.Concat(
			withRTX(video("H264", 96, h264("640c1f", 1)), 97),
			withRTX(video("H264", 98, h264("42e01f", 1)), 99),
			withRTX(video("VP8", 100, ""), 101),
			withRTX(video("VP9", 127, "profile-id=0"), 103),
			withRTX(video("AV1", 35, "level-idx=5;profile=0;tier=0"), 36),
			withRTX(plainVideo("red", 104), 105),
			[]webrtc.RTPCodecParameters{plainVideo("ulpfec", 106)},
		),
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

// register gives a MediaEngine the profile's codecs.
func (p Profile) register(m *webrtc.MediaEngine) error {
	for _, k := range []struct {
		kind   webrtc.RTPCodecType
		codecs []webrtc.RTPCodecParameters
	}{{webrtc.RTPCodecTypeAudio, p.Audio}, {webrtc.RTPCodecTypeVideo, p.Video}} {
		for _, codec := range k.codecs {
			if err := m.RegisterCodec(codec, k.kind); err != nil {
				return fmt.Errorf("profile %s: register %s: %w", p.Name, codec.MimeType, err)
			}
		}
	}
	return nil
}

func libwebrtcAudio() []webrtc.RTPCodecParameters {
	opus := audio("opus", 111, 48000, 2, "minptime=10;useinbandfec=1")
	opus.RTCPFeedback = []webrtc.RTCPFeedback{{Type: webrtc.TypeRTCPFBTransportCC}}
	return []webrtc.RTPCodecParameters{
		opus,
		audio("red", 63, 48000, 2, "111/111"),
		audio("G722", 9, 8000, 0, ""),
		audio("PCMU", 0, 8000, 0, ""),
		audio("PCMA", 8, 8000, 0, ""),
		audio("CN", 13, 8000, 0, ""),
		audio("telephone-event", 110, 48000, 0, ""),
		audio("telephone-event", 126, 8000, 0, ""),
	}
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
