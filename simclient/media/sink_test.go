package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// arrived is a packet and when it comes in.
type arrived struct {
	packet []byte
	at     time.Time
}

// record returns what a source sends within d of virtual time; sequence numbers of
// markers and RTP start anew for each identity.
func record(t testing.TB, clip string, id Identity, d time.Duration) (sent []arrived) {
	t.Helper()
	synctest.Test(t.(*testing.T), func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		defer p.Close()
		s := newTestSource(t, p, clip, wire(func(packet []byte) {
			binary.BigEndian.PutUint32(packet[8:], ParticipantHash(id.Call+id.Participant)) // SSRC
			sent = append(sent, arrived{packet, time.Now()})
		}))
		s.SetIdentity(id)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(d - time.Nanosecond)
		synctest.Wait()
		s.Stop()
	})
	return sent
}

func sinkFor(t testing.TB, clip string, onFlow func(FlowChange)) *Sink {
	t.Helper()
	return newTestSink(t, SinkConfig{Codec: mustLoad(t, clip).Codec(), Expect: aliceOnly, OnFlow: onFlow})
}

func pushAll(s *Sink, packets []arrived) SinkStats {
	for _, p := range packets {
		s.Push(p.packet, p.at)
	}
	return s.Stats()
}

var everyCodec = []string{ClipVP8Load, ClipH264, ClipOpus}

func TestSinkCountsLossTwice(t *testing.T) {
	sent := record(t, ClipOpus, alice, 10*time.Second)
	kept := slices.DeleteFunc(slices.Clone(sent), func(p arrived) bool {
		return slices.Index([]int{50, 100, 101, 102, 400}, slices.IndexFunc(sent, func(q arrived) bool { return &q.packet[0] == &p.packet[0] })) >= 0
	})
	got := pushAll(sinkFor(t, ClipOpus, nil), kept)
	if got.Good != 495 || got.Lost != 5 || got.RTP.Lost != 5 || got.Duplicates+got.Reordered+got.Late != 0 {
		t.Errorf("%+v", got)
	}
}

// A frame that misses any one of its packets is lost as a whole, damaged after 16
// more frames, and one packet is missing on the last hop.
func TestSinkDamagedFrame(t *testing.T) {
	for _, clip := range []string{ClipVP8Load, ClipH264} {
		sent := record(t, clip, alice, 2*time.Second)
		for n := 0; n < 14; n++ { // the first frame, of many packets, and the second
			kept := slices.Delete(slices.Clone(sent), n+1, n+2)
			got := pushAll(sinkFor(t, clip, nil), kept)
			if got.Good != 59 || got.RTP.Lost != 1 {
				t.Errorf("%s without packet %d: good %d, RTP lost %d", clip, n+1, got.Good, got.RTP.Lost)
			}
			if got.Damaged+got.Lost == 0 || got.Damaged > 1 {
				t.Errorf("%s without packet %d: damaged %d, lost %d", clip, n+1, got.Damaged, got.Lost)
			}
		}
	}
}

func TestSinkDuplicates(t *testing.T) {
	for _, clip := range everyCodec {
		sent := record(t, clip, alice, 3*time.Second)
		var twice []arrived
		for _, p := range sent {
			twice = append(twice, p, p)
		}
		got := pushAll(sinkFor(t, clip, nil), twice)
		if want := pushAll(sinkFor(t, clip, nil), sent).Good; got.Good != want || got.RTP.Duplicates != uint64(len(sent)) {
			t.Errorf("%s: good %d, want %d; duplicates %d of %d", clip, got.Good, want, got.RTP.Duplicates, len(sent))
		}
		if got.Lost+got.RTP.Lost+got.Duplicates+got.Damaged != 0 {
			t.Errorf("%s: %+v", clip, got)
		}
	}
}

// A media server that sends everything twice under new sequence numbers shows in the
// markers.
func TestSinkDuplicateUnits(t *testing.T) {
	sent := record(t, ClipOpus, alice, time.Second)
	sink := sinkFor(t, ClipOpus, nil)
	for i, p := range sent {
		for n := range 2 {
			sink.Push(renumber(t, p.packet, 7, uint16(2*i+n)), p.at)
		}
	}
	if got := sink.Stats(); got.Good != 50 || got.Duplicates != 50 || got.RTP.Duplicates != 0 || got.Lost != 0 {
		t.Errorf("%+v", got)
	}
}

