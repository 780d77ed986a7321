package media

import "errors"

var errOpusPacket = errors.New("mark unit: malformed Opus packet")

const (
	opusCodeMask    = 0x03
	opusPaddingFlag = 0x40
	opusVBRFlag     = 0x80
	opusCountMask   = 0x3F
)

// opusLayout is an Opus packet brought to the form of code 3: what its frame count
// byte would be, and the bytes from the frame lengths on, without padding.
type opusLayout struct {
	count byte
	body  []byte
}

// parseOpus rewrites the header of any packet as a code 3 header (RFC 6716 §3.2).
// The frame lengths of code 2 are written as those of code 3 with variable bit rate,
// and codes 0 and 1 are code 3 with constant bit rate and 1 or 2 frames, so the
// body never changes.
func parseOpus(packet []byte) (opusLayout, error) {
	if len(packet) == 0 {
		return opusLayout{}, errOpusPacket
	}
	body := packet[1:]
	switch packet[0] & opusCodeMask {
	case 0:
		return opusLayout{count: 1, body: body}, nil
	case 1:
		if len(body)%2 != 0 {
			return opusLayout{}, errOpusPacket
		}
		return opusLayout{count: 2, body: body}, nil
	case 2:
		if len(body) == 0 {
			return opusLayout{}, errOpusPacket
		}
		return opusLayout{count: 2 | opusVBRFlag, body: body}, nil
	default:
		return parseOpusCode3(body)
	}
}

func parseOpusCode3(b []byte) (opusLayout, error) {
	if len(b) == 0 || b[0]&opusCountMask == 0 {
		return opusLayout{}, errOpusPacket
	}
	count, body := b[0], b[1:]
	if count&opusPaddingFlag != 0 {
		lengthBytes, padding, ok := opusPadding(body)
		if !ok {
			return opusLayout{}, errOpusPacket
		}
		body = body[lengthBytes : len(body)-padding]
	}
	return opusLayout{count: count &^ opusPaddingFlag, body: body}, nil
}

// opusPadding reads the padding length (RFC 6716 §3.2.5): 255 stands for 254 bytes
// and another length byte.
func opusPadding(b []byte) (lengthBytes, padding int, ok bool) {
	for i, n := range b {
		if n < 255 {
			padding += int(n)
			lengthBytes = i + 1
			return lengthBytes, padding, lengthBytes+padding <= len(b)
		}
		padding += 254
	}
	return 0, 0, false
}

// appendOpusMarked writes the packet with code 3 and the marker as its padding.
// Padding that was there is dropped; the frames stay bit exact.
func appendOpusMarked(dst, packet []byte, m Marker) ([]byte, error) {
	layout, err := parseOpus(packet)
	if err != nil {
		return dst, err
	}
	dst = append(dst, packet[0]|opusCodeMask, layout.count|opusPaddingFlag, MarkerSize)
	dst = append(dst, layout.body...)
	return AppendMarker(dst, m), nil
}

// opusMarker reads the marker at the end of a packet's padding.
func opusMarker(packet []byte) (Marker, error) {
	if len(packet) < 3+MarkerSize || packet[0]&opusCodeMask != 3 || packet[1]&opusPaddingFlag == 0 {
		return Marker{}, ErrNoMarker
	}
	if _, padding, ok := opusPadding(packet[2:]); !ok || padding < MarkerSize {
		return Marker{}, ErrNoMarker
	}
	return trailerMarker(packet)
}
