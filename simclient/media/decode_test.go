package media

import (
	"bytes"
	"encoding/binary"
	"image"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

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

// Whole clips of video, marked, decode without a complaint and to the same pictures as
// unmarked ones, in each decoder that ffmpeg has for the codec.
func TestFFmpegDecodesMarkedVideoAlike(t *testing.T) {
	ffmpeg := findFFmpeg(t)
	for name, decoders := range map[string][]string{
		ClipVP8:     {"vp8", "libvpx"},
		ClipVP8Load: {"vp8"},
		ClipH264:    {"h264"},
	} {
		clip := mustLoad(t, name)
		container := func(units [][]byte) []byte { return bytes.Join(units, nil) }
		if clip.Codec() == VP8 {
			container = ivf
		}
		plain := writeFile(t, "plain-"+name, container(unitsOf(clip)))
		marked := writeFile(t, "marked-"+name, container(markedUnits(t, clip)))
		for _, decoder := range decoders {
			t.Run(name+"/"+decoder, func(t *testing.T) {
				want, got := decode(t, ffmpeg, decoder, plain, "framemd5"), decode(t, ffmpeg, decoder, marked, "framemd5")
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

// Marked Opus decodes without a complaint and to the same samples as its frames
// that alternate with the silent frames of an encoder, three bytes each.
func TestFFmpegDecodesMarkedOpusAlike(t *testing.T) {
	ffmpeg := findFFmpeg(t)
	for _, name := range []string{ClipOpus, ClipOpusStereo} {
		clip, stereo := mustLoad(t, name), name == ClipOpusStereo
		var halves [][]byte
		for _, u := range unitsOf(clip) {
			halves = append(halves, u, []byte{u[0], 0xff, 0xfe})
		}
		plain := writeFile(t, "plain-"+name, ogg(t, halves, 10*time.Millisecond, stereo))
		marked := writeFile(t, "marked-"+name, ogg(t, markedUnits(t, clip), 20*time.Millisecond, stereo))
		for _, decoder := range []string{"opus", "libopus"} {
			t.Run(name+"/"+decoder, func(t *testing.T) {
				want, got := decode(t, ffmpeg, decoder, plain, "f32le"), decode(t, ffmpeg, decoder, marked, "f32le")
				if !bytes.Equal(want, got) {
					t.Error("the marked clip decodes differently")
				}
				if least := 4 * 48000 * 39 / 10; len(got) < least { // 4 s less the pre-skip
					t.Errorf("%d bytes of samples, less than %d", len(got), least)
				}
			})
		}
	}
}

func findFFmpeg(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("decoding whole clips takes seconds: not in short tests")
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed: marked clips are not decoded")
	}
	return ffmpeg
}

// decode returns what ffmpeg decodes, in the given format; any message of the decoder
// fails.
func decode(t *testing.T, ffmpeg, decoder, file, format string) []byte {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command(ffmpeg, "-hide_banner", "-v", "warning", "-xerror",
		"-err_detect", "crccheck+bitstream+buffer+careful", "-c", decoder, "-i", file, "-f", format, "-")
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Fatalf("ffmpeg %s: %v\n%s", filepath.Base(file), err, complaints.Bytes())
	}
	return out.Bytes()
}

func unitsOf(clip *Clip) [][]byte {
	units := make([][]byte, clip.Len())
	for i := range units {
		units[i], _ = clip.Unit(i)
	}
	return units
}

// markedUnits marks each unit with another marker, whose bytes differ all over.
func markedUnits(t *testing.T, clip *Clip) [][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	units := unitsOf(clip)
	for i := range units {
		m := Marker{
			Call: rng.Uint64(), Participant: rng.Uint32(), Track: uint8(rng.Uint32()),
			Sequence: rng.Uint32(), Capture: int64(rng.Uint64()),
		}
		var err error
		if units[i], err = AppendMarked(nil, clip.Codec(), units[i], m); err != nil {
			t.Fatal(err)
		}
	}
	return units
}

func writeFile(t *testing.T, name string, data []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
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

func ogg(t *testing.T, packets [][]byte, each time.Duration, stereo bool) []byte {
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
		packet := &rtp.Packet{Header: rtp.Header{Version: 2, Timestamp: uint32(i+1) * uint32(48*each.Milliseconds())}, Payload: p}
		if err := w.WriteRTP(packet); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