func renumber(t testing.TB, packet []byte, ssrc uint32, seq uint16) []byte {
	t.Helper()
	var p rtp.Packet
	if err := p.Unmarshal(packet); err != nil {
		t.Fatal(err)
	}
	p.SSRC, p.SequenceNumber = ssrc, seq
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Packets come in any order within a short distance: nothing is lost.
func TestSinkReordersWithinWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, clip := range everyCodec {
		sent := record(t, clip, alice, 4*time.Second)
		for _, distance := range []int{2, 5, 20} {
			mixed := slices.Clone(sent)
			keys := make(map[*byte]float64)
			for i, p := range mixed {
				keys[&p.packet[0]] = float64(i) + rng.Float64()*float64(distance)
			}
			// The first stays first: it is where counting begins.
			slices.SortStableFunc(mixed[1:], func(a, b arrived) int {
				if keys[&a.packet[0]] < keys[&b.packet[0]] {
					return -1
				}
				return 1
			})
			for i := range mixed {
				mixed[i].at = sent[i].at
			}
			want := pushAll(sinkFor(t, clip, nil), sent).Good
			got := pushAll(sinkFor(t, clip, nil), mixed)
			if got.Good != want || got.Lost+got.RTP.Lost+got.Damaged+got.Late+got.Duplicates != 0 {
				t.Errorf("%s within %d: good %d, want %d: %+v", clip, distance, got.Good, want, got.RTP)
			}
			if got.RTP.Reordered == 0 {
				t.Errorf("%s within %d: nothing was out of order", clip, distance)
			}
		}
	}
}

func TestSinkTooLate(t *testing.T) {
	sent := record(t, ClipOpus, alice, 10*time.Second)
	for _, c := range []struct{ behind, good, lost, late int }{{127, 500, 0, 0}, {128, 499, 1, 1}} {
		moved := slices.Clone(sent)
		p := moved[10]
		moved = slices.Insert(slices.Delete(moved, 10, 11), 10+c.behind, p)
		got := pushAll(sinkFor(t, ClipOpus, nil), moved)
		if int(got.Good) != c.good || int(got.Lost) != c.lost || int(got.Late) != c.late || int(got.RTP.Late) != c.late {
			t.Errorf("%d behind: %+v", c.behind, got)
		}
	}
}

// Whatever a media server does when it packetizes anew, the markers are found, also
// where it cuts them in two.
func TestSinkReadsOtherPacketizers(t *testing.T) {
	for name, payloader := range map[string]rtp.Payloader{
		ClipVP8: &codecs.VP8Payloader{}, ClipVP8Load: &codecs.VP8Payloader{EnablePictureID: true}, ClipH264: &codecs.H264Payloader{},
	} {
		clip := mustLoad(t, name)
		for mtu := uint16(100); mtu < 1300; mtu += 23 {
			sink := sinkFor(t, name, nil)
			packetizer := rtp.NewPacketizer(mtu, 96, 4711, payloader, rtp.NewFixedSequencer(65500), 90000)
			for i := range clip.Len() {
				data, _ := clip.Unit(i)
				m := Marker{Call: CallHash("call-1"), Participant: ParticipantHash("alice"), Sequence: uint32(i)}
				marked, _ := AppendMarked(nil, clip.Codec(), data, m)
				for _, p := range packetizer.Packetize(marked, 3000) {
					b, _ := p.Marshal()
					sink.Push(b, time.Unix(int64(i), 0))
				}
			}
			if got := sink.Stats(); got.Good != 120 || got.KeyFrames != 4 || got.Unmarked+got.Lost+got.RTP.Malformed != 0 {
				t.Fatalf("%s, MTU %d: %+v", name, mtu, got)
			}
		}
	}
}

