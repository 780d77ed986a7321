package kmsmock

import (
	"context"
	"slices"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/callbench/callbench/kmsmock/clip"
)

// payloadSize is the largest RTP payload that a player makes: the default mtu
// of endpoints less its headers.
const payloadSize = 1150

// preroll is the time from START to the first frame: 6 to 20 ms were recorded.
const preroll = 10 * time.Millisecond

// A playback sends the frames of a clip when they are due. It has a goroutine
// of its own, which ends at the clip's end or when halt cancels it.
type playback struct {
	player *playerEndpoint
	clip   *clip.Clip // nil while it is being loaded
	from   time.Duration
	began  time.Time
	ctx    context.Context // ends with the server, too
	cancel context.CancelFunc
	done   chan struct{} // closed when no more frames go out
	before *playback     // whose frames go out first
	media  []playedTrack // by track
}

// A mediaClock gives the RTP numbers of a player, which go on over pauses and
// from one play to the next.
type mediaClock struct {
	zero time.Time
	seq  [2]uint16
}

// A playedTrack turns the frames of a track into packets.
type playedTrack struct {
	kind      mediaKind
	codec     *codec
	payloader rtp.Payloader
	packet    packet
}

// payloaders are by codec name.
var payloaders = map[string]func() rtp.Payloader{
	clip.VP8:  func() rtp.Payloader { return &codecs.VP8Payloader{} },
	clip.VP9:  func() rtp.Payloader { return &codecs.VP9Payloader{} },
	clip.H264: func() rtp.Payloader { return &codecs.H264Payloader{} },
	clip.Opus: func() rtp.Payloader { return &codecs.OpusPayloader{} },
	clip.PCMU: func() rtp.Payloader { return &codecs.G711Payloader{} },
	clip.PCMA: func() rtp.Payloader { return &codecs.G711Payloader{} },
}

// newPlayback plays on from the player's position. The server's lock is held.
func newPlayback(p *playerEndpoint) *playback {
	began := time.Now().Add(preroll)
	if p.clock.zero.IsZero() {
		p.clock.zero = began
	}
	b := &playback{player: p, clip: p.clip, from: p.position, began: began, done: make(chan struct{}), before: p.last}
	b.ctx, b.cancel = context.WithCancel(p.obj.srv.ctx)
	p.last = b
	for _, t := range p.clip.Tracks {
		played := playedTrack{kind: kindVideo, codec: &codec{name: t.Codec, clock: 90000}, payloader: payloaders[t.Codec]()}
		if t.Audio() {
			played.kind, played.codec.clock = kindAudio, 8000
			if t.Codec == clip.Opus {
				played.codec.clock = 48000
			}
		}
		b.media = append(b.media, played)
	}
	return b
}

func (b *playback) run() {
	defer close(b.done)
	if b.before != nil {
		<-b.before.done
		b.before = nil
	}
	first := b.first()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, f := range b.clip.Frames[first:] {
		if f.At < b.from && b.media[f.Track].kind == kindAudio {
			continue
		}
		if !b.wait(timer, f.At) {
			return
		}
		b.send(&b.media[f.Track], f)
	}
	if !b.wait(timer, b.clip.Length) {
		return
	}
	s := b.player.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.player.playback == b {
		b.player.ended()
	}
}

// first is the index of the frame to begin with: the last key frame of video
// up to the position, or the first frame from it on.
func (b *playback) first() int {
	first := 0
	for i, f := range b.clip.Frames {
		if f.At > b.from {
			break
		}
		if b.media[f.Track].kind == kindAudio && !b.hasVideo() || b.media[f.Track].kind == kindVideo && f.Key {
			first = i
		}
	}
	return first
}

func (b *playback) hasVideo() bool {
	for i := range b.media {
		if b.media[i].kind == kindVideo {
			return true
		}
	}
	return false
}

// wait blocks until a place of the clip is due. It returns false when the
// playback ended.
func (b *playback) wait(timer *time.Timer, at time.Duration) bool {
	timer.Reset(time.Until(b.began.Add(at - b.from)))
	select {
	case <-b.ctx.Done():
	case <-timer.C:
	}
	return b.ctx.Err() == nil
}

// send cuts a frame into packets.
func (b *playback) send(t *playedTrack, f clip.Frame) {
	p := b.player
	p.announce(t)
	due := b.began.Add(max(f.At-b.from, 0))
	ts := uint32(due.Sub(p.clock.zero).Seconds() * float64(t.codec.clock))
	parts := t.payloader.Payload(payloadSize, f.Data)
	now := time.Now()
	for i, part := range parts {
		p.clock.seq[t.kind]++
		t.packet = packet{
			kind: t.kind, codec: t.codec, payload: part, seq: p.clock.seq[t.kind], ts: ts,
			marker: t.kind == kindVideo && i == len(parts)-1, key: t.kind == kindVideo && f.Key && i == 0,
			stream: uint64(p.obj.serial)<<32 | uint64(t.kind), at: now, from: noKeyFrames{}, raw: !p.encoded,
		}
		p.element.send(&t.packet)
	}
}

// announce tells that Kurento encodes what it decoded of the file, as soon as
// anybody takes it.
func (p *playerEndpoint) announce(t *playedTrack) {
	routes := p.routes[t.kind].Load()
	if p.encoded || routes == nil || p.pulled[t.kind].Load() {
		return
	}
	s := p.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(*routes, func(sink *element) bool { return sink.transcodes(t.kind, rawCodec) }) {
		p.pull(t.kind, rawCodec, *routes)
	}
}

// noKeyFrames is the source of video that is in a file: its key frames come
// when they come.
type noKeyFrames struct{}

func (noKeyFrames) requestKeyFrame() {}
func (noKeyFrames) wantKeyFrame()    {}
