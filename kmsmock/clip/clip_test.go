package clip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"
)

// memFile is a File in memory.
type memFile struct {
	b    []byte
	fail error
}

func (f *memFile) Write(b []byte) (int, error) {
	if f.fail != nil {
		return 0, f.fail
	}
	f.b = append(f.b, b...)
	return len(b), nil
}

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	if f.fail != nil {
		return 0, f.fail
	}
	return copy(f.b[at:], b), nil
}

func (f *memFile) Close() error { return nil }

func vp8(key bool) []byte {
	if key {
		return []byte{0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0, 1, 2, 3}
	}
	return []byte{0x11, 2, 0, 9, 9}
}

// avc is a key frame with its parameter sets: 160 by 120, baseline.
var avc = []byte("\x00\x00\x00\x01\x67\x42\xc0\x0a\xd9\x0a\x10\x08\x00\x00\x00\x01\x68\xcb\x83\xcb\x20\x00\x00\x00\x01\x65\x88\x84\x0a")

func write(t testing.TB, docType string, tracks []Track, frames []Frame) []byte {
	t.Helper()
	keys := make([][]byte, len(tracks))
	for _, f := range frames {
		if keys[f.Track] == nil {
			keys[f.Track] = f.Data
		}
	}
	f := &memFile{}
	w, err := NewWriter(f, docType, tracks, keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		if err := w.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f.b
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	for _, c := range []struct {
		docType string
		tracks  []Track
		data    [][]byte
	}{
		{WebM, []Track{{Codec: VP8, Width: 320, Height: 240}, {Codec: Opus, Channels: 2}}, [][]byte{vp8(true), {0xfc, 1}}},
		{Matroska, []Track{{Codec: H264, Width: 160, Height: 120}, {Codec: PCMU, Channels: 1}}, [][]byte{avc, {1, 2, 3}}},
		{Matroska, []Track{{Codec: PCMA, Channels: 1}}, [][]byte{{1, 2, 3}}},
	} {
		var frames []Frame
		for i := range 100 {
			for track := range c.tracks {
				frames = append(frames, Frame{Track: track, At: time.Duration(i) * 100 * time.Millisecond, Key: true, Data: c.data[track]})
			}
		}
		got, err := Read(write(t, c.docType, c.tracks, frames))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Tracks, c.tracks) {
			t.Errorf("tracks %+v, want %+v", got.Tracks, c.tracks)
		}
		if got.Length != 9900*time.Millisecond || len(got.Frames) != len(frames) {
			t.Fatalf("%v and %d frames, want 9.9 s and %d", got.Length, len(got.Frames), len(frames))
		}
		for i, f := range got.Frames {
			want := frames[i]
			if f.At != want.At || f.Key != want.Key || f.Track != want.Track {
				t.Fatalf("frame %d is %+v, want %+v", i, f, want)
			}
			if !bytes.HasSuffix(f.Data, want.Data) { // H264 has its parameter sets once more in front
				t.Fatalf("frame %d has %x, want %x", i, f.Data, want.Data)
			}
		}
	}
}

// A file that cannot be written ends in an error and not in waiting for ever.
func TestWriterFails(t *testing.T) {
	full := errors.New("full")
	f := &memFile{}
	w, err := NewWriter(f, WebM, []Track{{Codec: VP8}}, [][]byte{vp8(true)})
	if err != nil {
		t.Fatal(err)
	}
	f.fail = full
	for range 100 {
		err = errors.Join(err, w.Write(Frame{Key: true, Data: vp8(true)}))
	}
	if closed := w.Close(); !errors.Is(closed, full) {
		t.Errorf("close: %v", closed)
	}
	if !errors.Is(err, full) {
		t.Errorf("write: %v", err)
	}
}

func ivf(frames int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(le.AppendUint16([]byte("DKIF"), 0), 32)
	b = append(b, "VP80"...)
	b = le.AppendUint16(le.AppendUint16(b, 320), 240)
	b = le.AppendUint32(le.AppendUint32(b, 30), 1)
	b = le.AppendUint64(b, uint64(frames))
	for i := range frames {
		data := vp8(i%10 == 0)
		b = append(le.AppendUint64(le.AppendUint32(b, uint32(len(data))), uint64(i)), data...)
	}
	return b
}

