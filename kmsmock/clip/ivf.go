package clip

import (
	"encoding/binary"
	"time"
)

const ivfHeader, ivfFrame = 32, 12 // bytes before the frames, and before each

// readIVF reads the container of the VPx tools: a header of 32 bytes, then
// frames, each behind its size and time stamp.
func readIVF(b []byte) (*Clip, error) {
	if len(b) < ivfHeader {
		return nil, broken("IVF", "short header")
	}
	codec := map[string]string{"VP80": VP8, "VP90": VP9, "H264": H264}[string(b[8:12])]
	le := binary.LittleEndian
	rate, scale := le.Uint32(b[16:]), le.Uint32(b[20:])
	if codec == "" || rate == 0 || scale == 0 {
		return nil, broken("IVF", "codec or time base")
	}
	c := &Clip{Untold: true, Tracks: []Track{{Codec: codec, Width: int(le.Uint16(b[12:])), Height: int(le.Uint16(b[14:]))}}}
	unit := float64(scale) / float64(rate) * float64(time.Second)
	for b = b[ivfHeader:]; len(b) >= ivfFrame; {
		size := uint64(le.Uint32(b))
		at := float64(le.Uint64(b[4:])) * unit
		b = b[ivfFrame:]
		if size > uint64(len(b)) || at > float64(longest) {
			break
		}
		if data := b[:size]; size > 0 {
			c.Frames = append(c.Frames, Frame{At: time.Duration(at), Key: Key(codec, data), Data: data})
		}
		b = b[size:]
	}
	return c, nil
}

// longest is the time after which a time stamp counts as damage.
const longest = 1000 * time.Hour
