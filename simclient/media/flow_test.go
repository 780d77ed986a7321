package media

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// wire hands what a source writes to a function, at the instant of writing.
type wire func(packet []byte)

func (w wire) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	packet, err := (&rtp.Packet{Header: *header, Payload: payload}).Marshal()
	if err != nil {
		return 0, err
	}
	w(packet)
	return len(packet), nil
}

func mustLoad(t testing.TB, name string) *Clip {
	t.Helper()
	clip, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

func newTestSource(t testing.TB, p *Pacer, clip string, w Writer) *Source {
	t.Helper()
	s, err := NewSource(SourceConfig{Clip: mustLoad(t, clip), Pacer: p, Writer: w, Identity: alice})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestSink(t testing.TB, cfg SinkConfig) *Sink {
	t.Helper()
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	alice = Identity{Call: "call-1", Participant: "alice", Track: 1}
	// aliceOnly expects what newTestSource sends.
	aliceOnly = Expect{Call: "call-1", Participants: []string{"alice"}}
)

// link is a source, a wire that can be cut or held, and a sink.
type link struct {
	*Source
	*Sink
	start   time.Time
	delay   time.Duration
	cut     bool
	mu      sync.Mutex
	changes []string
}

// inBubble runs f with a link in virtual time, and fails on anything left behind.
func inBubble(t *testing.T, clip string, f func(t *testing.T, l *link)) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		defer p.Close()
		l := &link{start: time.Now()}
		l.Sink = newTestSink(t, SinkConfig{
			Codec: mustLoad(t, clip).Codec(), Expect: aliceOnly, Pacer: p, OnFlow: l.onFlow,
		})
		defer l.Sink.Close()
		l.Source = newTestSource(t, p, clip, wire(l.carry))
		defer l.Source.Stop()
		if err := l.Source.Start(); err != nil {
			t.Fatal(err)
		}
		f(t, l)
	})
}

func (l *link) carry(packet []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut {
		l.Sink.Push(packet, time.Now().Add(l.delay))
	}
}

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// onFlow writes changes down as a trace would, and reads stats, which it may.
func (l *link) onFlow(c FlowChange) {
	l.Sink.Stats()
	l.changes = append(l.changes, fmt.Sprintf("%v %s %s gap=%v missing=%d",
		c.At.Sub(l.start), c.State, c.From, c.Gap, c.Missing))
}

