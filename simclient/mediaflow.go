package simclient

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/simclient/media"
)

const (
	// windowEvery is how often media.window is logged.
	windowEvery = time.Second
	// packetSize is the largest RTP packet that is read: one MTU.
	packetSize = 1500
	// captureDelay is the time between the connection and the first packet. Any real
	// capture takes longer. The media server may still be setting up SRTP when it has
	// told this side, and whether it then takes a packet is chance.
	captureDelay = time.Millisecond
)

// kinds are the media of a call, in the order of the m-lines of an offer.
var kinds = [...]struct {
	kind   media.Kind
	number uint8
}{{media.Audio, trackAudio}, {media.Video, trackVideo}}

// mediaFlow is what is sent and received in one call. It outlives the legs.
type mediaFlow struct {
	c     *Client
	call  *call
	names trackNames
	// sections are those of the offers, in their order. senders are those of them that
	// send, and made all that ever did: a member of a room may have to stop and begin
	// again.
	sections []section
	senders  []*sender
	made     []*sender
	sinks    []*sink
	first    *timer // begins to send
	started  bool
	window   *timer
	due      time.Time // of the last window
}

// section is a media section: what is sent in it, or nil if it only receives.
type section struct {
	kind     media.Kind
	sender   *sender
	sendOnly bool
}

// sink is what proves one kind of received media, in one codec.
type sink struct {
	*media.Sink
	logged media.SinkStats // when the last window was logged
}

func newMediaFlow(c *Client, k *call) *mediaFlow {
	return &mediaFlow{c: c, call: k, names: newTrackNames()}
}

// layOut makes the sections of the next offer: what this side may capture is sent
// if it has to send at all, and nothing is received by who only sends.
func (m *mediaFlow) layOut() error {
	m.sections, m.senders = nil, nil
	cfg, receives := &m.c.cfg, m.call.receives()
	for _, t := range kinds {
		mute := t.kind == media.Audio && cfg.NoMicrophone || t.kind == media.Video && cfg.NoCamera
		if mute || !m.call.sends() {
			if receives {
				m.sections = append(m.sections, section{kind: t.kind})
			}
			continue
		}
		s, err := m.sender(t.kind, t.number)
		if err != nil {
			return fmt.Errorf("make %s sender: %w", t.kind, err)
		}
		if len(s.voices) > 0 {
			m.senders = append(m.senders, s)
			m.sections = append(m.sections, section{t.kind, s, !receives})
		}
	}
	if cfg.VideoFirst || cfg.NoMicrophone && cfg.Profile.VideoFirstAlone {
		slices.Reverse(m.sections)
	}
	for _, s := range m.made {
		if !slices.Contains(m.senders, s) {
			s.stop()
		}
	}
	return nil
}

// sender finds or makes what sends one kind.
func (m *mediaFlow) sender(kind media.Kind, number uint8) (*sender, error) {
	for _, s := range m.made {
		if s.kind == kind {
			return s, nil
		}
	}
	s, err := m.c.newSender(kind, number, m.call)
	if err == nil && len(s.voices) > 0 {
		s.mute(m.c.muted[kind])
		m.made = append(m.made, s)
	}
	return s, err
}

// start sends, and begins to tell what comes.
func (m *mediaFlow) start() {
	m.first = m.c.afterAll(captureDelay, func() {
		m.started = true
		m.capture()
	})
	if !m.window.pending() {
		m.due = time.Now()
		m.nextWindow()
	}
}

// receive reads a remote track until its leg ends.
func (m *mediaFlow) receive(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	s, err := m.sink(track.Codec().MimeType)
	if err != nil {
		m.c.failure(m.call, "receive "+track.Kind().String(), err)
		return
	}
	look := m.newLook(track, receiver)
	m.c.group.Go(func() {
		buf := make([]byte, packetSize)
		for {
			n, _, err := track.Read(buf)
			if err != nil {
				return
			}
			now := time.Now()
			s.Push(buf[:n], now)
			look.push(buf[:n], now)
		}
	})
	if m.c.cfg.Interceptors != Lean { // sender reports pass the interceptors when they are read
		m.c.group.Go(func() { drainRTCP(receiver) })
	}
}

func drainRTCP(receiver *webrtc.RTPReceiver) {
	buf := make([]byte, rtcpSize)
	for {
		if _, _, err := receiver.Read(buf); err != nil {
			return
		}
	}
}

