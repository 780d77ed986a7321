package media

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// Whatever comes in, decoding neither panics nor accepts a marker that would not be
// written the same way.
func FuzzDecodeMarker(f *testing.F) {
	f.Add(AppendMarker(nil, testMarker))
	f.Add(make([]byte, MarkerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMarker(b)
		if err == nil && !bytes.Equal(AppendMarker(nil, m), b[:MarkerSize]) {
			t.Errorf("%x is not how %+v is written", b[:MarkerSize], m)
		}
	})
}

// Any packet that can be marked gives its marker back and keeps its frame; and no
// packet is read as another one than that which marking wrote.
func FuzzOpusPacket(f *testing.F) {
	f.Add([]byte{0xf0, 1, 2, 3})
	f.Add(append([]byte{0xb4}, make([]byte, 300)...))
	f.Add([]byte{0x7b, 0xC2, 255, 1, 9, 1, 2, 3})
	f.Add([]byte{0xf2, 252})
	marked, _ := AppendMarked(nil, Opus, []byte{0xf0, 1, 2, 3}, testMarker)
	f.Add(marked)
	f.Fuzz(func(t *testing.T, packet []byte) {
		if m, err := opusMarker(packet); err == nil {
			plain := append([]byte{packet[0] &^ opusCodeMask}, opusFrames(t, packet)[0]...)
			if again, err := AppendMarked(nil, Opus, plain, m); err == nil && !bytes.Equal(again, packet) {
				t.Errorf("%x is not how %+v is written: %x", packet, m, again)
			}
		}
		marked, err := AppendMarked(nil, Opus, packet, testMarker)
		if err != nil {
			return
		}
		if m, err := opusMarker(marked); err != nil || m != testMarker {
			t.Fatalf("%x: %+v, %v", marked, m, err)
		}
		if frames := opusFrames(t, marked); !bytes.Equal(frames[0], packet[1:]) || len(frames[1]) != opusMarkerFrame {
			t.Errorf("%x became frames %x", packet, frames)
		}
	})
}

func FuzzH264AccessUnit(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, nalSPS, 1, 0, 0, 1, nalPPS, 2, 0, 0, 1, nalIDR, 3})
	f.Add(AppendMarker([]byte{0, 0, 1, nalSEI, seiUserData, 48}, testMarker))
	f.Fuzz(func(t *testing.T, unit []byte) {
		_, before := h264Marker(unit)
		marked, err := AppendMarked(nil, H264, unit, testMarker)
		if err != nil {
			t.Fatal(err)
		}
		hasSlice := false
		for nal, rest := nextNAL(unit); nal != nil; nal, rest = nextNAL(rest) {
			hasSlice = hasSlice || isVCL(nalType(nal))
		}
		m, err := h264Marker(marked)
		if before == ErrNoMarker && hasSlice && (err != nil || m != testMarker) {
			t.Errorf("%x: %+v, %v", marked, m, err)
		}
	})
}

// A sink takes any bytes as RTP, and its figures stay plausible.
func FuzzSink(f *testing.F) {
	for codec := VP8; codec <= Opus; codec++ {
		f.Add(uint8(codec), []byte{0x90, 0x80, 0xC0, 1, 2, 0xff}, []byte{0x10, 1, 2, 3})
		f.Add(uint8(codec), []byte{0x78, 0, 2, 0x67, 1, 0, 1, 0x65}, AppendMarker(nil, testMarker))
		f.Add(uint8(codec), []byte{0x7c, 0x85, 1, 2}, []byte{0x7c, 0x45, 3, 4})
		f.Add(uint8(codec), []byte{0xf2, 2, 1, 2, 0xff}, AppendMarker([]byte{0xf2, 2, 1, 2, 0xff, 0xfe}, testMarker))
	}
	f.Fuzz(func(t *testing.T, codec uint8, a, b []byte) {
		sink, err := NewSink(SinkConfig{Codec: Codec(codec%3 + 1)})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(0, 0)
		sink.Push(a, at)
		for i, payload := range [][]byte{a, b, a, append(bytes.Clone(a), b...), b} {
			header := rtp.Header{Version: 2, SequenceNumber: uint16(len(a) * i * 37), Timestamp: uint32(i / 2), Marker: i%2 == 1}
			packet, err := (&rtp.Packet{Header: header, Payload: payload}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			sink.Push(packet, at.Add(time.Duration(i)*time.Second))
		}
		st := sink.Stats()
		if st.RTP.Lost > 1<<17 || st.Good+st.Unmarked+st.Corrupt+st.Damaged > 6 {
			t.Errorf("%+v", st)
		}
	})
}

func FuzzRTCP(f *testing.F) {
	f.Add([]byte{0x81, 206, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { wantsKeyFrame(b) })
}
