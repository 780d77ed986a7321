package media

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// DefaultSilentAfter is how long no good unit may come before a flow is silent.
const DefaultSilentAfter = 500 * time.Millisecond

const (
	maxStreams = 4  // SSRCs followed at the same time
	maxOrigins = 64 // expected tracks followed by one sink
	maxWrong   = 16 // wrong origins told apart
)

// SinkConfig configures a [Sink]. Codec is needed.
type SinkConfig struct {
	Codec  Codec
	Expect Expect
	// SilentAfter is [DefaultSilentAfter] when 0.
	SilentAfter time.Duration
	// Pacer watches for silence. Without one, silence is only noticed when it ends.
	Pacer *Pacer
	// OnFlow is called for each change, one at a time and in order, from the goroutine
	// that pushed the packet or from the pacer's. It must not block, push or close;
	// it may take Stats.
	OnFlow func(FlowChange)
	// Logger gets "media.flow", "media.wrong_origin" and "media.unmarked". Nil is silent.
	Logger *slog.Logger
}

// Sink takes the RTP packets of one remote track and proves what they carry: who sent
// it, whether it is whole and in time. It outlives a PeerConnection: push the
// packets of the next one into it, and the gap between them is measured.
type Sink struct {
	codec       Codec
	silentAfter time.Duration
	onFlow      func(FlowChange)
	log         *slog.Logger

	delivering sync.Mutex // held while changes are reported

	mu      sync.Mutex
	closed  bool
	expect  expectation
	packet  rtp.Packet // reused
	streams []*stream  // the newest last
	origins []*origin
	stats   SinkStats
	// Of streams that are not followed any more:
	lostOld, damagedOld uint64
	pending             []FlowChange
}

// NewSink makes a sink, which the caller closes.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if !cfg.Codec.valid() {
		return nil, fmt.Errorf("new media sink: %v", cfg.Codec)
	}
	s := &Sink{
		codec:       cfg.Codec,
		silentAfter: cfg.SilentAfter,
		onFlow:      cfg.OnFlow,
		log:         cfg.Logger,
		expect:      newExpectation(cfg.Expect),
	}
	if s.silentAfter <= 0 {
		s.silentAfter = DefaultSilentAfter
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Pacer != nil {
		if err := cfg.Pacer.add(s, time.Now().Add(s.silentAfter)); err != nil {
			return nil, fmt.Errorf("new media sink: %w", err)
		}
	}
	return s, nil
}

// Close ends reporting: no callback runs once it returned. Stats stay readable.
func (s *Sink) Close() error {
	s.delivering.Lock()
	defer s.delivering.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.pending = nil
	return nil
}

// SetExpect changes whose media is right, from the next unit on.
func (s *Sink) SetExpect(e Expect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expect = newExpectation(e)
}

// Codec returns the codec that the sink reads.
func (s *Sink) Codec() Codec { return s.codec }

// Push takes one RTP packet that arrived at the given time, as TrackRemote.Read
// returns it. The sink does not keep the packet. It does not allocate, save for the
// first packet of a stream and when something changes.
func (s *Sink) Push(packet []byte, at time.Time) {
	s.mu.Lock()
	if !s.closed {
		s.take(packet, at)
	}
	changed := len(s.pending) > 0
	s.mu.Unlock()
	if changed {
		s.deliver()
	}
}

// PushUnit takes one whole coded unit, as a browser's encoded transform sees it: a
// frame, or of VP8 at least its end, or an Opus packet. Loss is then counted by
// markers alone. The sink does not keep the unit.
func (s *Sink) PushUnit(unit []byte, key bool, at time.Time) {
	m, err := FindMarker(s.codec, unit)
	s.mu.Lock()
	if !s.closed {
		s.unit(m, err, key, at)
	}
	changed := len(s.pending) > 0
	s.mu.Unlock()
	if changed {
		s.deliver()
	}
}

