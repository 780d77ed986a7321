package media

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// catchUp is how far behind a source may be and still send what it missed, back to
// back. When it is later than that (the process was stopped, the machine is
// overloaded), it goes on from now instead of sending a burst, as a camera would.
const catchUp = 250 * time.Millisecond

// SourceConfig configures a [Source]. Clip, Writer and Pacer are needed.
type SourceConfig struct {
	Clip     *Clip
	Identity Identity
	Writer   Writer
	Pacer    *Pacer
	// Logger gets "media.source" when the source starts, stops, is muted or unmuted, and
	// "media.keyframe" when a key frame is asked for. Nil is silent.
	Logger *slog.Logger
}

// Source sends one clip in a loop, each unit marked and at its time. It begins with a
// key frame, and again after each time that nothing took its packets: before the
// connection is up, while muted.
type Source struct {
	clip  *Clip
	pacer *Pacer
	log   *slog.Logger

	mu        sync.Mutex
	packets   packetizer
	marker    Marker
	run       *sourceRun // what the pacer has; nil when stopped
	muted     bool
	wantKey   bool
	start     time.Time // of unit 0 of this run
	n         int64     // units due since start
	pos       int       // in the clip
	timestamp uint32    // RTP time of start
	stats     SourceStats
}

// SourceStats counts what a source did since it was made.
type SourceStats struct {
	// Units were marked and handed to the writer, Sent of them were taken whole.
	Units, Sent uint64
	// Packets and Bytes of RTP that the writer took.
	Packets, Bytes uint64
	// KeyFrames were sent, KeyFrameRequests came from the receiver.
	KeyFrames, KeyFrameRequests uint64
	// Skipped units were never sent, because the pacer was more than 250 ms late.
	Skipped uint64
	// Errors counts units that the writer refused, LastError says why the last time.
	Errors    uint64
	LastError error
}

// NewSource makes a source; Start lets it send.
func NewSource(cfg SourceConfig) (*Source, error) {
	if cfg.Clip == nil || cfg.Writer == nil || cfg.Pacer == nil {
		return nil, errors.New("new media source: clip, writer and pacer are needed")
	}
	s := &Source{clip: cfg.Clip, pacer: cfg.Pacer, log: cfg.Logger, wantKey: true}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.packets.out = cfg.Writer
	s.packets.header.Version = 2
	s.SetIdentity(cfg.Identity)
	// The same identity gives the same packets in each run. Below 2^15, so that losing
	// the first packets across a wrap cannot confuse the peer's SRTP rollover counter.
	s.packets.header.SequenceNumber = uint16(s.marker.Call>>16^s.marker.Call) & 0x7FFF
	s.timestamp = s.marker.Participant
	return s, nil
}

// SetIdentity changes whom the markers name, from the next unit on.
func (s *Source) SetIdentity(id Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marker.Call = CallHash(id.Call)
	s.marker.Participant = ParticipantHash(id.Participant)
	s.marker.Track = id.Track
	if s.clip.barcode != nil {
		s.clip = s.clip.of(id)
		s.wantKey = true // what was sent before names somebody else
	}
}

// Start sends the first unit now and then each at its time, until Stop. Starting a
// running source does nothing.
func (s *Source) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		return nil
	}
	now, run := time.Now(), &sourceRun{s}
	if err := s.pacer.add(run, now); err != nil {
		return fmt.Errorf("start media source: %w", err)
	}
	if !s.start.IsZero() {
		s.timestamp += uint32(s.clip.unitsIn(now.Sub(s.start))+1) * s.clip.rtpTicks(1)
	}
	s.run, s.wantKey = run, true
	s.start, s.n = now, 0
	s.logState("started")
	return nil
}

// Stop ends sending: nothing is written once it returned. The source can be started
// again; its marker sequence goes on.
func (s *Source) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run = nil
		s.logState("stopped")
	}
}

// SetMuted lets the source send nothing, or send again from a key frame on. The marker
// sequence stands still while muted: a receiver sees silence, not loss.
func (s *Source) SetMuted(muted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted == muted {
		return
	}
	s.muted = muted
	if muted {
		s.logState("muted")
	} else {
		s.logState("unmuted")
	}
}

// RequestKeyFrame makes the next unit a key frame, as an encoder does when a PLI or
// FIR arrives.
func (s *Source) RequestKeyFrame() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wantKey = true
	s.stats.KeyFrameRequests++
	s.log.Debug("media.keyframe", "track", s.marker.Track, "codec", s.clip.codec.String())
}

// HandleRTCP looks into a compound RTCP packet that the receiver of this source sent,
// and answers a request for a key frame. RFC 4585 §6.3.1, RFC 5104 §4.3.1.
func (s *Source) HandleRTCP(packet []byte) {
	if wantsKeyFrame(packet) {
		s.RequestKeyFrame()
	}
}

// Stats returns the figures so far.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Clip returns what the source sends.
func (s *Source) Clip() *Clip {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clip
}

func (s *Source) logState(state string) {
	s.log.Info("media.source", "state", state, "media", string(s.clip.codec.Kind()),
		"codec", s.clip.codec.String(), "clip", s.clip.name, "track", s.marker.Track)
}

// sourceRun is the time from one Start to the next Stop. The pacer drops it when it
// finds that the source has stopped or runs anew.
type sourceRun struct{ source *Source }

func (r *sourceRun) tick(now time.Time) (next time.Time, again bool) {
	s := r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != r {
		return time.Time{}, false
	}
	if due := s.start.Add(s.clip.Offset(s.n)); now.Sub(due) > catchUp {
		s.skipTo(now)
	}
	s.sendUnit(now)
	s.n++
	return s.start.Add(s.clip.Offset(s.n)), true
}

// skipTo leaves out the units that were due before now. The clip goes on where it
// is, since frames refer to each other; only the RTP time jumps.
func (s *Source) skipTo(now time.Time) {
	n := s.clip.unitsIn(now.Sub(s.start))
	if n > s.n {
		s.stats.Skipped += uint64(n - s.n)
		s.n = n
	}
}

func (s *Source) sendUnit(now time.Time) {
	if s.muted {
		s.wantKey = true
		return
	}
	if s.wantKey {
		s.pos = s.clip.nextKey(s.pos)
	}
	u := &s.clip.units[s.pos]
	s.marker.Capture = now.UnixNano()
	s.packets.send(s.clip.codec, u, s.marker, s.timestamp+s.clip.rtpTicks(s.n))
	s.marker.Sequence++
	s.count(u)
	// Decoding could not begin behind a frame that was not sent.
	s.wantKey = !s.packets.accepted
	s.pos = (s.pos + 1) % len(s.clip.units)
}

func (s *Source) count(u *unit) {
	s.stats.Units++
	s.stats.Packets += uint64(s.packets.packets)
	s.stats.Bytes += uint64(s.packets.bytes)
	if s.packets.accepted {
		s.stats.Sent++
		if u.key {
			s.stats.KeyFrames++
		}
	}
	if s.packets.err != nil {
		s.stats.Errors++
		s.stats.LastError = s.packets.err
	}
}