// sink finds or makes the sink for a codec. Tracks of later legs go on with the
// same one, so that it sees the gap between them.
func (m *mediaFlow) sink(mimeType string) (*sink, error) {
	for _, s := range m.sinks {
		if strings.EqualFold(s.Codec().MimeType(), mimeType) {
			return s, nil
		}
	}
	for _, codec := range []media.Codec{media.Opus, media.VP8, media.H264} {
		if strings.EqualFold(codec.MimeType(), mimeType) {
			return m.addSink(codec)
		}
	}
	return nil, fmt.Errorf("nothing proves %s", mimeType)
}

func (m *mediaFlow) addSink(codec media.Codec) (*sink, error) {
	proof, err := media.NewSink(media.SinkConfig{Codec: codec, SilentAfter: m.c.cfg.Silence, Pacer: m.c.pacer,
		Expect: m.expected(),
		OnFlow: func(f media.FlowChange) {
			m.c.q.now(func() {
				if m.call.media == m {
					m.changed(f)
				}
			})
		}})
	if err != nil {
		return nil, err
	}
	s := &sink{Sink: proof}
	m.sinks = append(m.sinks, s)
	return s, nil
}

// expected is whose media is right.
func (m *mediaFlow) expected() media.Expect {
	return media.Expect{Call: m.call.mark(), Participants: m.c.parties(m.call)}
}

// expect lets all sinks know whose media is right now.
func (m *mediaFlow) expect() {
	for _, s := range m.sinks {
		s.SetExpect(m.expected())
	}
}

// changed logs that media began, fell silent, came back, or is not the peer's.
func (m *mediaFlow) changed(f media.FlowChange) {
	kind, attrs := FlowEvent(f)
	m.c.callEvent(m.call, kind, attrs...)
}

// FlowEvent is the event that tells of a change of received media.
func FlowEvent(f media.FlowChange) (kind string, attrs []slog.Attr) {
	of := slog.String("media", string(f.Kind))
	switch f.State {
	case media.FlowUnmarked:
		return eventUnmarked, []slog.Attr{of}
	case media.FlowWrongOrigin:
		return eventWrongOrigin, []slog.Attr{of, slog.Uint64("track", uint64(f.Track)),
			slog.Uint64("from_hash", uint64(f.Participant)), slog.Uint64("call_hash", f.Call)}
	case media.FlowSilent:
		return eventFlow, []slog.Attr{of, slog.String("state", "silent"), slog.String("from", f.From), ms("gap_ms", f.Gap)}
	default:
		return eventFlow, []slog.Attr{of, slog.String("state", "flowing"), slog.String("from", f.From),
			ms("gap_ms", f.Gap), slog.Uint64("missing", f.Missing), ms("delay_ms", f.Delay)}
	}
}

// nextWindow plans the next window relative to the last one's due time, so that
// windows do not drift.
func (m *mediaFlow) nextWindow() {
	m.window = m.c.afterAll(time.Until(m.due.Add(windowEvery)), func() {
		m.logWindows(windowEvery)
		m.due = m.due.Add(windowEvery)
		m.nextWindow()
	})
}

// logWindows logs what came since the last time. Losses are signed: what came
// late after all is taken off again.
func (m *mediaFlow) logWindows(length time.Duration) {
	for _, t := range kinds {
		var sum media.SinkStats
		var lost, packetsLost int64
		var from []string
		for _, s := range m.of(t.kind) {
			now := s.Stats()
			from = append(from, Heard(now, s.logged)...)
			lost += int64(now.Lost - s.logged.Lost)
			packetsLost += int64(now.RTP.Lost - s.logged.RTP.Lost)
			sum = add(sum, now.Sub(s.logged))
			s.logged = now
		}
		m.logStats(eventWindow, t.kind, m.from(from), &sum, lost, packetsLost, ms("window_ms", length))
	}
}

func (m *mediaFlow) of(kind media.Kind) []*sink {
	var of []*sink
	for _, s := range m.sinks {
		if s.Codec().Kind() == kind {
			of = append(of, s)
		}
	}
	return of
}

