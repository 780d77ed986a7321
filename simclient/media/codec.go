package media

import "fmt"

// Kind is audio or video, in the words that a trace uses.
type Kind string

// The two kinds of media.
const (
	Audio Kind = "audio"
	Video Kind = "video"
)

// Codec is a codec that this package can send, mark and check.
type Codec uint8

// The codecs that carry markers.
const (
	VP8 Codec = iota + 1
	H264
	Opus
)

// String returns the codec's name in SDP (RFC 7741, RFC 6184, RFC 7587).
func (c Codec) String() string {
	switch c {
	case VP8:
		return "VP8"
	case H264:
		return "H264"
	case Opus:
		return "opus"
	default:
		return fmt.Sprintf("Codec(%d)", uint8(c))
	}
}

// Kind tells whether the codec carries audio or video.
func (c Codec) Kind() Kind {
	if c == Opus {
		return Audio
	}
	return Video
}

// MimeType returns the media type that pion/webrtc names the codec with.
func (c Codec) MimeType() string { return string(c.Kind()) + "/" + c.String() }

// ClockRate returns the RTP clock in Hz: 90 kHz for video, 48 kHz for Opus
// (RFC 7587 §4.1, whatever the sampling rate is).
func (c Codec) ClockRate() uint32 {
	if c == Opus {
		return 48000
	}
	return 90000
}

func (c Codec) valid() bool { return c >= VP8 && c <= Opus }
