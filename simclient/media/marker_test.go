package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"
)

var testMarker = Marker{
	Call: CallHash("call-1"), Participant: ParticipantHash("alice"), Track: 2,
	Sequence: 0x00000102, Capture: 946684800_000000003,
}

func TestMarkerRoundTrip(t *testing.T) {
	b := AppendMarker([]byte("prefix"), testMarker)
	if len(b) != len("prefix")+MarkerSize {
		t.Fatalf("encoded size %d", len(b))
	}
	got, err := DecodeMarker(b[len("prefix"):])
	if err != nil || got != testMarker {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := time.Unix(946684800, 3); !got.CaptureTime().Equal(want) {
		t.Errorf("capture time %v, want %v", got.CaptureTime(), want)
	}
}

// The layout is a contract with markers of other releases and languages.
func TestMarkerLayout(t *testing.T) {
	m := Marker{Call: 0x0102030405060708, Participant: 0x090a0b0c, Track: 0x0d, Sequence: 0x0e0f1011, Capture: 0x1213141516171819}
	want := []byte{
		0xf2, 0xcb, 1, 0x0d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b, 0x0c,
		0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
	}
	want = binary.BigEndian.AppendUint32(want, crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)))
	if got := AppendMarker(nil, m); !bytes.Equal(got, want) {
		t.Errorf("layout\n got %x\nwant %x", got, want)
	}
}

func TestMarkerDamage(t *testing.T) {
	whole := AppendMarker(nil, testMarker)
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		want := ErrMarkerDamaged
		switch i {
		case 0, 1:
			want = ErrNoMarker
		case 2:
			want = ErrMarkerVersion
		}
		if _, err := DecodeMarker(b); !errors.Is(err, want) {
			t.Errorf("byte %d changed: %v, want %v", i, err, want)
		}
	}
	if _, err := DecodeMarker(whole[:MarkerSize-1]); !errors.Is(err, ErrNoMarker) {
		t.Errorf("cut marker: %v", err)
	}
}

func TestHashesTellNamesApart(t *testing.T) {
	// FNV-1a test vectors.
	if CallHash("foobar") != 0x85944171f73967e8 || ParticipantHash("foobar") != 0xbf9cf968 {
		t.Error("not FNV-1a")
	}
}

// Every unit of every clip can be marked, unmarked it has no marker, and marked it
// gives back what was written.
func TestMarkEveryUnit(t *testing.T) {
	var buf []byte
	for _, name := range []string{ClipVP8, ClipVP8Load, ClipH264, ClipOpus, ClipOpusStereo} {
		clip := mustLoad(t, name)
		for i := range clip.Len() {
			data, _ := clip.Unit(i)
			if _, err := FindMarker(clip.Codec(), data); !errors.Is(err, ErrNoMarker) {
				t.Fatalf("%s unit %d, unmarked: %v", name, i, err)
			}
			m := testMarker
			m.Sequence = uint32(i)
			var err error
			if buf, err = AppendMarked(buf[:0], clip.Codec(), data, m); err != nil {
				t.Fatalf("%s unit %d: %v", name, i, err)
			}
			if got, err := FindMarker(clip.Codec(), buf); err != nil || got != m {
				t.Fatalf("%s unit %d: %+v, %v", name, i, got, err)
			}
		}
	}
}

func TestMarkingDoesNotAllocate(t *testing.T) {
	for _, name := range []string{ClipVP8, ClipH264, ClipOpus} {
		clip := mustLoad(t, name)
		data, _ := clip.Unit(0)
		buf := make([]byte, 0, len(data)+256)
		if n := testing.AllocsPerRun(100, func() {
			buf, _ = AppendMarked(buf[:0], clip.Codec(), data, testMarker)
			if _, err := FindMarker(clip.Codec(), buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Emulation prevention has to hold for any marker: no start code inside the SEI, and
// the marker comes back.
func TestSEIOfZeros(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := Marker{Capture: rng.Int64() & rng.Int64() & rng.Int64() & rng.Int64() & rng.Int64() & rng.Int64()}
		if rng.IntN(2) == 0 {
			m.Participant, m.Sequence = rng.Uint32N(4), rng.Uint32N(4)
		}
		sei := appendMarkerSEI(nil, m)
		for _, bad := range [][]byte{{0, 0, 0}, {0, 0, 1}, {0, 0, 2}} {
			if bytes.Contains(sei, bad) {
				t.Fatalf("%x holds %x", sei, bad)
			}
		}
		if got, err := seiMarker(sei); err != nil || got != m {
			t.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
	}
}

// A SEI of somebody else's, before ours in one NAL unit, is stepped over.
func TestSEIBehindAnother(t *testing.T) {
	ours := appendMarkerSEI(nil, testMarker)
	other := append([]byte{nalSEI, seiUserData, 255, 45}, bytes.Repeat([]byte{7}, 300)...)
	if got, err := seiMarker(append(other, ours[1:]...)); err != nil || got != testMarker {
		t.Errorf("got %+v, %v", got, err)
	}
}

func BenchmarkMarkerWrite(b *testing.B) {
	for _, name := range []string{ClipVP8, ClipH264, ClipOpus} {
		b.Run(name, func(b *testing.B) {
			clip := mustLoad(b, name)
			data, _ := clip.Unit(1)
			buf := make([]byte, 0, 2*len(data)+256)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = AppendMarked(buf[:0], clip.Codec(), data, testMarker)
			}
		})
	}
}

func BenchmarkMarkerCheck(b *testing.B) {
	for _, name := range []string{ClipVP8, ClipH264, ClipOpus} {
		b.Run(name, func(b *testing.B) {
			clip := mustLoad(b, name)
			data, _ := clip.Unit(1)
			buf, _ := AppendMarked(nil, clip.Codec(), data, testMarker)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := FindMarker(clip.Codec(), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
