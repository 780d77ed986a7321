package simclient

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/simclient/media"
)

// Tracks of a client, as markers number them.
const (
	trackAudio uint8 = iota
	trackVideo
)

// rtcpSize is the largest compound RTCP packet that is read: one MTU.
const rtcpSize = 1500

// sender sends the audio or the video of one call, through whatever leg it has.
// It is a webrtc.TrackLocal that waits for the answer to know its codec: the
// first one of the answer that there is a clip for.
type sender struct {
	kind   media.Kind
	voices []voice

	mu    sync.Mutex
	bound map[string]int // which voice each PeerConnection takes, by binding
}

// voice is what a sender can send, in one codec.
type voice struct {
	track  *media.Track
	source *media.Source
}

var _ webrtc.TrackLocal = (*sender)(nil)

// newSender prepares the clips of one kind for a call.
func (c *Client) newSender(kind media.Kind, number uint8, k *call) (*sender, error) {
	s := &sender{kind: kind, bound: make(map[string]int)}
	for _, clip := range c.cfg.Clips {
		if clip.Codec().Kind() != kind {
			continue
		}
		track, err := media.NewTrack(clip.Codec(), string(kind), c.cfg.User)
		if err != nil {
			return nil, err
		}
		source, err := media.NewSource(media.SourceConfig{Clip: clip, Writer: track, Pacer: c.pacer,
			Identity: media.Identity{Call: k.mark(), Participant: c.cfg.User, Track: number},
			Logger:   c.log.With(slog.String("call", k.name()))})
		if err != nil {
			return nil, err
		}
		s.voices = append(s.voices, voice{track, source})
	}
	return s, nil
}

// Bind takes the first negotiated codec that there is a clip for.
func (s *sender) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range ctx.CodecParameters() {
		for i, v := range s.voices {
			if !strings.EqualFold(codec.MimeType, v.track.Codec().MimeType()) {
				continue
			}
			params, err := v.track.Bind(ctx)
			if err == nil {
				s.mu.Lock()
				s.bound[ctx.ID()] = i
				s.mu.Unlock()
				return params, nil
			}
		}
	}
	return webrtc.RTPCodecParameters{}, fmt.Errorf("bind %s: %w", s.kind, webrtc.ErrUnsupportedCodec)
}

// Unbind lets go of a PeerConnection.
func (s *sender) Unbind(ctx webrtc.TrackLocalContext) error {
	s.mu.Lock()
	i, ok := s.bound[ctx.ID()]
	delete(s.bound, ctx.ID())
	s.mu.Unlock()
	if !ok {
		return webrtc.ErrUnbindFailed
	}
	return s.voices[i].track.Unbind(ctx)
}

// ID is the track identifier.
func (s *sender) ID() string { return string(s.kind) }

// RID is empty: there is no simulcast.
func (s *sender) RID() string { return "" }

// StreamID is the stream identifier.
func (s *sender) StreamID() string { return s.voices[0].track.StreamID() }

// Kind tells pion whether the track is audio or video.
func (s *sender) Kind() webrtc.RTPCodecType { return webrtc.NewRTPCodecType(string(s.kind)) }

// start sends in the codecs that were negotiated.
func (s *sender) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range s.voices {
		if !s.negotiated(i) {
			v.source.Stop()
		} else if err := v.source.Start(); err != nil {
			return err
		}
	}
	return nil
}

// negotiated tells whether a voice is bound; s.mu is held.
func (s *sender) negotiated(voice int) bool {
	for _, i := range s.bound {
		if i == voice {
			return true
		}
	}
	return false
}

func (s *sender) stop() {
	for _, v := range s.voices {
		v.source.Stop()
	}
}

// readRTCP lets the receiver ask for key frames, until its leg ends.
func (s *sender) readRTCP(from *webrtc.RTPSender) {
	buf := make([]byte, rtcpSize)
	for {
		n, _, err := from.Read(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		for i, v := range s.voices {
			if s.negotiated(i) {
				v.source.HandleRTCP(buf[:n])
			}
		}
		s.mu.Unlock()
	}
}

// sent logs what was sent in the whole call: for each codec that was used, or
// zeros.
func (s *sender) sent(c *Client, k *call) {
	used := slices.DeleteFunc(slices.Clone(s.voices), func(v voice) bool { return v.source.Stats().Units == 0 })
	if len(used) == 0 {
		used = s.voices[:1]
	}
	for _, v := range used {
		st := v.source.Stats()
		c.callEvent(k, eventMediaSent, slog.String("media", string(s.kind)),
			slog.String("codec", v.track.Codec().String()), slog.Uint64("units", st.Sent),
			slog.Uint64("packets", st.Packets), slog.Uint64("bytes", st.Bytes),
			slog.Uint64("key_frames", st.KeyFrames), slog.Uint64("key_frame_requests", st.KeyFrameRequests),
			slog.Uint64("skipped", st.Skipped), slog.Uint64("refused", st.Units-st.Sent))
	}
}