func (s *Sink) take(packet []byte, at time.Time) {
	if err := s.packet.Unmarshal(packet); err != nil {
		s.stats.RTP.Malformed++
		return
	}
	s.stats.RTP.Packets++
	s.stats.RTP.Bytes += uint64(len(packet))
	h := &s.packet.Header
	st := s.stream(h)
	seq, fresh := st.accept(h, &s.stats.RTP)
	if !fresh || len(s.packet.Payload) == 0 { // empty: a probe made of padding
		return
	}
	if s.codec == Opus {
		m, err := opusMarker(s.packet.Payload)
		s.unit(m, err, true, at)
		return
	}
	f, ok := st.frames.add(videoPacket{seq, h.Timestamp, h.Marker, s.packet.Payload}, st.seqs.has)
	switch {
	case !ok:
		s.stats.RTP.Malformed++
	case f != nil:
		m, err := f.readMarker(s.codec)
		s.unit(m, err, f.key, at)
	}
}

// stream returns the state of the packet's SSRC.
func (s *Sink) stream(h *rtp.Header) *stream {
	i := slices.IndexFunc(s.streams, func(st *stream) bool { return st.ssrc == h.SSRC })
	if i >= 0 && !s.streams[i].jumped(h.SequenceNumber) {
		return s.streams[i]
	}
	if i < 0 && len(s.streams) == maxStreams {
		i = 0
	}
	if i >= 0 {
		s.lostOld += s.streams[i].seqs.lost()
		s.damagedOld += s.streams[i].damaged()
		s.streams = slices.Delete(s.streams, i, i+1)
	}
	st := newStream(s.codec, h.SSRC)
	s.streams = append(s.streams, st)
	s.stats.RTP.Streams++
	return st
}

// unit judges one whole unit.
func (s *Sink) unit(m Marker, err error, key bool, at time.Time) {
	switch {
	case err == ErrNoMarker:
		if s.stats.Unmarked++; s.stats.Unmarked == 1 {
			s.change(FlowChange{State: FlowUnmarked, At: at})
		}
	case err != nil:
		s.stats.Corrupt++
	case !s.expect.fits(m):
		s.wrong(m, at)
	default:
		o := s.origin(m)
		if o == nil {
			s.stats.Unfollowed++
			return
		}
		s.expected(o, m, key, at)
	}
}

func (s *Sink) wrong(m Marker, at time.Time) {
	s.stats.WrongOrigin++
	for i := range s.stats.Wrong {
		w := &s.stats.Wrong[i]
		if w.Call == m.Call && w.Participant == m.Participant && w.Track == m.Track {
			w.Units++
			return
		}
	}
	if len(s.stats.Wrong) == maxWrong {
		return
	}
	s.stats.Wrong = append(s.stats.Wrong, WrongOrigin{m.Call, m.Participant, m.Track, 1})
	c := FlowChange{State: FlowWrongOrigin, At: at, Delay: at.Sub(m.CaptureTime())}
	c.Call, c.Participant, c.Track = m.Call, m.Participant, m.Track
	s.change(c)
}

// origin returns the state of the marker's track.
func (s *Sink) origin(m Marker) *origin {
	for _, o := range s.origins {
		if o.participant == m.Participant && o.track == m.Track && o.call == m.Call {
			return o
		}
	}
	if len(s.origins) == maxOrigins {
		return nil
	}
	o := &origin{call: m.Call, participant: m.Participant, track: m.Track}
	s.origins = append(s.origins, o)
	return o
}

// expected counts a unit of an expected participant.
func (s *Sink) expected(o *origin, m Marker, key bool, at time.Time) {
	captured := o.newest
	restarts := o.stats.Restarts
	a, missing := o.arrive(m)
	switch a {
	case duplicate:
		s.stats.Duplicates++
		return
	case late:
		s.stats.Late++
		return
	case reordered:
		s.stats.Reordered++
	case inOrder:
		restarted := o.stats.Restarts != restarts
		s.interval(o, at, time.Duration(m.Capture-captured), missing, restarted)
	}
	s.good(o, m, key, at, missing)
}

// interval judges the time between a unit and the one shown before it.
func (s *Sink) interval(o *origin, at time.Time, captured time.Duration, missing uint64, restarted bool) {
	before := o.shown
	o.shown = at
	if before.IsZero() {
		return
	}
	gap := at.Sub(before)
	if !restarted { // else there is no telling how many units are missing
		if pause := min(o.rhythm.pause(captured, missing), gap); pause > 0 {
			s.stats.Pauses++
			s.stats.PauseTime += pause
			gap -= pause
		}
	}
	if o.rhythm.add(gap) {
		s.stats.Freezes++
		s.stats.FreezeTime += gap
	}
}

