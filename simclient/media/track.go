package media

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Track is a webrtc.TrackLocal for a [Source]: add it to a PeerConnection and give it
// to the source as its writer. Unlike webrtc.TrackLocalStaticRTP it does not allocate
// for each packet: buffers are used again as soon as a write returns, so interceptors
// must copy what they keep, as those of Pion do unless told otherwise
// (nack.DisableCopy).
type Track struct {
	codec        Codec
	id, streamID string

	mu       sync.Mutex
	bindings []*binding
}

// binding is one PeerConnection that takes the packets. There are two for a moment
// when a client replaces its connection.
type binding struct {
	id     string
	writer webrtc.TrackLocalWriter
	header rtp.Header
	ssrc   uint32
	typ    uint8
}

var (
	_ webrtc.TrackLocal = (*Track)(nil)
	_ Writer            = (*Track)(nil)
)

// NewTrack makes a track with the given track and stream identifiers (SDP msid).
func NewTrack(codec Codec, id, streamID string) (*Track, error) {
	if !codec.valid() {
		return nil, fmt.Errorf("new media track: %v", codec)
	}
	return &Track{codec: codec, id: id, streamID: streamID}, nil
}

// Bind chooses the payload type from what was negotiated.
func (t *Track) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, params := range ctx.CodecParameters() {
		if !t.fits(params.RTPCodecCapability) {
			continue
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.bindings = append(t.bindings, &binding{
			id:     ctx.ID(),
			writer: ctx.WriteStream(),
			ssrc:   uint32(ctx.SSRC()),
			typ:    uint8(params.PayloadType),
		})
		return params, nil
	}
	return webrtc.RTPCodecParameters{}, fmt.Errorf("bind %v track: %w", t.codec, webrtc.ErrUnsupportedCodec)
}

// fits compares the codec. H264 is sent with STAP-A and FU-A, which mode 0 forbids.
func (t *Track) fits(c webrtc.RTPCodecCapability) bool {
	if !strings.EqualFold(c.MimeType, t.codec.MimeType()) {
		return false
	}
	return t.codec != H264 || strings.Contains(c.SDPFmtpLine, "packetization-mode=1")
}

// Unbind forgets a PeerConnection that was closed or does not want the track any more.
func (t *Track) Unbind(ctx webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, b := range t.bindings {
		if b.id == ctx.ID() {
			t.bindings = append(t.bindings[:i], t.bindings[i+1:]...)
			return nil
		}
	}
	return webrtc.ErrUnbindFailed
}

// WriteRTP sends a packet to every PeerConnection that the track is bound to, with
// its SSRC and payload type. It returns 0 when none took it.
func (t *Track) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	written := 0
	var errs error
	for _, b := range t.bindings {
		n, err := b.write(header, payload)
		written = max(written, n)
		if err != nil {
			errs = errors.Join(errs, err)
		}
	}
	return written, errs
}

// write works on a header of its own, because interceptors add extensions to it.
func (b *binding) write(header *rtp.Header, payload []byte) (int, error) {
	extensions := b.header.Extensions[:0]
	b.header = *header
	b.header.Extensions = extensions
	b.header.SSRC, b.header.PayloadType = b.ssrc, b.typ
	return b.writer.WriteRTP(&b.header, payload)
}

// ID is the track identifier.
func (t *Track) ID() string { return t.id }

// RID is empty: there is no simulcast.
func (t *Track) RID() string { return "" }

// StreamID is the stream identifier.
func (t *Track) StreamID() string { return t.streamID }

// Kind tells pion whether the track is audio or video.
func (t *Track) Kind() webrtc.RTPCodecType {
	if t.codec.Kind() == Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// Codec returns the track's codec.
func (t *Track) Codec() Codec { return t.codec }
