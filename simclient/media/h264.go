package media

import (
	"bytes"
	"encoding/binary"
)

// NAL unit types (ITU-T H.264 table 7-1) and the packet types of RFC 6184 §5.2.
const (
	nalTypeMask  = 0x1F
	nalSlice     = 1
	nalIDR       = 5
	nalSEI       = 6
	nalSPS       = 7
	nalPPS       = 8
	nalDelimiter = 9
	nalSTAPA     = 24
	nalFUA       = 28

	fuStart = 0x80
	fuEnd   = 0x40
)

// seiUserData is the SEI payload type user_data_unregistered (H.264 §D.1.7), which
// begins with a UUID that says whose data it is.
const seiUserData = 5

var markerUUID = [16]byte{
	0x0b, 0x5e, 0x41, 0x9c, 0x77, 0x52, 0x4d, 0x0e,
	0xa3, 0x61, 0xc4, 0x1d, 0x8f, 0x20, 0x6b, 0x93,
}

var startCode = []byte{0, 0, 0, 1}

// nextNAL cuts the first NAL unit from an Annex B stream; the start code may have
// 3 or 4 bytes. It returns nil at the end.
func nextNAL(b []byte) (nal, rest []byte) {
	for {
		i := bytes.Index(b, startCode[1:])
		if i < 0 {
			return nil, nil
		}
		b = b[i+3:]
		end := bytes.Index(b, startCode[1:])
		if end < 0 {
			end = len(b)
		}
		if nal = bytes.TrimRight(b[:end], "\x00"); len(nal) > 0 {
			return nal, b[end:]
		}
	}
}

func nalType(nal []byte) byte { return nal[0] & nalTypeMask }

// isVCL tells whether a NAL unit of that type holds a part of the picture.
func isVCL(typ byte) bool { return typ >= nalSlice && typ <= nalIDR }

// appendH264Marked copies the access unit with the marker's SEI before its first
// slice, where SEI belongs: behind access unit delimiter and parameter sets.
func appendH264Marked(dst, unit []byte, m Marker) []byte {
	marked := false
	for nal, rest := nextNAL(unit); nal != nil; nal, rest = nextNAL(rest) {
		if !marked && isVCL(nalType(nal)) {
			dst = appendMarkerSEI(append(dst, startCode...), m)
			marked = true
		}
		dst = append(append(dst, startCode...), nal...)
	}
	return dst
}

// appendMarkerSEI appends a whole SEI NAL unit, without start code.
func appendMarkerSEI(dst []byte, m Marker) []byte {
	var payload [len(markerUUID) + MarkerSize]byte
	copy(payload[:], markerUUID[:])
	AppendMarker(payload[:len(markerUUID)], m)

	dst = append(dst, nalSEI, seiUserData, byte(len(payload)))
	zeros := 0
	for _, b := range payload {
		// Emulation prevention (H.264 §7.4.1): two zeros and a byte up to 3 must not
		// follow each other.
		if zeros == 2 && b <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		dst = append(dst, b)
		if zeros++; b != 0 {
			zeros = 0
		}
	}
	return append(dst, 0x80)
}

// h264Marker looks for the marker in an access unit in Annex B form.
func h264Marker(unit []byte) (Marker, error) {
	for nal, rest := nextNAL(unit); nal != nil; nal, rest = nextNAL(rest) {
		if nalType(nal) == nalSEI {
			if m, err := seiMarker(nal); err != ErrNoMarker {
				return m, err
			}
		}
	}
	return Marker{}, ErrNoMarker
}

// seiMarker walks the messages of one SEI NAL unit.
func seiMarker(nal []byte) (Marker, error) {
	r := rbspReader{b: nal[1:]}
	for r.more() {
		typ, ok1 := r.seiNumber()
		size, ok2 := r.seiNumber()
		if !ok1 || !ok2 {
			break
		}
		if typ == seiUserData && size == len(markerUUID)+MarkerSize {
			var payload [len(markerUUID) + MarkerSize]byte
			if !r.read(payload[:]) {
				break
			}
			if [16]byte(payload[:16]) == markerUUID {
				return DecodeMarker(payload[16:])
			}
		} else if !r.skip(size) {
			break
		}
	}
	return Marker{}, ErrNoMarker
}

// rbspReader reads a NAL unit's payload without its emulation prevention bytes.
type rbspReader struct {
	b     []byte
	zeros int
}

// more tells whether another SEI message follows: the trailing bits are one byte.
func (r *rbspReader) more() bool { return len(r.b) > 1 }

func (r *rbspReader) next() (byte, bool) {
	if len(r.b) > 0 && r.zeros >= 2 && r.b[0] == 3 {
		r.b, r.zeros = r.b[1:], 0
	}
	if len(r.b) == 0 {
		return 0, false
	}
	c := r.b[0]
	r.b = r.b[1:]
	if r.zeros++; c != 0 {
		r.zeros = 0
	}
	return c, true
}

// seiNumber reads a payload type or size: bytes of 255 and a last one are added up.
func (r *rbspReader) seiNumber() (n int, ok bool) {
	for {
		c, ok := r.next()
		if !ok {
			return 0, false
		}
		n += int(c)
		if c != 255 {
			return n, true
		}
	}
}

func (r *rbspReader) read(p []byte) (ok bool) {
	for i := range p {
		if p[i], ok = r.next(); !ok {
			return false
		}
	}
	return true
}

func (r *rbspReader) skip(n int) bool {
	for range n {
		if _, ok := r.next(); !ok {
			return false
		}
	}
	return true
}

// h264Payload is what one RTP packet says about its frame (RFC 6184).
type h264Payload struct {
	// frameStart: the packet begins with a NAL unit that opens an access unit before
	// its slices. A packet with a slice may begin one too, that cannot be seen in it.
	frameStart bool
	key        bool
	marker     Marker
	// markerErr is ErrNoMarker unless there was one in the packet.
	markerErr error
}

// parseH264Payload reads single NAL unit packets, STAP-A and FU-A, the three forms
// of packetization modes 0 and 1.
func parseH264Payload(b []byte) (p h264Payload, ok bool) {
	p.markerErr = ErrNoMarker
	if len(b) < 2 {
		return p, false
	}
	switch typ := nalType(b); {
	case typ == nalSTAPA:
		return p, p.parseSTAPA(b[1:])
	case typ == nalFUA:
		p.key = b[1]&fuStart != 0 && b[1]&nalTypeMask == nalIDR
		return p, true
	case typ > 0 && typ < nalSTAPA:
		p.frameStart = opensAccessUnit(typ)
		p.add(b)
		return p, true
	default:
		return p, false
	}
}

func opensAccessUnit(typ byte) bool { return typ >= nalSEI && typ <= nalDelimiter }

func (p *h264Payload) parseSTAPA(b []byte) bool {
	for first := true; len(b) > 0; first = false {
		if len(b) < 2 {
			return false
		}
		size := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; size == 0 || size > len(b) {
			return false
		}
		if first {
			p.frameStart = opensAccessUnit(nalType(b))
		}
		p.add(b[:size])
		b = b[size:]
	}
	return true
}

func (p *h264Payload) add(nal []byte) {
	switch nalType(nal) {
	case nalIDR:
		p.key = true
	case nalSEI:
		if p.markerErr == ErrNoMarker {
			p.marker, p.markerErr = seiMarker(nal)
		}
	}
}
