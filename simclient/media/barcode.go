package media

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A barcode is a picture of 16x12 cells: a dark rim, inside of it a bright ring, and inside
// of that 12x8 cells, bright for 1 and dark for 0, row by row.
const (
	barcodeColumns, barcodeRows = 16, 12
	bitColumns, bitRows         = 12, 8
	barcodeRim                  = 2 // cells around the bits: rim and ring
	barcodeSize                 = bitColumns * bitRows / 8

	// BarcodeWidth and BarcodeHeight are the size of the picture in pixels.
	BarcodeWidth, BarcodeHeight = barcodeColumns * mbSize, barcodeRows * mbSize

	barcodeDark, barcodeBright = 16, 235 // black and white of video
)

// barcodeVersion is part of the checksum: a reader takes no code of another layout.
const barcodeVersion = 1

// barcodeSeconds is how long a barcode clip is, and so how far its counter goes.
const barcodeSeconds = 16

// ClipBarcode is VP8 of 256x192 at about 200 kbit/s that shows a [Barcode] of whoever sends it. A
// marker tells more and dies where media are transcoded, as in a mixer; a barcode lives on.
const ClipBarcode = "barcode"

// Barcode is what the picture of a [ClipBarcode] says. It names its origin by the same
// hashes as a [Marker]; of that of the call it has the lowest 16 bits.
type Barcode struct {
	Call        uint16
	Participant uint32
	Track       uint8
	// Count grows by one with each key frame of the source, one a second, and begins anew behind
	// 15: a picture that stands still in a mix has the same one again and again.
	Count uint8
}

// BarcodeOf returns the barcode that names the sender, with count 0.
func BarcodeOf(id Identity) Barcode {
	return Barcode{Call: uint16(CallHash(id.Call)), Participant: ParticipantHash(id.Participant), Track: id.Track}
}

// Names tells whether the barcode names the sender, whatever its count.
func (b Barcode) Names(id Identity) bool {
	return b.sameOrigin(BarcodeOf(id))
}

func (b Barcode) sameOrigin(other Barcode) bool {
	b.Count = other.Count
	return b == other
}

// encode returns the bits, the first one highest: participant (32), call (16), track (8),
// count (8), and CRC-32C of these and the version.
func (b Barcode) encode() (code [barcodeSize]byte) {
	binary.BigEndian.PutUint32(code[0:], b.Participant)
	binary.BigEndian.PutUint16(code[4:], b.Call)
	code[6], code[7] = b.Track, b.Count
	binary.BigEndian.PutUint32(code[8:], barcodeChecksum(&code))
	return code
}

func barcodeChecksum(code *[barcodeSize]byte) uint32 {
	var sealed [9]byte
	copy(sealed[:], code[:8])
	sealed[8] = barcodeVersion
	return checksum(sealed[:])
}

// decodeBarcode is the opposite of encode; ok is false where the checksum differs.
func decodeBarcode(code *[barcodeSize]byte) (b Barcode, ok bool) {
	b = Barcode{
		Participant: binary.BigEndian.Uint32(code[0:]),
		Call:        binary.BigEndian.Uint16(code[4:]),
		Track:       code[6],
		Count:       code[7],
	}
	return b, binary.BigEndian.Uint32(code[8:]) == barcodeChecksum(code)
}

// picture draws the barcode, a macroblock a cell.
func (b Barcode) picture() *mosaic {
	m := &mosaic{columns: barcodeColumns, rows: barcodeRows, luma: make([]uint8, barcodeColumns*barcodeRows)}
	code := b.encode()
	for i := range m.luma {
		m.luma[i] = barcodeDark
		if brightCell(&code, i%barcodeColumns, i/barcodeColumns) {
			m.luma[i] = barcodeBright
		}
	}
	return m
}

func brightCell(code *[barcodeSize]byte, x, y int) bool {
	const last = barcodeRim - 1
	x, y = x-barcodeRim, y-barcodeRim
	if x >= 0 && x < bitColumns && y >= 0 && y < bitRows {
		bit := y*bitColumns + x
		return code[bit/8]>>(7-bit%8)&1 != 0
	}
	return x >= -last && x < bitColumns+last && y >= -last && y < bitRows+last // the ring
}

// NewBarcodeClip makes a clip such as [ClipBarcode] of about the given bits per second. VP8 frames are
// filled up with zeros behind the last partition, where the marker is and decoders do not look;
// at 0 they are as small as they can be, about 17 kbit/s with markers.
func NewBarcodeClip(bitrate int) *Clip {
	c := &Clip{name: ClipBarcode, codec: VP8, num: 1, den: 30}
	c.barcode = func(id Identity) []unit { return barcodeUnits(BarcodeOf(id), c.den, bitrate) }
	c.units = c.barcode(Identity{})
	return c
}

// NewBarcodeClipOf is NewBarcodeClip as that sender sends it, for whoever wants its frames.
func NewBarcodeClipOf(id Identity, bitrate int) *Clip { return NewBarcodeClip(bitrate).of(id) }

// of returns the clip as that sender sends it.
func (c *Clip) of(id Identity) *Clip {
	if c.barcode == nil {
		return c
	}
	own := *c
	own.units = c.barcode(id)
	return &own
}

// barcodeUnits codes a key frame each second, and between them one that repeats it. What
// is equal is one piece of memory: a clip takes some 60 kB.
func barcodeUnits(b Barcode, rate int64, bitrate int) []unit {
	size := int(int64(bitrate)/8/rate) - MarkerSize
	still := filled(appendStillFrame(nil, barcodeColumns, barcodeRows), size)
	units := make([]unit, 0, barcodeSeconds*rate)
	for b.Count = range uint8(barcodeSeconds) {
		units = append(units, unit{data: filled(b.picture().appendKeyFrame(nil), size), key: true})
		for range rate - 1 {
			units = append(units, unit{data: still})
		}
	}
	return units
}

func filled(frame []byte, size int) []byte {
	return append(frame, make([]byte, max(size-len(frame), 0))...)
}

// String tells the barcode's fields as events do.
func (b Barcode) String() string {
	return fmt.Sprintf("call %04x participant %08x track %d count %d", b.Call, b.Participant, b.Track, b.Count)
}

// Sighting is a barcode that was read in a picture.
type Sighting struct {
	Barcode
	// At is when the picture was looked at.
	At time.Time
	// X, Y, Width and Height are where the barcode's picture is, in pixels.
	X, Y, Width, Height int
}
