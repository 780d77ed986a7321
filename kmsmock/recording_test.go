package kmsmock

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/callbench/callbench/kmsmock/clip"
)

// countingSource is a source of video that counts how often a key frame is
// wanted of it.
type countingSource struct{ wanted int }

func (s *countingSource) requestKeyFrame() { s.wanted++ }
func (s *countingSource) wantKeyFrame()    { s.wanted++ }

// cutPicture is a VP8 frame in three packets.
func cutPicture(n int) [][]byte {
	p := &testPeer{name: "A"}
	return (&codecs.VP8Payloader{}).Payload(25, p.vp8Frame(n%10 == 0))
}

// A picture of which a packet is lost is left out, and a key frame asked for;
// packets that come late do no harm.
func TestRecorderLosesOnlyWhatIsLost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.webm")
	inBubble(t, 0, Config{}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
		id := newRecorder(kms, kms.create("MediaPipeline", nil), "", "file://"+file, map[string]any{"mediaProfile": "WEBM_VIDEO_ONLY"})
		kms.invoke(id, "record", nil)
		s.mu.Lock()
		r := recorderOf(s.objects[id])
		s.mu.Unlock()
		source, c, seq := &countingSource{}, &codec{name: "VP8", clock: 90000}, uint16(65500)
		var late *packet
		for n := range 100 {
			parts := cutPicture(n)
			for i, part := range parts {
				seq++
				p := &packet{kind: kindVideo, codec: c, payload: part, seq: seq, ts: uint32(n * 3000), marker: i == len(parts)-1,
					key: n%10 == 0 && i == 0, stream: 1, at: time.Now(), from: source}
				switch {
				case n == 33 && i == 1, n == 55 && i == 0, n == 77 && i == len(parts)-1:
				case n == 44 && i == 1:
					late = p
				default:
					r.deliver(p)
				}
				if n == 46 && late != nil {
					r.deliver(late)
					late = nil
				}
			}
			time.Sleep(time.Second / 30)
		}
		kms.invoke(id, "stopAndWait", nil)
		if source.wanted < 3 {
			t.Errorf("asked for %d key frames, want one at the beginning and one after each loss", source.wanted)
		}
	})
	b, err := os.ReadFile(file)
	must(t, err)
	c, err := clip.Read(b)
	must(t, err)
	var missing []int
	for n := range 100 {
		at := time.Duration(n) * time.Second / 30
		if !slices.ContainsFunc(c.Frames, func(f clip.Frame) bool { return (f.At - at).Abs() < 2*time.Millisecond }) {
			missing = append(missing, n)
		}
	}
	if !slices.Equal(missing, []int{33, 55, 77}) {
		t.Errorf("pictures %v are missing, want 33, 55 and 77", missing)
	}
}

// FuzzPlayedFrames sends what is in a file the way a player does, and puts it
// together again the way a recorder does.
func FuzzPlayedFrames(f *testing.F) {
	for _, codec := range []byte{0, 1, 2, 3, 4, 5} {
		f.Add(codec, (&testPeer{name: "A"}).vp8Frame(true))
		f.Add(codec, []byte("\x00\x00\x00\x01\x67\x42\xc0\x0a\x00\x00\x01\x65\x88"))
	}
	names := []string{clip.VP8, clip.VP9, clip.H264, clip.Opus, clip.PCMU, clip.PCMA}
	f.Fuzz(func(t *testing.T, codec byte, frame []byte) {
		name := names[int(codec)%len(names)]
		if len(frame) == 0 {
			return
		}
		for i, part := range payloaders[name]().Payload(payloadSize, frame) {
			isKeyFrame(name, part)
			d := depacketizers[name]()
			p := rtp.Packet{Header: rtp.Header{SequenceNumber: uint16(i)}, Payload: part}
			if d.IsPartitionHead(p.Payload) {
				if data, err := d.Unmarshal(p.Payload); err == nil {
					clip.Key(name, data)
					clip.Size(name, data)
				}
			}
		}
	})
}