func TestSinkWrongOrigin(t *testing.T) {
	var changes []FlowChange
	sink := sinkFor(t, ClipOpus, func(c FlowChange) { changes = append(changes, c) })
	mallory := Identity{Call: "call-1", Participant: "mallory", Track: 3}
	other := Identity{Call: "call-2", Participant: "alice"}
	pushAll(sink, record(t, ClipOpus, alice, time.Second))
	pushAll(sink, record(t, ClipOpus, mallory, time.Second))
	got := pushAll(sink, record(t, ClipOpus, other, time.Second))

	if got.Good != 50 || got.WrongOrigin != 100 {
		t.Errorf("good %d, wrong %d", got.Good, got.WrongOrigin)
	}
	want := []WrongOrigin{
		{CallHash("call-1"), ParticipantHash("mallory"), 3, 50},
		{CallHash("call-2"), ParticipantHash("alice"), 0, 50},
	}
	if !slices.Equal(got.Wrong, want) {
		t.Errorf("wrong origins %+v", got.Wrong)
	}
	var states []FlowState
	for _, c := range changes {
		states = append(states, c.State)
	}
	if !slices.Equal(states, []FlowState{FlowStarted, FlowWrongOrigin, FlowWrongOrigin}) {
		t.Errorf("changes %v", states)
	}
	if changes[0].From != "alice" || changes[1].From != "" || changes[1].Participant != ParticipantHash("mallory") {
		t.Errorf("names in %+v", changes)
	}
}

func TestSinkExpectations(t *testing.T) {
	sent := record(t, ClipOpus, alice, time.Second)
	for name, c := range map[string]struct {
		expect Expect
		good   uint64
	}{
		"anybody":         {Expect{}, 50},
		"call only":       {Expect{Call: "call-1"}, 50},
		"other call":      {Expect{Call: "call-2"}, 0},
		"one of several":  {Expect{Participants: []string{"bob", "alice"}}, 50},
		"only others":     {Expect{Participants: []string{"bob"}}, 0},
		"right, in wrong": {Expect{Call: "call-2", Participants: []string{"alice"}}, 0},
	} {
		sink := newTestSink(t, SinkConfig{Codec: Opus, Expect: Expect{Call: "x"}})
		sink.SetExpect(c.expect)
		if got := pushAll(sink, sent); got.Good != c.good || got.WrongOrigin != 50-c.good {
			t.Errorf("%s: good %d, wrong %d", name, got.Good, got.WrongOrigin)
		}
	}
}

func TestSinkUnmarkedAndCorrupt(t *testing.T) {
	for _, clip := range everyCodec {
		c := mustLoad(t, clip)
		sent := record(t, clip, alice, 2*time.Second)
		var changes []FlowChange
		sink := sinkFor(t, clip, func(c FlowChange) { changes = append(changes, c) })
		for _, p := range sent {
			b := bytes.Clone(p.packet)
			if i := bytes.Index(b, []byte{magic0, magic1, markerVersion}); i >= 0 {
				b[i+5] ^= 0xff
			}
			sink.Push(b, p.at)
		}
		units := uint64(60)
		if c.Codec() == Opus {
			units = 100
		}
		if got := sink.Stats(); got.Corrupt != units || got.Good != 0 || len(changes) != 0 {
			t.Errorf("%s: corrupt %d of %d, changes %v", clip, got.Corrupt, units, changes)
		}
		for _, p := range sent {
			b := renumber(t, p.packet, 9, sequence(p.packet))
			if i := bytes.Index(b, []byte{magic0, magic1, markerVersion}); i >= 0 {
				b[i] = 0
			}
			sink.Push(b, p.at)
		}
		if got := sink.Stats(); got.Unmarked != units || got.Good != 0 {
			t.Errorf("%s: unmarked %d of %d", clip, got.Unmarked, units)
		}
		if len(changes) != 1 || changes[0].State != FlowUnmarked {
			t.Errorf("%s: changes %v", clip, changes)
		}
	}
}

func sequence(packet []byte) uint16 { return uint16(packet[2])<<8 | uint16(packet[3]) }

// A client replaces its connection: the SSRC is new, the old connection still delivers
// a little, the source goes on. The sink sees one flow.
func TestSinkOutlivesConnections(t *testing.T) {
	for _, clip := range everyCodec {
		sent := record(t, clip, alice, 4*time.Second)
		sink := sinkFor(t, clip, nil)
		units := pushAll(sinkFor(t, clip, nil), sent).Good
		half := len(sent) / 2
		for i, p := range sent {
			ssrc, shift := uint32(1), uint16(0)
			if i > half && i%3 > 0 || i > half+30 {
				ssrc, shift = 2, 30000
			}
			sink.Push(renumber(t, p.packet, ssrc, sequence(p.packet)+shift), p.at)
		}
		got := sink.Stats()
		if got.RTP.Streams != 2 || got.Restarts != 0 || got.Duplicates != 0 {
			t.Errorf("%s: streams %d, restarts %d, duplicates %d", clip, got.RTP.Streams, got.Restarts, got.Duplicates)
		}
		if clip == ClipOpus && (got.Good != units || got.Lost != 0) {
			t.Errorf("%s: good %d of %d", clip, got.Good, units)
		}
	}
}

