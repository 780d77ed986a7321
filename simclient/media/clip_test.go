package media

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEmbeddedClips(t *testing.T) {
	total := 0
	for name, want := range map[string]struct {
		codec        Codec
		units, keys  int
		least, most  int // kbit/s
		pauseBetween time.Duration
	}{
		ClipVP8:        {VP8, 120, 4, 150, 250, time.Second / 30},
		ClipVP8Load:    {VP8, 120, 4, 450, 500, time.Second / 30},
		ClipH264:       {H264, 120, 4, 150, 250, time.Second / 30},
		ClipOpus:       {Opus, 200, 200, 15, 25, 20 * time.Millisecond},
		ClipOpusStereo: {Opus, 200, 200, 15, 25, 20 * time.Millisecond},
	} {
		clip := mustLoad(t, name)
		size, keys := 0, 0
		for i := range clip.Len() {
			data, key := clip.Unit(i)
			if size += len(data); key {
				keys++
			}
		}
		total += size
		kbits := int(float64(size) * 8 / 1000 / clip.Duration().Seconds())
		if clip.Codec() != want.codec || clip.Len() != want.units || keys != want.keys || clip.Name() != name {
			t.Errorf("%s: %v, %d units, %d key frames", name, clip.Codec(), clip.Len(), keys)
		}
		if kbits < want.least || kbits > want.most || clip.Offset(1) != want.pauseBetween {
			t.Errorf("%s: %d kbit/s, a unit each %v", name, kbits, clip.Offset(1))
		}
		if again := mustLoad(t, name); again != clip {
			t.Errorf("%s: parsed twice", name)
		}
	}
	if total > 900_000 {
		t.Errorf("%d bytes embedded", total)
	}
}

// Offsets are computed from the beginning, so hours later they are still exact.
func TestClipDoesNotDrift(t *testing.T) {
	clip := mustLoad(t, ClipVP8)
	for n, want := range map[int64]time.Duration{
		1: 33333333, 2: 66666666, 3: 100 * time.Millisecond, 30 * 3600 * 24 * 30: 30 * 24 * time.Hour,
	} {
		if got := clip.Offset(n); got != want {
			t.Errorf("unit %d at %v, want %v", n, got, want)
		}
	}
	if got := clip.unitsIn(10 * time.Second); got != 300 {
		t.Errorf("%d frames in 10 s", got)
	}
}

func TestNextKeyFrame(t *testing.T) {
	clip := mustLoad(t, ClipH264)
	for at, want := range map[int]int{0: 0, 1: 30, 30: 30, 89: 90, 91: 0, 119: 0} {
		if got := clip.nextKey(at); got != want {
			t.Errorf("from %d: %d, want %d", at, got, want)
		}
	}
}

func TestMalformedClips(t *testing.T) {
	frame := ivf([][]byte{{1, 2, 3}}) // not a key frame
	noRate := slices.Clone(frame)
	noRate[20] = 0
	vp9 := slices.Clone(frame)
	vp9[11] = '9'
	opus20ms := ogg(t, [][]byte{{0xf0, 1, 2, 3}, {0xf8, 1, 2, 3}}, 20*time.Millisecond, false)
	for name, c := range map[string]struct {
		file string
		data []byte
		want string
	}{
		"nothing":       {"x.ivf", nil, "parse clip"},
		"extension":     {"x.mp4", nil, "unknown extension"},
		"no key frame":  {"x.ivf", frame, "key frame"},
		"no rate":       {"x.ivf", noRate, "timebase"},
		"other codec":   {"x.ivf", vp9, "VP8"},
		"cut":           {"x.ivf", frame[:len(frame)-1], "parse clip"},
		"no frames":     {"x.ivf", frame[:32], "key frame"},
		"no Ogg":        {"x.ogg", []byte("OggX"), "parse clip"},
		"Opus of 20 ms": {"x.ogg", opus20ms, "packet 1: not an Opus packet of code 0 with one CELT frame of 10 ms"},
		"no pictures":   {"x.h264", []byte{0, 0, 1, nalSPS, 1}, "key frame"},
	} {
		if _, err := ParseClip(c.file, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load("nothing"); err == nil {
		t.Error("loaded a clip that does not exist")
	}
}

func TestCodecNames(t *testing.T) {
	for codec, want := range map[Codec]string{VP8: "video/VP8", H264: "video/H264", Opus: "audio/opus", 0: "video/Codec(0)"} {
		if got := codec.MimeType(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
