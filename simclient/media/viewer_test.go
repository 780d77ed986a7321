package media

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// push hands packets to a viewer as they come off the wire, 20 ms apart.
func push(t *testing.T, v *Viewer, start time.Time, packets []rtp.Packet) {
	t.Helper()
	for i, p := range packets {
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		v.Push(b, start.Add(time.Duration(i)*20*time.Millisecond))
	}
}

// barcodePackets are seconds of a source's barcodes, with frames of several packets.
func barcodePackets(t *testing.T, id Identity, seconds int) []rtp.Packet {
	t.Helper()
	w := &logWriter{}
	p := packetizer{out: w}
	p.header.Version = 2
	clip := NewBarcodeClip(800_000).of(id)
	for i := range 30 * seconds {
		p.send(VP8, &clip.units[i], testMarker, clip.rtpTicks(int64(i)))
	}
	packets, _ := w.written()
	return packets
}

func TestViewerSeesWhoSends(t *testing.T) {
	var looks []Look
	v := NewViewer(ViewerConfig{OnLook: func(l Look) { l.Found = slices.Clone(l.Found); looks = append(looks, l) }})
	start := time.Unix(1000, 0)
	if _, ok := v.Saw(testIdentity); ok || !v.Due(start) {
		t.Error("saw somebody before anything came, or does not want to")
	}
	push(t, v, start, barcodePackets(t, testIdentity, 3))
	seen, ok := v.Saw(testIdentity)
	if !ok || seen.Times != 3 || seen.Barcode.Count != 2 || !seen.Moved.Equal(seen.Last.At) || !seen.Last.At.After(seen.First.At) {
		t.Errorf("saw %+v", seen)
	}
	if st := v.Stats(); st.KeyFrames != 3 || st.Read != 3 || st.Broken+st.Blank+st.Unreadable != 0 {
		t.Errorf("%+v", st)
	}
	if len(looks) != 3 || looks[0].Width != BarcodeWidth || len(looks[2].Found) != 1 || looks[2].Found[0].Count != 2 {
		t.Errorf("looks %+v", looks)
	}
	other := testIdentity
	other.Track++
	if _, ok := v.Saw(other); ok || len(v.Seen()) != 1 {
		t.Error("another track was seen")
	}
}

// What stands still is told from what moves.
func TestViewerTellsStandstill(t *testing.T) {
	v := NewViewer(ViewerConfig{})
	start := time.Unix(1000, 0)
	packets := barcodePackets(t, testIdentity, 1)
	push(t, v, start, packets)
	push(t, v, start.Add(time.Minute), packets)
	seen, _ := v.Saw(testIdentity)
	if seen.Times != 2 || !seen.Moved.Equal(seen.First.At) || seen.Last.At.Sub(seen.Moved) != time.Minute {
		t.Errorf("%+v", seen)
	}
}

func TestViewerRests(t *testing.T) {
	v := NewViewer(ViewerConfig{Every: time.Minute})
	start := time.Unix(1000, 0)
	packets := barcodePackets(t, testIdentity, 2)
	push(t, v, start, packets)
	if st := v.Stats(); st.KeyFrames != 1 || v.Due(start.Add(time.Minute-time.Second)) || !v.Due(start.Add(2*time.Minute)) {
		t.Errorf("%+v", st)
	}
	push(t, v, start.Add(2*time.Minute), packets)
	if st := v.Stats(); st.KeyFrames != 2 {
		t.Errorf("%+v", st)
	}
}

// A key frame with a hole is passed over, and the next one is read.
func TestViewerPassesOverHoles(t *testing.T) {
	whole := barcodePackets(t, testIdentity, 2)
	perFrame := slices.IndexFunc(whole, func(p rtp.Packet) bool { return p.Marker }) + 1
	if perFrame < 3 {
		t.Fatalf("%d packets a frame", perFrame)
	}
	for lost := range perFrame {
		v := NewViewer(ViewerConfig{})
		push(t, v, time.Unix(1000, 0), slices.Delete(slices.Clone(whole), lost, lost+1))
		broken := uint64(1)
		if lost == 0 { // what has no beginning is not seen to be a key frame
			broken = 0
		}
		if st := v.Stats(); st.KeyFrames != 1 || st.Broken != broken {
			t.Errorf("packet %d lost: %+v", lost, st)
		}
	}
}

func TestViewerCountsWhatItCannotRead(t *testing.T) {
	v := NewViewer(ViewerConfig{})
	start := time.Unix(1000, 0)
	w := &logWriter{}
	p := packetizer{out: w}
	p.header.Version = 2
	clip := mustLoad(t, ClipVP8)
	p.send(VP8, &clip.units[0], testMarker, 0)
	p.send(VP8, &unit{data: []byte{0x10, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, testMarker, 3000)
	packets, _ := w.written()
	push(t, v, start, packets)
	v.Push(nil, start)
	v.Push([]byte{0x80, 0, 0}, start)
	if st := v.Stats(); st.KeyFrames != 1 || st.Blank != 1 || st.Broken != 1 || st.Read != 0 {
		t.Errorf("%+v", st)
	}
}

// The same clip names whoever sends it, and follows when that changes.
func TestSourceShowsWhoItIs(t *testing.T) {
	w := &logWriter{}
	bob := Identity{Call: "call-1", Participant: "bob", Track: 1}
	runSource(t, ClipBarcode, w, func(s *Source) {
		s.SetIdentity(bob)
		sleep(100 * time.Millisecond)
		if s.Clip().Name() != ClipBarcode {
			t.Errorf("sends %s", s.Clip().Name())
		}
	})
	v := NewViewer(ViewerConfig{})
	packets, _ := w.written()
	push(t, v, time.Unix(1000, 0), packets)
	if seen := v.Seen(); len(seen) != 2 || !seen[1].Barcode.Names(bob) || seen[0].Barcode.Names(bob) {
		t.Errorf("saw %+v", seen)
	}
}

func BenchmarkViewer(b *testing.B) {
	clip := NewBarcodeClip(0).of(testIdentity)
	w := &logWriter{}
	p := packetizer{out: w}
	p.header.Version = 2
	p.send(VP8, &clip.units[0], testMarker, 0)
	packet, err := w.packets[0].Marshal()
	if err != nil {
		b.Fatal(err)
	}
	v := NewViewer(ViewerConfig{})
	b.ReportAllocs()
	for b.Loop() {
		v.Push(packet, time.Time{}.Add(time.Second))
	}
	if v.Stats().Read != uint64(b.N) {
		b.Errorf("%+v", v.Stats())
	}
}