// oggOpus has 20 ms packets, perPage to a page, of which the last goes on in
// the next page.
func oggOpus(pages int) []byte {
	page := func(kind byte, lacing []byte, data []byte) []byte {
		b := append([]byte("OggS\x00"), kind)
		b = append(b, make([]byte, 20)...)
		return append(append(append(b, byte(len(lacing))), lacing...), data...)
	}
	head := append([]byte("OpusHead"), 1, 2, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
	b := page(2, []byte{byte(len(head))}, head)
	b = append(b, page(0, []byte{8}, []byte("OpusTags"))...)
	packet := append([]byte{0xfc}, make([]byte, 299)...)
	for range pages {
		b = append(b, page(0, []byte{255, 45, 255}, append(slices.Clone(packet), packet[:255]...))...)
		b = append(b, page(1, []byte{45}, packet[:45])...)
	}
	return b
}

func TestReadIVFAndOgg(t *testing.T) {
	c, err := Read(ivf(60))
	if err != nil || len(c.Frames) != 60 || c.Tracks[0] != (Track{Codec: VP8, Width: 320, Height: 240}) || !c.Untold {
		t.Fatalf("IVF: %+v %v", c, err)
	}
	if c.Length.Round(time.Millisecond) != 2*time.Second || !c.Frames[10].Key || c.Frames[11].Key {
		t.Errorf("IVF of %v, keys %v %v", c.Length, c.Frames[10].Key, c.Frames[11].Key)
	}
	c, err = Read(oggOpus(10))
	if err != nil || len(c.Frames) != 20 || len(c.Frames[1].Data) != 300 || c.Length != 400*time.Millisecond {
		t.Fatalf("Ogg: %d frames, %v, %v", len(c.Frames), c.Length, err)
	}
}

func TestReadBroken(t *testing.T) {
	whole := write(t, WebM, []Track{{Codec: VP8}}, []Frame{{Key: true, Data: vp8(true)}, {At: time.Second, Data: vp8(false)}, {At: 2 * time.Second, Data: vp8(false)}})
	if c, err := Read(whole[:len(whole)-40]); err != nil || len(c.Frames) == 0 || len(c.Frames) == 3 {
		t.Errorf("a file that breaks off: %+v %v", c, err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "short": whole[:20], "no frames": ivf(0), "IVF": ivf(3)[:20], "Ogg": oggOpus(1)[:30],
		"codec": bytes.Replace(ivf(3), []byte("VP80"), []byte("XYZ0"), 1),
	} {
		if _, err := Read(b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(ivf(5))
	f.Add(oggOpus(2))
	f.Add(write(f, WebM, []Track{{Codec: VP8}, {Codec: Opus, Channels: 2}}, []Frame{{Key: true, Data: vp8(true)}, {Track: 1, Key: true, Data: []byte{0xfc}}}))
	f.Add(write(f, Matroska, []Track{{Codec: H264}}, []Frame{{Key: true, Data: avc}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Read(b)
		if err != nil {
			return
		}
		at := time.Duration(0)
		for _, frame := range c.Frames {
			if frame.At < at || frame.Track < 0 || frame.Track >= len(c.Tracks) || len(frame.Data) == 0 {
				t.Fatalf("frame %+v of %d tracks after %v", frame, len(c.Tracks), at)
			}
			at = frame.At
			Size(c.Tracks[frame.Track].Codec, frame.Data)
		}
		if c.Length < at {
			t.Fatalf("length %v, last frame at %v", c.Length, at)
		}
	})
}

// TestReadGStreamer reads what Kurento records: GStreamer's muxer ends text with a
// zero, and writes sizes in 8 bytes.
func TestReadGStreamer(t *testing.T) {
	element := func(id uint32, bodies ...[]byte) []byte {
		body := bytes.Join(bodies, nil)
		b := bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, id), "\x00")
		return append(binary.BigEndian.AppendUint64(b, 1<<56|uint64(len(body))), body...)
	}
	track := func(number byte, codec string, more ...[]byte) []byte {
		return element(0xae, append(more, element(0xd7, []byte{number}), element(0x86, []byte(codec+"\x00")))...)
	}
	key := []byte{0x10, 0, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0} // 320x240
	file := append(element(0x1a45dfa3, element(0x4282, []byte("webm\x00"))), element(0x18538067,
		element(0x1549a966, element(0x4489, []byte{0x40, 0xaf, 0x40, 0, 0, 0, 0, 0})), // 4000.0
		element(0x1654ae6b, track(1, "V_VP8", element(0xe0, element(0xb0, []byte{1, 0x40}), element(0xba, []byte{0xf0}))),
			track(2, "A_OPUS", element(0xe1, element(0x9f, []byte{2})))),
		element(0x1f43b675, element(0xe7, []byte{0}), element(0xa3, append([]byte{0x81, 0, 0, 0x80}, key...)), element(0xa3, []byte{0x82, 0, 20, 0x80, 1})))...)
	c, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tracks) != 2 || c.Tracks[0].Codec != VP8 || c.Tracks[0].Width != 320 || c.Tracks[1].Codec != Opus || c.Tracks[1].Channels != 2 {
		t.Errorf("tracks %+v", c.Tracks)
	}
	if c.Length != 4*time.Second || len(c.Frames) != 2 || !c.Frames[0].Key || c.Frames[1].At != 20*time.Millisecond {
		t.Errorf("length %v, frames %+v", c.Length, c.Frames)
	}
}
