package media

import (
	"bytes"
	"errors"
	"testing"
)

// opusFrames cuts a packet into its frames by RFC 6716 §3.2, independently of the
// code that marks packets.
func opusFrames(t *testing.T, p []byte) [][]byte {
	t.Helper()
	length := func(b []byte) (n, size int) {
		if b[0] < 252 {
			return int(b[0]), 1
		}
		return int(b[1])*4 + int(b[0]), 2
	}
	b := p[1:]
	switch p[0] & 3 {
	case 0:
		return [][]byte{b}
	case 1:
		return [][]byte{b[:len(b)/2], b[len(b)/2:]}
	case 2:
		n, size := length(b)
		return [][]byte{b[size : size+n], b[size+n:]}
	}
	count, vbr, padded := int(b[0]&0x3f), b[0]&0x80 != 0, b[0]&0x40 != 0
	b = b[1:]
	for padding, more := 0, padded; more; {
		n := int(b[0])
		if more = n == 255; more {
			n = 254
		}
		if b, padding = b[1:], padding+n; !more {
			b = b[:len(b)-padding]
		}
	}
	sizes := make([]int, count)
	for i := range count - 1 {
		if vbr {
			n, size := length(b)
			sizes[i], b = n, b[size:]
		} else {
			sizes[i] = len(b) / count
		}
	}
	var frames [][]byte
	for i := range count - 1 {
		frames, b = append(frames, b[:sizes[i]]), b[sizes[i]:]
	}
	return append(frames, b)
}

func TestOpusFramesStayBitExact(t *testing.T) {
	data := bytes.Repeat([]byte{0xaa, 0x55, 0x01}, 100) // 300 bytes
	const toc = 0x78
	for name, packet := range map[string][]byte{
		"code 0":                  append([]byte{toc}, data...),
		"code 0, empty":           {toc},
		"code 1":                  append([]byte{toc | 1}, data...),
		"code 2, short":           append([]byte{toc | 2, 100}, data...),
		"code 2, long":            append([]byte{toc | 2, 252, 1}, data...),
		"code 2, empty":           append([]byte{toc | 2, 0}, data...),
		"code 3, CBR":             append([]byte{toc | 3, 3}, data...),
		"code 3, VBR":             append([]byte{toc | 3, 0x83, 10, 20}, data...),
		"code 3, one":             append([]byte{toc | 3, 1}, data...),
		"code 3, padded":          append([]byte{toc | 3, 0x40 | 2, 20}, data...),
		"code 3, padded a lot":    append([]byte{toc | 3, 0x40 | 1, 255, 2}, data...),
		"code 3, VBR, padded":     append([]byte{toc | 3, 0xC0 | 2, 30, 50}, data...),
		"code 3, padded with 254": append([]byte{toc | 3, 0x40 | 1, 254}, data...),
	} {
		marked, err := appendOpusMarked(nil, packet, testMarker)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if marked[0]>>2 != toc>>2 {
			t.Errorf("%s: configuration changed to %x", name, marked[0])
		}
		want, got := opusFrames(t, packet), opusFrames(t, marked)
		if len(want) != len(got) {
			t.Errorf("%s: %d frames, want %d", name, len(got), len(want))
			continue
		}
		for i := range want {
			if !bytes.Equal(want[i], got[i]) {
				t.Errorf("%s: frame %d differs", name, i)
			}
		}
		if m, err := opusMarker(marked); err != nil || m != testMarker {
			t.Errorf("%s: marker %+v, %v", name, m, err)
		}
	}
}

func TestOpusMarkTwiceReplaces(t *testing.T) {
	first, _ := appendOpusMarked(nil, []byte{0x78, 1, 2, 3}, testMarker)
	other := testMarker
	other.Sequence = 99
	second, err := appendOpusMarked(nil, first, other)
	if err != nil || len(second) != len(first) {
		t.Fatalf("%d bytes, want %d: %v", len(second), len(first), err)
	}
	if m, _ := opusMarker(second); m != other {
		t.Errorf("marker %+v", m)
	}
}

func TestOpusMalformed(t *testing.T) {
	for _, packet := range [][]byte{
		{}, {1, 2}, {2}, {3}, {3, 0}, {3, 0x41}, {3, 0x41, 5, 1}, {3, 0x41, 255}, {3, 0x41, 255, 255},
	} {
		if _, err := appendOpusMarked(nil, packet, testMarker); !errors.Is(err, errOpusPacket) {
			t.Errorf("%x: %v", packet, err)
		}
	}
}

// A marker behind a packet that has no padding is not ours: a decoder would take it
// for sound.
func TestOpusTrailerIsNoMarker(t *testing.T) {
	for _, packet := range [][]byte{{0x78, 1, 2, 3}, {0x7b, 1, 2, 3}, {0x7b, 0x41, 5, 1, 2, 3, 4, 5}} {
		if _, err := opusMarker(AppendMarker(packet, testMarker)); !errors.Is(err, ErrNoMarker) {
			t.Errorf("%x: %v", packet, err)
		}
	}
}
