package media

import (
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
	s, err := NewSource(SourceConfig{
		Clip: mustLoad(t, clip), Pacer: p, Writer: w,
		Identity: Identity{Call: "call-1", Participant: "alice", Track: 1},
	})
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

// aliceOnly expects what newTestSource sends.
var aliceOnly = Expect{Call: "call-1", Participants: []string{"alice"}}

func TestThirtySecondsOfEachClip(t *testing.T) {
	for name, want := range map[string]uint64{
		ClipVP8: 901, ClipVP8Load: 901, ClipH264: 901, ClipOpus: 1501, ClipOpusStereo: 1501,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPacer(PacerConfig{})
				defer p.Close()
				sink := newTestSink(t, SinkConfig{Codec: mustLoad(t, name).Codec(), Expect: aliceOnly, Pacer: p})
				defer sink.Close()
				src := newTestSource(t, p, name, wire(func(packet []byte) { sink.Push(packet, time.Now()) }))
				if err := src.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				src.Stop()
				got := sink.Stats()
				if got.Good != want {
					t.Errorf("good units = %d, want %d", got.Good, want)
				}
				bad := got.Lost + got.Duplicates + got.Reordered + got.Late + got.Damaged + got.Unmarked +
					got.Corrupt + got.WrongOrigin + got.Restarts + got.Freezes + got.RTP.Lost + got.RTP.Malformed
				if bad != 0 || got.Delay.Max != 0 {
					t.Errorf("a clean wire shows faults: %+v", got)
				}
				if late := p.Stats().Lateness; late.Max != 0 {
					t.Errorf("lateness in virtual time = %v", late.Max)
				}
			})
		})
	}
}
