package clip

import "bytes"

// A bitReader reads a header bit by bit. Behind its end there are zeros.
type bitReader struct {
	b  []byte
	at int
}

func (r *bitReader) read(n int) int {
	v := 0
	for range n {
		v <<= 1
		if i := r.at / 8; i < len(r.b) {
			v |= int(r.b[i]>>(7-r.at%8)) & 1
		}
		r.at++
	}
	return v
}

// golomb reads an unsigned number in exponential Golomb code (H.264, 9.1).
func (r *bitReader) golomb() int {
	zeros := 0
	for r.read(1) == 0 {
		if zeros++; zeros > 24 {
			return 0
		}
	}
	return 1<<zeros - 1 + r.read(zeros)
}

// vp9Header reads the uncompressed header of a VP9 frame as far as the size.
func vp9Header(b []byte) (width, height int, key bool) {
	r := &bitReader{b: b}
	if len(b) < 3 || r.read(2) != 2 {
		return 0, 0, false
	}
	profile := r.read(1) | r.read(1)<<1
	if profile == 3 {
		r.read(1)
	}
	if r.read(2) != 0 { // an old frame shown again; not a key frame
		return 0, 0, false
	}
	r.read(2)
	if r.read(24) != 0x498342 {
		return 0, 0, false
	}
	if profile >= 2 {
		r.read(1)
	}
	const rgb = 7
	if r.read(3) != rgb {
		r.read(1)
		if profile == 1 || profile == 3 {
			r.read(3)
		}
	} else if profile == 1 || profile == 3 {
		r.read(1)
	}
	return r.read(16) + 1, r.read(16) + 1, true
}

// units splits H264 with start codes into its units.
func units(b []byte) [][]byte {
	var out [][]byte
	code := []byte{0, 0, 1}
	at := bytes.Index(b, code)
	for at >= 0 {
		b = b[at+len(code):]
		at = bytes.Index(b, code)
		unit := b
		if at >= 0 {
			unit = b[:at]
		}
		if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 {
			out = append(out, unit)
		}
	}
	return out
}

// spsSize reads the size of the pictures off a sequence parameter set of a
// profile without extensions, which is what WebRTC uses (H.264, 7.3.2.1.1).
func spsSize(sps []byte) (width, height int) {
	if len(sps) < 5 || sps[1] >= 100 {
		return 0, 0
	}
	r := &bitReader{b: bytes.ReplaceAll(sps[4:], []byte{0, 0, 3}, []byte{0, 0})}
	r.golomb() // seq_parameter_set_id
	r.golomb() // log2_max_frame_num
	switch r.golomb() {
	case 0:
		r.golomb()
	case 1:
		r.read(1)
		r.golomb()
		r.golomb()
		for range min(r.golomb(), 255) {
			r.golomb()
		}
	}
	r.golomb() // max_num_ref_frames
	r.read(1)
	wide, high := r.golomb()+1, r.golomb()+1
	fields := 2 - r.read(1)
	if fields == 2 {
		r.read(1)
	}
	r.read(1)
	width, height = wide*16, high*16*fields
	if r.read(1) == 1 {
		width -= 2 * (r.golomb() + r.golomb())
		height -= 2 * fields * (r.golomb() + r.golomb())
	}
	return max(width, 0), max(height, 0)
}
