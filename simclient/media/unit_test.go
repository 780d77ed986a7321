package media

import (
	"testing"
	"time"
)

// Units that an encoded transform sees are proven as packets are, and lost ones are
// counted by their markers.
func TestSinkPushUnit(t *testing.T) {
	for _, codec := range []Codec{VP8, Opus} {
		var changes []FlowState
		s, err := NewSink(SinkConfig{Codec: codec, Expect: Expect{Call: "r", Participants: []string{"bob"}}, OnFlow: func(c FlowChange) { changes = append(changes, c.State) }})
		if err != nil {
			t.Fatal(err)
		}
		unit := map[Codec][]byte{VP8: {0x10, 2, 3}, Opus: {0xf0, 1, 2, 3}}[codec]
		push := func(call, user string, seq uint32) {
			marked, err := AppendMarked(nil, codec, unit, Marker{Call: CallHash(call), Participant: ParticipantHash(user), Sequence: seq, Capture: int64(seq)})
			if err != nil {
				t.Fatal(err)
			}
			s.PushUnit(marked, seq == 0, time.Unix(0, int64(seq)))
		}
		push("r", "bob", 0)
		push("r", "bob", 2)
		push("r", "bob", 2)
		push("r", "eve", 3)
		push("q", "bob", 4)
		s.PushUnit(unit, false, time.Unix(0, 5))
		got := s.Stats()
		if got.Good != 2 || got.Lost != 1 || got.Duplicates != 1 || got.WrongOrigin != 2 || got.Unmarked != 1 {
			t.Errorf("%v: %+v", codec, got)
		}
		if len(changes) != 4 || changes[0] != FlowStarted || changes[3] != FlowUnmarked {
			t.Errorf("%v: %v", codec, changes)
		}
		s.Close()
		push("r", "bob", 5)
		if s.Stats().Good != 2 {
			t.Errorf("%v: a closed sink counts on", codec)
		}
	}
}
