package media

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// opusFrames cuts a packet of code 0 or 2 into its frames by RFC 6716 §3.2,
// independently of the code that marks packets.
func opusFrames(t testing.TB, p []byte) [][]byte {
	t.Helper()
	b := p[1:]
	switch p[0] & 3 {
	case 0:
		return [][]byte{b}
	case 2:
		n, b := int(b[0]), b[1:]
		if n >= 252 {
			n, b = n+4*int(b[0]), b[1:]
		}
		return [][]byte{b[:n], b[n:]}
	}
	t.Fatalf("%x: not of code 0 or 2", p)
	return nil
}

// tocs are the configurations of 10 ms that are CELT-only: four bandwidths, mono and
// stereo (RFC 6716 table 2).
var tocs = []byte{18 << 3, 22 << 3, 26 << 3, 30 << 3, 18<<3 | 4, 22<<3 | 4, 26<<3 | 4, 30<<3 | 4}

// The frame stays bit exact whatever its length is; behind it comes one of the same
// configuration that begins with the silence flag: 15 ones.
func TestOpusFrameStaysBitExact(t *testing.T) {
	data := bytes.Repeat([]byte{0xaa, 0x55, 0x01}, 400)
	for _, toc := range tocs {
		for _, n := range []int{2, 3, 34, 100, 250, 251, 252, 253, 254, 255, 256, 257, 507, 508, 1000, maxOpusFrame} {
			packet := append([]byte{toc}, data[:n]...)
			marked, err := appendOpusMarked([]byte("before"), packet, testMarker)
			if err != nil {
				t.Fatalf("%x, %d bytes: %v", toc, n, err)
			}
			marked = marked[len("before"):]
			if marked[0] != toc|2 || len(marked) > maxPayload {
				t.Errorf("%x, %d bytes: begins with %x, has %d bytes", toc, n, marked[0], len(marked))
			}
			frames := opusFrames(t, marked)
			if !bytes.Equal(frames[0], packet[1:]) {
				t.Errorf("%x, %d bytes: the frame differs", toc, n)
			}
			if silent := frames[1]; silent[0] != 0xff || silent[1]&0xfe != 0xfe || len(silent) != 34 {
				t.Errorf("%x, %d bytes: second frame %x", toc, n, silent)
			}
			if m, err := opusMarker(marked); err != nil || m != testMarker {
				t.Errorf("%x, %d bytes: marker %+v, %v", toc, n, m, err)
			}
		}
	}
}

// The flag is followed by the marker, whose bytes are free, so they must not reach
// into the first 15 bits.
func TestOpusSilenceFlagIsWhole(t *testing.T) {
	if opusSilence != "\xff\xfe" {
		t.Errorf("a silent frame of an encoder is ff fe, this begins with %x", opusSilence)
	}
}

func TestOpusUnmarkablePackets(t *testing.T) {
	long := make([]byte, maxOpusFrame+2)
	long[0] = 0xf0
	for name, c := range map[string]struct {
		packet []byte
		want   string
	}{
		"empty":         {nil, "not an Opus packet of code 0"},
		"SILK, 10 ms":   {[]byte{0x40, 1, 2, 3}, "one CELT frame of 10 ms"},
		"hybrid, 10 ms": {[]byte{12 << 3, 1, 2, 3}, "one CELT frame of 10 ms"},
		"CELT, 2.5 ms":  {[]byte{28 << 3, 1, 2, 3}, "one CELT frame of 10 ms"},
		"CELT, 5 ms":    {[]byte{29 << 3, 1, 2, 3}, "one CELT frame of 10 ms"},
		"CELT, 20 ms":   {[]byte{31 << 3, 1, 2, 3}, "one CELT frame of 10 ms"},
		"code 1":        {[]byte{0xf1, 1, 2, 3, 4}, "code 0"},
		"code 2":        {[]byte{0xf2, 1, 2, 3, 4}, "code 0"},
		"code 3":        {[]byte{0xf3, 1, 2, 3, 4}, "code 0"},
		"no frame":      {[]byte{0xf0}, "DTX"},
		"DTX":           {[]byte{0xf0, 0xff}, "DTX"},
		"too long":      {long, "more than the 1151 that fit"},
	} {
		dst, err := AppendMarked([]byte("kept"), Opus, c.packet, testMarker)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "mark unit: ") {
			t.Errorf("%s: %v", name, err)
		}
		if string(dst) != "kept" {
			t.Errorf("%s: wrote %x", name, dst)
		}
	}
}

// Marking a marked packet would stretch it to more than its 20 ms.
func TestOpusIsNotMarkedTwice(t *testing.T) {
	marked, _ := appendOpusMarked(nil, []byte{0xf0, 1, 2, 3}, testMarker)
	if _, err := appendOpusMarked(nil, marked, testMarker); !errors.Is(err, errOpusPacket) {
		t.Errorf("%v", err)
	}
}

// Packets of others, and ours cut or with something behind them, carry no marker that
// could be trusted.
func TestOpusWithoutMarker(t *testing.T) {
	marked, _ := appendOpusMarked(nil, []byte{0xf0, 1, 2, 3}, testMarker)
	long, _ := appendOpusMarked(nil, append([]byte{0xf0}, make([]byte, 300)...), testMarker)
	for n := range marked {
		if _, err := opusMarker(marked[:n]); !errors.Is(err, ErrNoMarker) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for n := range long {
		if _, err := opusMarker(long[:n]); !errors.Is(err, ErrNoMarker) {
			t.Errorf("long one cut to %d bytes: %v", n, err)
		}
	}
	other := func(i int, b byte) []byte {
		p := bytes.Clone(marked)
		p[i] = b
		return p
	}
	for name, packet := range map[string][]byte{
		"plain":            {0xf0, 1, 2, 3},
		"plain and marker": AppendMarker([]byte{0xf0, 1, 2, 3}, testMarker),
		"two real frames":  append([]byte{0xf2, 2, 1, 2}, bytes.Repeat([]byte{0xaa}, opusMarkerFrame)...),
		"not silent":       AppendMarker([]byte{0xf2, 2, 1, 2, 0xff, 0xfc}, testMarker),
		"silent only":      {0xf2, 2, 1, 2, 0xff, 0xfe},
		"trailer":          append(bytes.Clone(marked), 0),
		"code 3":           other(0, 0xf3),
		"20 ms":            other(0, 0xfa),
		"SILK":             other(0, 0x42),
		"in padding":       AppendMarker([]byte{0xf3, 0x41, MarkerSize, 1, 2, 3}, testMarker),
	} {
		if _, err := opusMarker(packet); !errors.Is(err, ErrNoMarker) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The clips are made so that the half of each 20 ms that marking silences was silent
// before: that half is left out, and what is there is never empty.
func TestOpusClipsHoldSound(t *testing.T) {
	for _, name := range []string{ClipOpus, ClipOpusStereo} {
		clip := mustLoad(t, name)
		for i := range clip.Len() {
			data, _ := clip.Unit(i)
			if len(data) < 20 || bytes.HasPrefix(data[1:], []byte(opusSilence)) || data[0]&4 != 0 != (name == ClipOpusStereo) {
				t.Errorf("%s unit %d: %x", name, i, data)
			}
		}
	}
}