func TestSinkRTPJump(t *testing.T) {
	sent := record(t, ClipOpus, alice, 2*time.Second)
	sink := sinkFor(t, ClipOpus, nil)
	for i, p := range sent {
		seq := sequence(p.packet)
		switch {
		case i == 20: // lost before the jump: it stays counted
			continue
		case i >= 50:
			seq += 20000
		}
		sink.Push(renumber(t, p.packet, 1, seq), p.at)
	}
	if got := sink.Stats(); got.Good != 99 || got.RTP.Lost != 1 || got.RTP.Streams != 2 {
		t.Errorf("%+v", got)
	}
}

// Damaged frames of a connection that was replaced stay counted.
func TestSinkRemembersDamage(t *testing.T) {
	sent := record(t, ClipVP8Load, alice, 2*time.Second)
	sink := sinkFor(t, ClipVP8Load, nil)
	for i, p := range slices.Delete(sent, 1, 2) {
		seq := sequence(p.packet)
		if i >= 80 {
			seq += 20000
		}
		sink.Push(renumber(t, p.packet, 1, seq), p.at)
	}
	// The jump may cut another frame in two; that one is lost, not damaged.
	if got := sink.Stats(); got.Damaged != 1 || got.RTP.Streams != 2 || got.Good < 58 {
		t.Errorf("damaged %d, good %d, streams %d", got.Damaged, got.Good, got.RTP.Streams)
	}
}

// A source that starts over counts from 0 again, with later capture times.
func TestSinkSourceRestart(t *testing.T) {
	first := record(t, ClipOpus, alice, 3*time.Second)
	second := record(t, ClipOpus, alice, 3*time.Second)
	sink := sinkFor(t, ClipOpus, nil)
	pushAll(sink, slices.Delete(slices.Clone(first), 20, 22))
	for i, p := range second {
		b := bytes.Clone(p.packet)
		m, err := opusMarker(b[12:])
		if err != nil {
			t.Fatal(err)
		}
		m.Capture += int64(time.Minute)
		AppendMarker(b[:len(b)-MarkerSize], m)
		sink.Push(renumber(t, b, 2, sequence(b)), p.at.Add(time.Minute))
		if i == 5 { // a straggler of the first run
			sink.Push(renumber(t, first[149].packet, 3, 1), p.at.Add(time.Minute))
		}
	}
	got := sink.Stats()
	if got.Good != 148+150 || got.Lost != 2 || got.Restarts != 1 || got.Late+got.Duplicates != 1 {
		t.Errorf("%+v", got)
	}
	// Whether the sender paused or much was lost in between, nobody can tell: it counts
	// as a freeze.
	if got.Pauses != 0 || got.Freezes != 1 {
		t.Errorf("pauses %d, freezes %d", got.Pauses, got.Freezes)
	}
}

func TestSinkIgnoresProbes(t *testing.T) {
	sink := sinkFor(t, ClipVP8, nil)
	sink.Push([]byte{0xA0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4}, time.Now()) // 4 bytes of padding
	if got := sink.Stats(); got.RTP.Packets != 1 || got.RTP.Malformed+got.Unmarked+got.Damaged != 0 {
		t.Errorf("%+v", got)
	}
	sink.Push([]byte{0x80}, time.Now())
	sink.Push([]byte{0x80, 96, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0x80}, time.Now()) // descriptor cut off
	if got := sink.Stats(); got.RTP.Malformed != 2 {
		t.Errorf("malformed %d", got.RTP.Malformed)
	}
}

func TestSinkNeedsCodec(t *testing.T) {
	if _, err := NewSink(SinkConfig{}); err == nil {
		t.Error("a sink without codec")
	}
	p := NewPacer(PacerConfig{})
	p.Close()
	if _, err := NewSink(SinkConfig{Codec: VP8, Pacer: p}); !errors.Is(err, ErrPacerClosed) {
		t.Errorf("a sink on a closed pacer: %v", err)
	}
}

