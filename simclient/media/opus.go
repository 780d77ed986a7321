package media

import (
	"bytes"
	"errors"
	"fmt"
)

// The table of contents byte (RFC 6716 §3.1): configuration, stereo flag, code.
const (
	opusCodeMask = 0x03
	opusCodeTwo  = 0x02 // two frames, the length of the first is written (§3.2.4)
	opusCELT     = 0x80 // configurations from 16 on are CELT-only
	opusSizeMask = 0x18
	opusSize10ms = 0x10 // of CELT-only: 2.5, 5, 10 or 20 ms
)

const (
	// From 252 on a frame length takes two bytes, the second counts fours (§3.2.1).
	opusLongLength = 252
	// maxOpusFrame is what fits into one RTP packet together with the marker.
	maxOpusFrame = maxPayload - 1 - 2 - opusMarkerFrame
	// opusMarkerFrame is the length of the frame that carries the marker.
	opusMarkerFrame = len(opusSilence) + MarkerSize
)

// opusSilence begins a CELT frame that is silent whatever follows. The first symbol of
// a frame is the silence flag, whose probability is 1/32768 (RFC 6716 §4.3), so it
// is set exactly when the first 15 bits of the frame are ones. The 16th bit is
// zero as encoders write it.
const opusSilence = "\xff\xfe"

var (
	errOpusPacket = errors.New("not an Opus packet of code 0 with one CELT frame of 10 ms")
	errOpusDTX    = errors.New("opus packet of DTX: the frame is empty")
)

// opusFrame returns the frame of a packet that can be marked.
func opusFrame(packet []byte) ([]byte, error) {
	switch {
	case len(packet) == 0 || !celt10ms(packet[0]) || packet[0]&opusCodeMask != 0:
		return nil, errOpusPacket
	case len(packet) <= 2: // §2.1.9; decoders conceal a frame of up to one byte
		return nil, errOpusDTX
	case len(packet)-1 > maxOpusFrame:
		return nil, fmt.Errorf("opus frame of %d bytes, more than the %d that fit with a marker", len(packet)-1, maxOpusFrame)
	}
	return packet[1:], nil
}

func celt10ms(toc byte) bool { return toc&opusCELT != 0 && toc&opusSizeMask == opusSize10ms }

// appendOpusMarked writes the packet with code 2: its frame, and a silent one of the
// same configuration that holds the marker. The packet then lasts 20 ms.
func appendOpusMarked(dst, packet []byte, m Marker) ([]byte, error) {
	frame, err := opusFrame(packet)
	if err != nil {
		return dst, fmt.Errorf("mark unit: %w", err)
	}
	dst = append(dst, packet[0]|opusCodeTwo)
	dst = appendOpusLength(dst, len(frame))
	dst = append(dst, frame...)
	return AppendMarker(append(dst, opusSilence...), m), nil
}

func appendOpusLength(dst []byte, n int) []byte {
	if n < opusLongLength {
		return append(dst, byte(n))
	}
	first := opusLongLength + n&3
	return append(dst, byte(first), byte((n-first)>>2))
}

// opusMarker reads the marker of a packet as appendOpusMarked writes it.
func opusMarker(packet []byte) (Marker, error) {
	if len(packet) < 2 || !celt10ms(packet[0]) || packet[0]&opusCodeMask != opusCodeTwo {
		return Marker{}, ErrNoMarker
	}
	start, ok := opusSecondFrame(packet)
	if !ok || len(packet)-start != opusMarkerFrame || !bytes.HasPrefix(packet[start:], []byte(opusSilence)) {
		return Marker{}, ErrNoMarker
	}
	return DecodeMarker(packet[start+len(opusSilence):])
}

// opusSecondFrame returns where the second frame of a packet of code 2 begins; ok is
// false when the first does not end before the packet does.
func opusSecondFrame(packet []byte) (start int, ok bool) {
	n := int(packet[1])
	start = 2 + n
	if n >= opusLongLength {
		if len(packet) < 3 {
			return 0, false
		}
		start = 3 + n + 4*int(packet[2])
	}
	return start, start <= len(packet)
}
