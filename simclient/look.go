package simclient

import (
	"log/slog"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/simclient/media"
)

// askEvery is the time between two requests for a key frame to look at.
const askEvery = time.Second

// look looks for barcodes in a received video track, and asks for key frames to look at.
type look struct {
	viewer *media.Viewer
	track  *webrtc.TrackRemote
	to     *webrtc.DTLSTransport
	asked  time.Time
}

// newLook returns nil if the client does not look, or the track is none that can be looked at.
func (m *mediaFlow) newLook(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) *look {
	if m.c.cfg.Look == 0 || track.Codec().MimeType != media.VP8.MimeType() {
		return nil
	}
	v := media.NewViewer(media.ViewerConfig{Every: m.c.cfg.Look, OnLook: func(l media.Look) {
		found := append([]media.Sighting(nil), l.Found...)
		m.c.q.now(func() {
			if m.call.media == m {
				m.seen(found)
			}
		})
	}})
	return &look{viewer: v, track: track, to: receiver.Transport()}
}

// push takes a packet of the track.
func (l *look) push(packet []byte, at time.Time) {
	if l == nil {
		return
	}
	l.viewer.Push(packet, at)
	if at.Sub(l.asked) >= askEvery && l.viewer.Due(at) {
		l.asked = at
		// A request that fails is made again, and a connection that is gone ends the track.
		_, _ = l.to.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(l.track.SSRC())}})
	}
}

// seen logs each barcode of a picture: who is in it. from names the other party of the
// call, or the member of the room.
func (m *mediaFlow) seen(found []media.Sighting) {
	for _, s := range found {
		from := ""
		for _, u := range m.c.parties(m.call) {
			if s.Participant == media.ParticipantHash(u) {
				from = u
			}
		}
		m.c.callEvent(m.call, eventSeen, slog.String("media", string(media.Video)), slog.String("from", from),
			slog.Uint64("track", uint64(s.Track)), slog.Uint64("from_hash", uint64(s.Participant)), slog.Uint64("call_hash", uint64(s.Call)),
			slog.Uint64("count", uint64(s.Count)), slog.Int("x", s.X), slog.Int("y", s.Y), slog.Int("width", s.Width), slog.Int("height", s.Height),
			slog.Int("pictures", len(found)))
	}
}