// stop ends sending and receiving and logs the last window, which is shorter,
// and the totals.
func (m *mediaFlow) stop() {
	m.first.stop()
	if m.window.pending() {
		m.window.stop()
		m.logWindows(time.Since(m.due))
	}
	for _, s := range m.made {
		s.stop()
		s.sent(m.c, m.call)
	}
	for _, t := range kinds {
		var sum media.SinkStats
		var from []string
		for _, s := range m.of(t.kind) {
			now := s.Stats()
			from = append(from, Heard(now, media.SinkStats{})...)
			sum = add(sum, now)
		}
		m.logStats(eventMediaTotal, t.kind, m.from(from), &sum, int64(sum.Lost), int64(sum.RTP.Lost),
			slog.Uint64("key_frames", sum.KeyFrames), slog.Uint64("gaps", sum.Gaps), ms("gap_total_ms", sum.GapTime),
			ms("gap_max_ms", sum.LongestGap), slog.Uint64("pauses", sum.Pauses), slog.Uint64("restarts", sum.Restarts))
	}
	for _, s := range m.sinks {
		s.Close()
	}
}

// Heard are the users of whom something good has come since an earlier snapshot.
func Heard(now, before media.SinkStats) (users []string) {
	for i, o := range now.Origins { // new ones are added behind the old ones
		if i >= len(before.Origins) && o.Good > 0 || i < len(before.Origins) && o.Good > before.Origins[i].Good {
			users = append(users, o.Participant)
		}
	}
	return users
}

// from says whose media was counted: the other party's in a call, and in a room
// that of all who were heard.
func (m *mediaFlow) from(heard []string) string {
	if m.call.in == nil {
		return m.call.peer
	}
	slices.Sort(heard)
	return strings.Join(slices.Compact(heard), ",")
}

// stopMedia ends the call's media. It may be called again.
func (c *Client) stopMedia(k *call) {
	if k.media != nil {
		k.media.stop()
		k.media = nil
	}
	c.closeLeg(k)
}

// add sums what two sinks of one kind counted. There are two when the codec
// changed from one leg to the next.
func add(a, b media.SinkStats) media.SinkStats {
	if a.RTP.Packets == 0 {
		return b
	}
	a.RTP.Packets += b.RTP.Packets
	a.RTP.Bytes += b.RTP.Bytes
	a.RTP.Lost += b.RTP.Lost
	a.Good += b.Good
	a.KeyFrames += b.KeyFrames
	a.Lost += b.Lost
	a.Duplicates += b.Duplicates
	a.Reordered += b.Reordered
	a.Late += b.Late
	a.Damaged += b.Damaged
	a.Unmarked += b.Unmarked
	a.Corrupt += b.Corrupt
	a.WrongOrigin += b.WrongOrigin
	a.Restarts += b.Restarts
	a.Freezes += b.Freezes
	a.FreezeTime += b.FreezeTime
	a.Pauses += b.Pauses
	a.Gaps += b.Gaps
	a.GapTime += b.GapTime
	a.LongestGap = max(a.LongestGap, b.LongestGap)
	a.Delay.Merge(&b.Delay)
	return a
}

func (m *mediaFlow) logStats(event string, kind media.Kind, from string, s *media.SinkStats, lost, packetsLost int64, more ...slog.Attr) {
	m.c.callEvent(m.call, event, append(Counts(kind, from, s, lost, packetsLost), more...)...)
}

// Counts are the attributes of events that count received media.
func Counts(kind media.Kind, from string, s *media.SinkStats, lost, packetsLost int64) []slog.Attr {
	return []slog.Attr{
		slog.String("media", string(kind)),
		slog.String("from", from),
		slog.Uint64("units", s.Good),
		slog.Uint64("packets", s.RTP.Packets),
		slog.Uint64("bytes", s.RTP.Bytes),
		slog.Int64("lost", lost),
		slog.Int64("packets_lost", packetsLost),
		slog.Uint64("duplicated", s.Duplicates),
		slog.Uint64("reordered", s.Reordered),
		slog.Uint64("late", s.Late),
		slog.Uint64("damaged", s.Damaged),
		slog.Uint64("corrupt", s.Corrupt),
		slog.Uint64("wrong", s.WrongOrigin),
		slog.Uint64("unmarked", s.Unmarked),
		slog.Uint64("freezes", s.Freezes),
		ms("freeze_ms", s.FreezeTime),
		ms("delay_avg_ms", s.Delay.Mean()),
		ms("delay_max_ms", s.Delay.Max),
	}
}
