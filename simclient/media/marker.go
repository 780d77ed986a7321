package media

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// MarkerSize is the length of an encoded marker in bytes.
const MarkerSize = 32

// markerVersion is raised when the layout changes, so that a sink never reads a
// marker of another release as something that it is not.
const markerVersion = 1

// The magic begins every marker.
const (
	magic0 = 0xF2
	magic1 = 0xCB
)

// Errors that FindMarker and DecodeMarker tell apart: a unit without a marker was
// transcoded or sent by somebody else, a damaged marker means that bytes changed
// on the way.
var (
	ErrNoMarker      = errors.New("no marker")
	ErrMarkerDamaged = errors.New("marker damaged: checksum differs")
	ErrMarkerVersion = errors.New("marker of another version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of a marker. crc32.Checksum gives the same, but lets its
// argument escape, which would cost an allocation for each frame.
func checksum(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc = castagnoli[byte(crc)^c] ^ crc>>8
	}
	return ^crc
}

// Identity names a sent track: which call, who sends, and which of the sender's
// tracks it is.
type Identity struct {
	Call        string
	Participant string
	// Track tells tracks of one participant apart, such as camera and screen.
	Track uint8
}

// Marker is what each frame or audio packet carries inside its codec payload.
// Call and participant are hashes, because a marker has one size whatever the
// identifiers look like; see [CallHash] and [ParticipantHash].
type Marker struct {
	Call        uint64
	Participant uint32
	Track       uint8
	// Sequence counts the units of one source from 0, one for each frame or packet.
	Sequence uint32
	// Capture is the time when the unit was handed to the network, in ns since 1970
	// by the sender's clock.
	Capture int64
}

// CaptureTime returns Capture as a time.
func (m Marker) CaptureTime() time.Time { return time.Unix(0, m.Capture) }

// AppendMarker appends the encoded marker to dst, [MarkerSize] bytes, big endian:
//
//	0 magic (2) | 2 version | 3 track | 4 call (8) | 12 participant (4)
//	16 sequence (4) | 20 capture (8) | 28 CRC-32C of bytes 0 to 27
func AppendMarker(dst []byte, m Marker) []byte {
	start := len(dst)
	dst = append(dst, magic0, magic1, markerVersion, m.Track)
	dst = binary.BigEndian.AppendUint64(dst, m.Call)
	dst = binary.BigEndian.AppendUint32(dst, m.Participant)
	dst = binary.BigEndian.AppendUint32(dst, m.Sequence)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Capture))
	return binary.BigEndian.AppendUint32(dst, checksum(dst[start:]))
}

// DecodeMarker reads a marker from the beginning of b.
func DecodeMarker(b []byte) (Marker, error) {
	if len(b) < MarkerSize || b[0] != magic0 || b[1] != magic1 {
		return Marker{}, ErrNoMarker
	}
	if b[2] != markerVersion {
		return Marker{}, ErrMarkerVersion
	}
	sum := binary.BigEndian.Uint32(b[28:])
	if checksum(b[:28]) != sum {
		return Marker{}, ErrMarkerDamaged
	}
	return Marker{
		Track:       b[3],
		Call:        binary.BigEndian.Uint64(b[4:]),
		Participant: binary.BigEndian.Uint32(b[12:]),
		Sequence:    binary.BigEndian.Uint32(b[16:]),
		Capture:     int64(binary.BigEndian.Uint64(b[20:])),
	}, nil
}

// CallHash is the 64-bit FNV-1a hash by which markers name a call.
func CallHash(call string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(call) {
		h = (h ^ uint64(call[i])) * 1099511628211
	}
	return h
}

// ParticipantHash is the 32-bit FNV-1a hash by which markers name a user.
func ParticipantHash(user string) uint32 {
	h := uint32(2166136261)
	for i := range len(user) {
		h = (h ^ uint32(user[i])) * 16777619
	}
	return h
}

// AppendMarked appends one coded unit (a VP8 frame, an Opus packet of code 0 with one
// CELT frame of 10 ms, or an H264 access unit in Annex B form) with the marker in it. See the package
// documentation for where the marker goes.
func AppendMarked(dst []byte, codec Codec, unit []byte, m Marker) ([]byte, error) {
	switch codec {
	case VP8:
		return AppendMarker(append(dst, unit...), m), nil
	case Opus:
		return appendOpusMarked(dst, unit, m)
	case H264:
		return appendH264Marked(dst, unit, m), nil
	default:
		return dst, errors.New("mark unit: unknown codec")
	}
}

// FindMarker reads the marker of one whole coded unit, as [AppendMarked] writes it.
func FindMarker(codec Codec, unit []byte) (Marker, error) {
	switch codec {
	case VP8:
		return trailerMarker(unit)
	case Opus:
		return opusMarker(unit)
	case H264:
		return h264Marker(unit)
	default:
		return Marker{}, ErrNoMarker
	}
}

func trailerMarker(unit []byte) (Marker, error) {
	if len(unit) < MarkerSize {
		return Marker{}, ErrNoMarker
	}
	return DecodeMarker(unit[len(unit)-MarkerSize:])
}