func TestStatsWindows(t *testing.T) {
	sent := record(t, ClipOpus, alice, 2*time.Second)
	sink := sinkFor(t, ClipOpus, nil)
	for _, p := range sent[:50] {
		sink.Push(p.packet, p.at.Add(10*time.Millisecond))
	}
	before := sink.Stats()
	for _, p := range sent[60:] {
		sink.Push(p.packet, p.at.Add(40*time.Millisecond))
	}
	d := sink.Stats().Sub(before)
	if d.Good != 40 || d.Lost != 10 || d.RTP.Packets != 40 || d.RTP.Lost != 10 || d.Delay.Count != 40 {
		t.Errorf("%+v", d)
	}
	if m := d.Delay.Mean(); m != 40*time.Millisecond {
		t.Errorf("mean delay of the window %v", m)
	}
	if d.Delay.Min < 37*time.Millisecond || d.Delay.Max != 40*time.Millisecond {
		t.Errorf("delay of the window %v to %v", d.Delay.Min, d.Delay.Max)
	}
	if all := sink.Stats().Delay; all.Min != 10*time.Millisecond || all.Max != 40*time.Millisecond {
		t.Errorf("delay %v to %v", all.Min, all.Max)
	}
}

// pushEndlessly returns a function that pushes the next packet of an endless stream:
// the recording again and again, with sequence numbers and capture times going on.
func pushEndlessly(t testing.TB, clip string) (push func(), packets int) {
	t.Helper()
	c := mustLoad(t, clip)
	var sent []arrived
	p := NewPacer(PacerConfig{})
	p.Close()
	now := time.Unix(1e9, 0)
	s := newTestSource(t, p, clip, wire(func(packet []byte) { sent = append(sent, arrived{packet, now}) }))
	s.run, s.start = &sourceRun{s}, now
	for range 10 * c.Len() {
		now, _ = s.run.tick(now)
	}
	sink := sinkFor(t, clip, nil)
	i := 0
	return func() {
		if i == len(sent) { // as if the client had got a new connection, to a new source
			i, sink = 0, sinkFor(t, clip, nil)
		}
		sink.Push(sent[i].packet, sent[i].at)
		i++
	}, len(sent)
}

func BenchmarkSink(b *testing.B) {
	for _, name := range []string{ClipVP8, ClipVP8Load, ClipH264, ClipOpus} {
		b.Run(name, func(b *testing.B) {
			push, _ := pushEndlessly(b, name)
			b.ReportAllocs()
			for b.Loop() {
				push()
			}
		})
	}
}

func TestSinkDoesNotAllocate(t *testing.T) {
	for _, name := range everyCodec {
		push, packets := pushEndlessly(t, name)
		for range 20 {
			push()
		}
		if n := testing.AllocsPerRun(packets-50, push); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Strangers cannot make a sink grow.
func TestSinkLimits(t *testing.T) {
	packet := func(ssrc uint32, m Marker) []byte {
		payload, err := AppendMarked(nil, Opus, []byte{0xf0, 1, 2, 3}, m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SSRC: ssrc}, Payload: payload}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	changes := 0
	sink := newTestSink(t, SinkConfig{Codec: Opus, Expect: Expect{Call: "call-1"}, OnFlow: func(FlowChange) { changes++ }})
	for i := range uint32(200) {
		at := time.Unix(int64(i), 0)
		sink.Push(packet(2*i, Marker{Call: CallHash("call-1"), Participant: i}), at)
		sink.Push(packet(2*i+1, Marker{Call: CallHash("call-2"), Participant: i}), at)
	}
	got := sink.Stats()
	if len(got.Origins) != maxOrigins || got.Good != maxOrigins || got.Unfollowed != 200-maxOrigins {
		t.Errorf("%d origins, good %d, unfollowed %d", len(got.Origins), got.Good, got.Unfollowed)
	}
	if len(got.Wrong) != maxWrong || got.WrongOrigin != 200 || changes != maxOrigins+maxWrong {
		t.Errorf("%d wrong origins, %d units, %d changes", len(got.Wrong), got.WrongOrigin, changes)
	}
	if len(sink.streams) != maxStreams || got.RTP.Streams != 400 {
		t.Errorf("%d streams followed of %d", len(sink.streams), got.RTP.Streams)
	}
}
