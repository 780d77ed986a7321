package media

import (
	"bytes"
	"encoding/binary"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"
	"golang.org/x/image/vp8"
)

// Pure Go decodes key frames only; ffmpeg does the rest where it is installed.
func TestMarkedKeyFramesDecodeAlike(t *testing.T) {
	clip := mustLoad(t, ClipVP8)
	keys := 0
	for i := range clip.Len() {
		data, key := clip.Unit(i)
		if !key {
			continue
		}
		keys++
		marked, _ := AppendMarked(nil, VP8, data, testMarker)
		want, got := decodeKeyFrame(t, data), decodeKeyFrame(t, marked)
		if !bytes.Equal(want.Y, got.Y) || !bytes.Equal(want.Cb, got.Cb) || !bytes.Equal(want.Cr, got.Cr) {
			t.Errorf("frame %d: the picture differs", i)
		}
	}
	if keys != 4 {
		t.Errorf("%d key frames in 4 s", keys)
	}
}

func decodeKeyFrame(t *testing.T, frame []byte) *image.YCbCr {
	t.Helper()
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(frame), len(frame))
	if _, err := d.DecodeFrameHeader(); err != nil {
		t.Fatal(err)
	}
	img, err := d.DecodeFrame()
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Whole clips, marked, decode without a complaint and to the same pictures and
// samples as unmarked ones, in each decoder that ffmpeg has for the codec.
func TestFFmpegDecodesMarkedClipsAlike(t *testing.T) {
	if testing.Short() {
		t.Skip("decoding whole clips takes seconds: not in short tests")
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed: marked clips are not decoded")
	}
	for name, decoders := range map[string][]string{
		ClipVP8:        {"vp8", "libvpx"},
		ClipVP8Load:    {"vp8"},
		ClipH264:       {"h264"},
		ClipOpus:       {"opus", "libopus"},
		ClipOpusStereo: {"opus", "libopus"},
	} {
		clip := mustLoad(t, name)
		plain := filepath.Join(t.TempDir(), "plain-"+name)
		marked := filepath.Join(t.TempDir(), "marked-"+name)
		writeContainer(t, plain, clip, false)
		writeContainer(t, marked, clip, true)
		for _, decoder := range decoders {
			t.Run(name+"/"+decoder, func(t *testing.T) {
				want, got := frameHashes(t, ffmpeg, decoder, plain), frameHashes(t, ffmpeg, decoder, marked)
				if !bytes.Equal(want, got) {
					t.Error("the marked clip decodes differently")
				}
				if lines := bytes.Count(got, []byte("\n")); lines < clip.Len() {
					t.Errorf("%d lines for %d units", lines, clip.Len())
				}
			})
		}
	}
}

// frameHashes returns a hash for each decoded frame; any message of the decoder fails.
func frameHashes(t *testing.T, ffmpeg, decoder, file string) []byte {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command(ffmpeg, "-hide_banner", "-v", "warning", "-xerror",
		"-err_detect", "crccheck+bitstream+buffer+careful", "-c", decoder, "-i", file, "-f", "framemd5", "-")
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Fatalf("ffmpeg %s: %v\n%s", filepath.Base(file), err, complaints.Bytes())
	}
	return out.Bytes()
}

func writeContainer(t *testing.T, file string, clip *Clip, mark bool) {
	t.Helper()
	units := make([][]byte, clip.Len())
	for i := range units {
		units[i], _ = clip.Unit(i)
		if mark {
			var err error
			m := testMarker
			m.Sequence = uint32(i)
			if units[i], err = AppendMarked(nil, clip.Codec(), units[i], m); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b []byte
	switch clip.Codec() {
	case VP8:
		b = ivf(units)
	case H264:
		b = bytes.Join(units, nil)
	case Opus:
		b = ogg(t, units, clip.Name() == ClipOpusStereo)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func ivf(frames [][]byte) []byte {
	b := append([]byte("DKIF\x00\x00\x20\x00VP80"), make([]byte, 20)...)
	binary.LittleEndian.PutUint32(b[16:], 30)
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint32(b[24:], uint32(len(frames)))
	for i, frame := range frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
		b = append(b, frame...)
	}
	return b
}

func ogg(t *testing.T, packets [][]byte, stereo bool) []byte {
	t.Helper()
	channels := uint16(1)
	if stereo {
		channels = 2
	}
	var b bytes.Buffer
	w, err := oggwriter.NewWith(&b, 48000, channels)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		packet := &rtp.Packet{Header: rtp.Header{Version: 2, Timestamp: uint32(i+1) * 960}, Payload: p}
		if err := w.WriteRTP(packet); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