func (s *Sink) good(o *origin, m Marker, key bool, at time.Time, missing uint64) {
	delay := at.Sub(m.CaptureTime())
	s.stats.Good++
	s.stats.Delay.Record(delay)
	if key && s.codec != Opus {
		s.stats.KeyFrames++
	}
	if s.stats.Good == 1 {
		s.stats.First = at
	}
	s.stats.Last = at
	s.flow(o, at, missing, delay)
	if o.stats.Good++; o.stats.Good == 1 {
		o.stats.First = at
	}
	o.last, o.stats.Last = at, at
}

// flow reports the first good unit, and the first one after silence.
func (s *Sink) flow(o *origin, at time.Time, missing uint64, delay time.Duration) {
	if o.stats.Good == 0 {
		o.flowing = true
		s.changeOf(o, FlowChange{State: FlowStarted, At: at, Delay: delay})
		return
	}
	gap := at.Sub(o.last)
	s.stats.LongestGap = max(s.stats.LongestGap, gap)
	s.checkSilent(o, at) // the pacer may be later than the unit
	if o.flowing {
		return
	}
	o.flowing = true
	s.stats.Gaps++
	s.stats.GapTime += gap
	s.changeOf(o, FlowChange{State: FlowResumed, At: at, Gap: gap, Missing: missing, Delay: delay})
}

// checkSilent reports silence that has lasted long enough by now.
func (s *Sink) checkSilent(o *origin, now time.Time) {
	since := o.last.Add(s.silentAfter)
	if !o.flowing || now.Before(since) {
		return
	}
	o.flowing = false
	s.changeOf(o, FlowChange{State: FlowSilent, At: since, Gap: s.silentAfter})
}

// tick looks for silence. It comes again when the first flow can be silent, and in
// any case before one that starts after now can be.
func (s *Sink) tick(now time.Time) (next time.Time, again bool) {
	defer s.deliver()
	s.mu.Lock()
	defer s.mu.Unlock()
	next = now.Add(s.silentAfter)
	for _, o := range s.origins {
		s.checkSilent(o, now)
		if due := o.last.Add(s.silentAfter); o.flowing && due.Before(next) {
			next = due
		}
	}
	return next, !s.closed
}

func (s *Sink) changeOf(o *origin, c FlowChange) {
	c.From, _ = s.expect.name(o.participant)
	c.Call, c.Participant, c.Track = o.call, o.participant, o.track
	s.change(c)
}

func (s *Sink) change(c FlowChange) {
	c.Kind, c.Codec = s.codec.Kind(), s.codec
	s.pending = append(s.pending, c)
}

// deliver reports what is pending. The lock of its own keeps the order without
// holding up packets.
func (s *Sink) deliver() {
	s.delivering.Lock()
	defer s.delivering.Unlock()
	s.mu.Lock()
	changes := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, c := range changes {
		c.log(s.log)
		if s.onFlow != nil {
			s.onFlow(c)
		}
	}
}

func (c *FlowChange) log(l *slog.Logger) {
	attrs := []any{"state", string(c.State), "media", string(c.Kind), "codec", c.Codec.String()}
	origin := []any{"from", c.From, "track", c.Track, "from_hash", fmt.Sprintf("%08x", c.Participant), "call_hash", fmt.Sprintf("%016x", c.Call)}
	switch c.State {
	case FlowUnmarked:
		l.Info("media.unmarked", attrs...)
	case FlowWrongOrigin:
		l.Info("media.wrong_origin", append(attrs, origin...)...)
	default:
		attrs = append(append(attrs, origin...), "gap_ms", c.Gap.Milliseconds(), "missing", c.Missing)
		l.Info("media.flow", attrs...)
	}
}

// Stats returns a snapshot of everything counted since the sink was made. The
// difference of two is a window, see [SinkStats.Sub].
func (s *Sink) Stats() SinkStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.RTP.Lost, st.Damaged = s.lostOld, s.damagedOld
	for _, stream := range s.streams {
		st.RTP.Lost += stream.seqs.lost()
		st.Damaged += stream.damaged()
	}
	for _, o := range s.origins {
		st.Lost += o.lost()
		st.Restarts += o.stats.Restarts
		st.Origins = append(st.Origins, o.snapshot(&s.expect))
	}
	st.Wrong = slices.Clone(s.stats.Wrong)
	return st
}
