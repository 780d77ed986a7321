package media

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

//go:generate ./clips/generate.sh

//go:embed clips/*.ivf clips/*.ogg clips/*.h264
var clipFiles embed.FS

// The embedded clips; all are 4 s long. Video has 30 frames a second and a key
// frame each second, audio has 50 packets a second. A packet of a clip holds the first
// half of its 20 ms, a burst of sound; the other half is silent and carries the marker.
const (
	// ClipVP8 is 320x240 at about 190 kbit/s.
	ClipVP8 = "vp8-200k.ivf"
	// ClipVP8Load is 640x360 at about 480 kbit/s, just below the 500 kbit/s up to which
	// Kurento lets a WebRtcEndpoint send.
	ClipVP8Load = "vp8-500k.ivf"
	// ClipH264 is constrained baseline, 320x240 at about 200 kbit/s.
	ClipH264 = "h264-200k.h264"
	// ClipOpus is mono at about 19 kbit/s, 34 with markers.
	ClipOpus = "opus-mono.ogg"
	// ClipOpusStereo is stereo at about 18 kbit/s, 33 with markers.
	ClipOpusStereo = "opus-stereo.ogg"
)

// Clip is coded media that loops: the first unit is a key frame. It is read-only
// and shared by any number of sources.
type Clip struct {
	name  string
	codec Codec
	units []unit
	// barcode makes the units for a sender, in a clip that shows who that is.
	barcode func(Identity) []unit
	// One unit lasts num/den seconds.
	num, den int64
}

// unit is one frame, access unit or Opus packet.
type unit struct {
	data []byte
	key  bool
	nals [][]byte // H264 only
}

var builtin = sync.OnceValues(loadBuiltin)

// Load returns an embedded clip by its name, such as [ClipVP8].
func Load(name string) (*Clip, error) {
	clips, err := builtin()
	if err != nil {
		return nil, err
	}
	clip, ok := clips[name]
	if !ok {
		return nil, fmt.Errorf("load clip %q: no such clip", name)
	}
	return clip, nil
}

func loadBuiltin() (map[string]*Clip, error) {
	clips := make(map[string]*Clip)
	for _, name := range []string{ClipVP8, ClipVP8Load, ClipH264, ClipOpus, ClipOpusStereo} {
		data, err := clipFiles.ReadFile(path.Join("clips", name))
		if err != nil {
			return nil, fmt.Errorf("load clip %q: %w", name, err)
		}
		if clips[name], err = ParseClip(name, data); err != nil {
			return nil, err
		}
	}
	clips[ClipBarcode] = NewBarcodeClip(200_000)
	return clips, nil
}

// ParseClip reads a clip: VP8 in IVF (.ivf), Opus in Ogg with one packet a page
// (.ogg), or H264 in Annex B form at 30 frames a second (.h264). Opus packets must have
// code 0 and one CELT frame of 10 ms (encoders call it low delay), as marking
// needs it; 50 of them are sent a second. The extension of
// the name decides. The clip keeps data.
func ParseClip(name string, data []byte) (*Clip, error) {
	c := &Clip{name: name}
	var err error
	switch path.Ext(name) {
	case ".ivf":
		err = c.parseIVF(data)
	case ".ogg":
		err = c.parseOgg(data)
	case ".h264":
		err = c.parseH264(data)
	default:
		err = errors.New("unknown extension")
	}
	if err == nil && (len(c.units) == 0 || !c.units[0].key) {
		err = errors.New("does not begin with a key frame")
	}
	if err != nil {
		return nil, fmt.Errorf("parse clip %q: %w", name, err)
	}
	return c, nil
}

func (c *Clip) parseIVF(data []byte) error {
	r, header, err := ivfreader.NewWith(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if header.FourCC != "VP80" {
		return fmt.Errorf("codec %q is not VP8", header.FourCC)
	}
	// The time base of 1/30 s; the reader refuses zeros.
	c.codec, c.num, c.den = VP8, int64(header.TimebaseNumerator), int64(header.TimebaseDenominator)
	for {
		frame, _, err := r.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.units = append(c.units, unit{data: frame, key: vp8KeyFrame(frame)})
	}
}

func (c *Clip) parseOgg(data []byte) error {
	r, _, err := oggreader.NewWith(bytes.NewReader(data))
	if err != nil {
		return err
	}
	c.codec, c.num, c.den = Opus, 1, 50
	for {
		packet, _, err := r.ParseNextPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(packet, []byte("OpusTags")) {
			continue
		}
		if _, err := opusFrame(packet); err != nil {
			return fmt.Errorf("packet %d: %w", len(c.units), err)
		}
		c.units = append(c.units, unit{data: packet, key: true})
	}
}

// parseH264 joins NAL units to access units: with one slice a picture, each slice
// ends one.
func (c *Clip) parseH264(data []byte) error {
	c.codec, c.num, c.den = H264, 1, 30
	var u unit
	for nal, rest := nextNAL(data); nal != nil; nal, rest = nextNAL(rest) {
		u.data = append(append(u.data, startCode...), nal...)
		u.nals = append(u.nals, nal)
		if isVCL(nalType(nal)) {
			u.key = nalType(nal) == nalIDR
			c.units = append(c.units, u)
			u = unit{}
		}
	}
	return nil
}

// Name returns the name that the clip was loaded or parsed with.
func (c *Clip) Name() string { return c.name }

// Codec returns the clip's codec.
func (c *Clip) Codec() Codec { return c.codec }

// Len returns the number of units: frames or audio packets.
func (c *Clip) Len() int { return len(c.units) }

// Unit returns a coded unit, which must not be changed, and whether decoding can
// begin with it.
func (c *Clip) Unit(i int) (data []byte, key bool) { return c.units[i].data, c.units[i].key }

// Offset returns when unit n of an endless loop is due, counted from unit 0. It is
// computed from n each time, so that 30 frames a second do not drift.
func (c *Clip) Offset(n int64) time.Duration {
	whole, rest := n/c.den, n%c.den
	return time.Duration(whole*c.num)*time.Second +
		time.Duration(rest*c.num*int64(time.Second)/c.den)
}

// Duration returns how long the clip plays before it begins anew.
func (c *Clip) Duration() time.Duration { return c.Offset(int64(len(c.units))) }

// unitsIn returns how many units are due within d, rounded down.
func (c *Clip) unitsIn(d time.Duration) int64 {
	return int64(d) / c.num * c.den / int64(time.Second)
}

// rtpTicks returns the RTP time of unit n.
func (c *Clip) rtpTicks(n int64) uint32 {
	return uint32(n * c.num * int64(c.codec.ClockRate()) / c.den)
}

// nextKey returns the first key frame at or behind i, around the end if need be.
func (c *Clip) nextKey(i int) int {
	isKey := func(u unit) bool { return u.key }
	if k := slices.IndexFunc(c.units[i:], isKey); k >= 0 {
		return i + k
	}
	return 0
}