func (l *link) runFor(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (l *link) expectChanges(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(l.changes, want) {
		t.Errorf("changes\n got %s\nwant %s", strings.Join(l.changes, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestThirtySecondsOfEachClip(t *testing.T) {
	for name, want := range map[string]uint64{
		ClipVP8: 901, ClipVP8Load: 901, ClipH264: 901, ClipOpus: 1501, ClipOpusStereo: 1501,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, name, func(t *testing.T, l *link) {
				l.runFor(30 * time.Second)
				got := l.Sink.Stats()
				if got.Good != want {
					t.Errorf("good units = %d, want %d", got.Good, want)
				}
				bad := got.Lost + got.Duplicates + got.Reordered + got.Late + got.Damaged + got.Unmarked +
					got.Corrupt + got.WrongOrigin + got.Restarts + got.Freezes + got.Pauses + got.Gaps + got.RTP.Lost + got.RTP.Malformed
				if bad != 0 || got.Delay.Max != 0 {
					t.Errorf("a clean wire shows faults: %+v", got)
				}
				l.expectChanges(t, "0s started alice gap=0s missing=0")
			})
		})
	}
}

// Ten seconds without a network, at exact instants: the last frame before the cut at
// 5 s was due at 4.966…s.
func TestNetworkCut(t *testing.T) {
	inBubble(t, ClipVP8, func(t *testing.T, l *link) {
		l.runFor(5*time.Second - time.Millisecond)
		l.setCut(true)
		l.runFor(10 * time.Second)
		l.setCut(false)
		l.runFor(5 * time.Second)
		l.expectChanges(t,
			"0s started alice gap=0s missing=0",
			"5.466666666s silent alice gap=500ms missing=0",
			"15s resumed alice gap=10.033333334s missing=300")
		got := l.Sink.Stats()
		if got.Gaps != 1 || got.GapTime != 10033333334 || got.LongestGap != got.GapTime {
			t.Errorf("gaps %d, %v, longest %v", got.Gaps, got.GapTime, got.LongestGap)
		}
		if got.Freezes != 1 || got.FreezeTime != got.GapTime || got.Pauses != 0 || got.Lost != 300 {
			t.Errorf("freezes %d, %v; pauses %d; lost %d", got.Freezes, got.FreezeTime, got.Pauses, got.Lost)
		}
	})
}

// A muted sender is no loss and no freeze.
func TestMute(t *testing.T) {
	for _, clip := range everyCodec {
		inBubble(t, clip, func(t *testing.T, l *link) {
			l.runFor(3*time.Second - time.Millisecond)
			l.Source.SetMuted(true)
			l.runFor(4 * time.Second)
			l.Source.SetMuted(false)
			l.runFor(3 * time.Second)
			if len(l.changes) != 3 || !strings.Contains(l.changes[2], "7s resumed alice gap=4.0") ||
				!strings.HasSuffix(l.changes[2], "missing=0") {
				t.Errorf("%s: changes %q", clip, l.changes)
			}
			got := l.Sink.Stats()
			if got.Lost != 0 || got.Freezes != 0 || got.Pauses != 1 || got.PauseTime.Round(time.Microsecond) != 4*time.Second {
				t.Errorf("%s: lost %d, freezes %d, pauses %d for %v", clip, got.Lost, got.Freezes, got.Pauses, got.PauseTime)
			}
		})
	}
}

// The freeze rule at its edges: 30 frames a second, the average with the long interval
// in it. 33.3 ms + (g-33.3 ms)/30 + 150 ms <= g holds from 188.5 ms on.
func TestFreezeRule(t *testing.T) {
	for gap, want := range map[time.Duration]uint64{
		188 * time.Millisecond: 0, 189 * time.Millisecond: 1,
	} {
		sent := record(t, ClipVP8, alice, 4*time.Second)
		sink := sinkFor(t, ClipVP8, nil)
		hold := sent[0].at.Add(2*time.Second + gap)
		for _, p := range sent {
			// From 2.033 s on, frames wait in a queue until they come in a burst.
			if p.at.After(sent[0].at.Add(2*time.Second)) && p.at.Before(hold) {
				p.at = hold
			}
			sink.Push(p.packet, p.at)
		}
		got := sink.Stats()
		if got.Freezes != want || got.Lost != 0 || got.Pauses != 0 {
			t.Errorf("gap %v: freezes %d, want %d; pauses %d", gap, got.Freezes, want, got.Pauses)
		}
		if want == 1 && got.FreezeTime != gap {
			t.Errorf("freeze time %v, want %v", got.FreezeTime, gap)
		}
	}
}

func TestDelayIsMeasured(t *testing.T) {
	inBubble(t, ClipOpus, func(t *testing.T, l *link) {
		l.mu.Lock()
		l.delay = 35 * time.Millisecond
		l.mu.Unlock()
		l.runFor(2 * time.Second)
		d := l.Sink.Stats().Delay
		if d.Max != 35*time.Millisecond || d.Mean() < 34*time.Millisecond {
			t.Errorf("delay mean %v, max %v", d.Mean(), d.Max)
		}
	})
}

// Silence and its end at the same instant are reported alike, whichever goroutine
// comes first.
func TestSilenceEndsAsItBegins(t *testing.T) {
	sent := record(t, ClipOpus, alice, time.Second)
	var changes []FlowChange
	sink := sinkFor(t, ClipOpus, func(c FlowChange) { changes = append(changes, c) })
	sink.Push(sent[0].packet, sent[0].at)
	sink.Push(sent[1].packet, sent[0].at.Add(DefaultSilentAfter))
	if len(changes) != 3 || changes[1].State != FlowSilent || changes[2].State != FlowResumed ||
		!changes[1].At.Equal(changes[2].At) || changes[2].Gap != DefaultSilentAfter {
		t.Errorf("changes %+v", changes)
	}
}

func TestClosedSinkIsSilent(t *testing.T) {
	inBubble(t, ClipOpus, func(t *testing.T, l *link) {
		l.runFor(time.Second)
		l.Sink.Close()
		good := l.Sink.Stats().Good
		l.setCut(true)
		l.runFor(2 * time.Second)
		l.setCut(false)
		l.runFor(time.Second)
		l.expectChanges(t, "0s started alice gap=0s missing=0")
		if got := l.Sink.Stats().Good; got != good {
			t.Errorf("good grew from %d to %d", good, got)
		}
	})
}

func TestSinkLogsChanges(t *testing.T) {
	var out strings.Builder
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	sent := record(t, ClipOpus, alice, time.Second)
	sink := newTestSink(t, SinkConfig{Codec: Opus, Expect: aliceOnly, Logger: logger})
	pushAll(sink, sent)
	pushAll(sink, record(t, ClipOpus, Identity{Call: "call-1", Participant: "bob"}, time.Second))
	sink.Push([]byte{0x80, 111, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3}, sent[0].at)
	want := `level=INFO msg=media.flow state=started media=audio codec=opus from=alice track=1 from_hash=872213e7 call_hash=9582b8995d76b867 gap_ms=0 missing=0
level=INFO msg=media.wrong_origin state=wrong_origin media=audio codec=opus from="" track=0 from_hash=86c6a0d4 call_hash=9582b8995d76b867
level=INFO msg=media.unmarked state=unmarked media=audio codec=opus
`
	if out.String() != want {
		t.Errorf("log\n%s\nwant\n%s", out.String(), want)
	}
}
