package clip

import (
	"bytes"
	"encoding/binary"
	"time"
)

// An oggPage is a page of RFC 3533: packets, the last of which may go on in
// the next page.
type oggPage struct {
	serial  uint32
	packets [][]byte
	open    bool // the last packet goes on
	joined  bool // the first packet began earlier
}

const oggHeader = 27

// cutOgg takes the first page off b; ok is false at the end and at damage.
func cutOgg(b []byte) (page oggPage, rest []byte, ok bool) {
	if len(b) < oggHeader || !bytes.HasPrefix(b, []byte("OggS")) || len(b) < oggHeader+int(b[26]) {
		return page, nil, false
	}
	page.joined, page.serial = b[5]&1 != 0, binary.LittleEndian.Uint32(b[14:])
	lacing := b[oggHeader : oggHeader+int(b[26])]
	b = b[oggHeader+len(lacing):]
	size := 0
	for _, n := range lacing {
		size += int(n)
		if page.open = n == 255; page.open {
			continue
		}
		if size > len(b) {
			return page, nil, false
		}
		page.packets, b, size = append(page.packets, b[:size]), b[size:], 0
	}
	if page.open {
		if size > len(b) {
			return page, nil, false
		}
		page.packets, b = append(page.packets, b[:size]), b[size:]
	}
	return page, b, true
}

// readOgg reads the first Opus stream of a file (RFC 7845).
func readOgg(b []byte) (*Clip, error) {
	page, rest, ok := cutOgg(b)
	if !ok || len(page.packets) == 0 || !bytes.HasPrefix(page.packets[0], []byte("OpusHead")) || len(page.packets[0]) < 12 {
		return nil, broken("Ogg", "does not begin with Opus")
	}
	c := &Clip{Tracks: []Track{{Codec: Opus, Channels: int(page.packets[0][9])}}}
	skip := time.Duration(binary.LittleEndian.Uint16(page.packets[0][10:])) * time.Second / 48000
	serial, at := page.serial, time.Duration(0)
	var part []byte
	for {
		if page, rest, ok = cutOgg(rest); !ok {
			break
		}
		if page.serial != serial {
			continue
		}
		if !page.joined {
			part = nil
		}
		for i, p := range page.packets {
			part = append(part, p...)
			if i == len(page.packets)-1 && page.open {
				break
			}
			if len(part) > 0 && !bytes.HasPrefix(part, []byte("OpusTags")) {
				c.Frames = append(c.Frames, Frame{At: at, Key: true, Data: part})
				at += opusLength(part)
			}
			part = nil
		}
	}
	c.Length = at - skip
	return c, nil
}

// opusLength is the time that a packet plays (RFC 6716, 3.1 and 3.2).
func opusLength(b []byte) time.Duration {
	var frame time.Duration
	switch config := b[0] >> 3; {
	case config < 12: // SILK
		frame = []time.Duration{10, 20, 40, 60}[config%4] * time.Millisecond
	case config < 16: // hybrid
		frame = []time.Duration{10, 20}[config%2] * time.Millisecond
	default: // CELT
		frame = 2500 * time.Microsecond << (config % 4)
	}
	switch b[0] & 3 {
	case 0:
		return frame
	case 3:
		if len(b) > 1 {
			return frame * time.Duration(b[1]&0x3f)
		}
		return 0
	}
	return 2 * frame
}
