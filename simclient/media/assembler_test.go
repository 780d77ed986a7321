package media

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// Pion's depacketizers make of what a source writes exactly the marked units.
func TestPacketsReassemble(t *testing.T) {
	for _, name := range everyCodec {
		w := &logWriter{}
		clip := mustLoad(t, name)
		runSource(t, name, w, func(*Source) { sleep(clip.Duration() - time.Millisecond) })
		packets, times := w.written()
		unit := 0
		var got []byte
		depacketizer := newDepacketizer(clip.Codec())
		for i, p := range packets {
			payload, err := depacketizer.Unmarshal(p.Payload)
			check(t, err)
			got = append(got, payload...)
			if name != ClipOpus && !p.Marker {
				continue
			}
			data, _ := clip.Unit(unit)
			m := Marker{
				Call: CallHash(alice.Call), Participant: ParticipantHash(alice.Participant), Track: alice.Track,
				Sequence: uint32(unit), Capture: times[i].UnixNano(),
			}
			want, err := AppendMarked(nil, clip.Codec(), data, m)
			check(t, err)
			if !bytes.Equal(got, want) {
				t.Fatalf("%s unit %d: %d bytes came back, %d were sent", name, unit, len(got), len(want))
			}
			unit, got = unit+1, nil
		}
		if unit != clip.Len() {
			t.Errorf("%s: %d units of %d", name, unit, clip.Len())
		}
	}
}

func newDepacketizer(codec Codec) rtp.Depacketizer {
	switch codec {
	case VP8:
		return &codecs.VP8Packet{}
	case H264:
		return &codecs.H264Packet{}
	default:
		return &codecs.OpusPacket{}
	}
}

// A packet of a frame that was given up is late, and harms no other frame.
func TestAssemblerForgetsGivenUpFrames(t *testing.T) {
	for _, clip := range []string{ClipVP8Load, ClipH264} {
		sent := record(t, clip, alice, 2*time.Second)
		p := sent[2]
		moved := slices.Insert(slices.Delete(slices.Clone(sent), 2, 3), 80, p)
		got := pushAll(sinkFor(t, clip, nil), moved)
		if got.Good != 59 || got.Damaged != 1 || got.RTP.Lost != 0 || got.RTP.Reordered != 1 {
			t.Errorf("%s: good %d, damaged %d, %+v", clip, got.Good, got.Damaged, got.RTP)
		}
	}
}

// H264 of somebody else has no SEI that says where a frame begins; the packet before
// does.
func TestAssemblerUnmarkedH264(t *testing.T) {
	clip := mustLoad(t, ClipH264)
	sink := sinkFor(t, ClipH264, nil)
	packetizer := rtp.NewPacketizer(1200, 96, 1, &codecs.H264Payloader{}, rtp.NewFixedSequencer(1), 90000)
	for i := range clip.Len() {
		data, _ := clip.Unit(i)
		for _, p := range packetizer.Packetize(data, 3000) {
			b, err := p.Marshal()
			check(t, err)
			sink.Push(b, time.Unix(int64(i), 0))
		}
	}
	if got := sink.Stats(); got.Unmarked != 120 || got.Damaged != 0 {
		t.Errorf("unmarked %d, damaged %d", got.Unmarked, got.Damaged)
	}
}

// GStreamer begins a packet at each partition of a VP8 frame, with S set and the
// partition's number.
func TestAssemblerVP8Partitions(t *testing.T) {
	sent := record(t, ClipVP8Load, alice, 2*time.Second)
	fragments := byte(0)
	for _, p := range sent {
		if p.packet[12]&vp8StartFlag != 0 {
			fragments = 0
		} else {
			fragments = fragments%7 + 1
			p.packet[12] |= vp8StartFlag | fragments
		}
	}
	if got := pushAll(sinkFor(t, ClipVP8Load, nil), sent); got.Good != 60 || got.KeyFrames != 2 || got.Damaged+got.Unmarked != 0 {
		t.Errorf("%+v", got)
	}
	// The start of a partition is no start of a frame.
	if got := pushAll(sinkFor(t, ClipVP8Load, nil), sent[1:]); got.Good != 59 || got.KeyFrames != 1 || got.Damaged != 1 {
		t.Errorf("without the first packet: %+v", got)
	}
}

// Descriptors with every combination of extensions, and cut off anywhere.
func TestVP8Descriptor(t *testing.T) {
	data := []byte{0x9d, 1, 2}
	for name, header := range map[string][]byte{
		"plain":             {0x10},
		"PictureID 7 bits":  {0x90, 0x80, 0x11},
		"PictureID 15 bits": {0x90, 0x80, 0x91, 0x22},
		"TL0PICIDX":         {0x90, 0x40, 0x33},
		"TID":               {0x90, 0x20, 0x44},
		"KEYIDX":            {0x90, 0x10, 0x55},
		"all":               {0x90, 0xF0, 0x91, 0x22, 0x33, 0x44},
		"none":              {0x90, 0x00},
	} {
		p, ok := parseVP8Payload(append(slices.Clone(header), data...))
		if !ok || !bytes.Equal(p.data, data) || !p.frameStart {
			t.Errorf("%s: %+v, %v", name, p, ok)
		}
		for n := range len(header) + 1 {
			if _, ok := parseVP8Payload(header[:n]); ok {
				t.Errorf("%s: accepted without data, %d bytes", name, n)
			}
		}
	}
}

func TestH264MalformedPayloads(t *testing.T) {
	for name, payload := range map[string][]byte{
		"empty": {}, "short": {0x65}, "STAP-A cut": {nalSTAPA, 0, 9, 1}, "STAP-A of nothing": {nalSTAPA, 0, 0},
		"STAP-A half a size": {nalSTAPA, 0}, "MTAP": {26, 0, 0}, "type 0": {0, 0}, "type 31": {31, 0},
	} {
		if _, ok := parseH264Payload(payload); ok {
			t.Errorf("%s: accepted", name)
		}
	}
}
