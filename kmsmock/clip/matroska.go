package clip

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/at-wat/ebml-go"
)

// codecIDs are the names of the codecs in Matroska.
var codecIDs = map[string]string{
	VP8: "V_VP8", VP9: "V_VP9", H264: "V_MPEG4/ISO/AVC", Opus: "A_OPUS", PCMU: "A_MS/ACM", PCMA: "A_MS/ACM",
}

// IDs of the elements that reading looks at (RFC 9559). Those that contain
// others are opened, all the rest is passed over.
const (
	idSegment       = 0x18538067
	idInfo          = 0x1549a966
	idTimecodeScale = 0x2ad7b1
	idDuration      = 0x4489
	idTracks        = 0x1654ae6b
	idTrackEntry    = 0xae
	idTrackNumber   = 0xd7
	idCodecID       = 0x86
	idCodecPrivate  = 0x63a2
	idAudio         = 0xe1
	idChannels      = 0x9f
	idVideo         = 0xe0
	idPixelWidth    = 0xb0
	idPixelHeight   = 0xba
	idCluster       = 0x1f43b675
	idTimecode      = 0xe7
	idSimpleBlock   = 0xa3
	idBlockGroup    = 0xa0
	idBlock         = 0xa1
)

var opened = map[uint64]bool{
	idSegment: true, idInfo: true, idTracks: true, idAudio: true, idVideo: true, idCluster: true, idBlockGroup: true,
}

// walk calls f with the elements of b that contain no others. Elements are
// opened where they begin, whatever they contain: so the end of those of
// unknown size needs no finding. It ends at damage.
func walk(b []byte, f func(id uint64, body []byte)) {
	for len(b) > 0 {
		id, n := number(b, false)
		size, m := number(b[n:], true)
		if n == 0 || m == 0 {
			return
		}
		b = b[n+m:]
		switch {
		case opened[id]:
		case size > uint64(len(b)):
			return
		default:
			f(id, b[:size])
			b = b[size:]
		}
	}
}

// number reads an EBML number of up to 8 bytes; an ID keeps the bits that tell
// its length. n is 0 where there is none.
func number(b []byte, plain bool) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = bits.LeadingZeros8(b[0]) + 1
	if n > 8 || n > len(b) {
		return 0, 0
	}
	v = uint64(b[0])
	if plain {
		v &= 0xff >> n
	}
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// unsigned reads a whole number.
func unsigned(b []byte) (v uint64) {
	for _, c := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(c)
	}
	return v
}

func float(b []byte) float64 {
	switch len(b) {
	case 4:
		return float64(math.Float32frombits(uint32(unsigned(b))))
	case 8:
		return math.Float64frombits(unsigned(b))
	}
	return 0
}

func readMatroska(b []byte) (*Clip, error) {
	m := &mkvReader{clip: &Clip{}, tracks: map[uint64]mkvSource{}, scale: time.Millisecond}
	walk(b, m.element)
	if len(m.clip.Tracks) == 0 {
		return nil, broken("Matroska", "no tracks that can be played")
	}
	if d := m.duration * float64(m.scale); d > 0 && d < float64(longest) {
		m.clip.Length = time.Duration(d)
	}
	return m.clip, nil
}

type mkvReader struct {
	clip     *Clip
	tracks   map[uint64]mkvSource
	scale    time.Duration // of a unit of time
	duration float64       // in such units
	cluster  uint64        // time of the present one
}

type mkvSource struct {
	index  int
	codec  string
	config []byte // H264: parameter sets with start codes
}

func (m *mkvReader) element(id uint64, body []byte) {
	switch id {
	case idTimecodeScale:
		if v := unsigned(body); v > 0 && v <= uint64(time.Second) {
			m.scale = time.Duration(v)
		}
	case idDuration:
		m.duration = float(body)
	case idTrackEntry:
		m.track(body)
	case idTimecode:
		m.cluster = unsigned(body)
	case idSimpleBlock, idBlock:
		m.block(body)
	}
}

// track takes a track of a codec that can be sent.
func (m *mkvReader) track(b []byte) {
	var id string
	var private []byte
	var key uint64
	t := Track{}
	walk(b, func(element uint64, body []byte) {
		switch element {
		case idTrackNumber:
			key = unsigned(body)
		case idCodecID:
			text, _, _ := bytes.Cut(body, []byte{0}) // GStreamer ends it so (RFC 8794, 13)
			id = string(text)
		case idCodecPrivate:
			private = body
		case idChannels:
			t.Channels = int(uint8(unsigned(body)))
		case idPixelWidth:
			t.Width = int(uint16(unsigned(body)))
		case idPixelHeight:
			t.Height = int(uint16(unsigned(body)))
		}
	})
	if t.Codec = codecOf(id, private); t.Codec == "" {
		return
	}
	source := mkvSource{index: len(m.clip.Tracks), codec: t.Codec}
	if t.Codec == H264 {
		source.config = startCodes(private)
	}
	m.tracks[key] = source
	m.clip.Tracks = append(m.clip.Tracks, t)
}

// codecOf is the codec of a name in Matroska, "" for one that is not known.
func codecOf(id string, private []byte) string {
	if id == codecIDs[PCMU] && len(private) >= 2 {
		return map[uint16]string{waveULaw: PCMU, waveALaw: PCMA}[binary.LittleEndian.Uint16(private)]
	}
	for _, codec := range []string{VP8, VP9, H264, Opus} {
		if codecIDs[codec] == id {
			return codec
		}
	}
	return ""
}

func (m *mkvReader) block(body []byte) {
	b := unlace(body)
	if b == nil {
		return
	}
	source, ok := m.tracks[b.TrackNumber]
	at := (float64(m.cluster) + float64(b.Timecode)) * float64(m.scale)
	if !ok || at > float64(longest) {
		return
	}
	for _, data := range b.Data {
		if source.codec == H264 {
			if data = withStartCodes(data); Key(H264, data) {
				data = append(bytes.Clone(source.config), data...)
			}
		}
		if len(data) > 0 {
			m.clip.Frames = append(m.clip.Frames, Frame{Track: source.index, At: time.Duration(at), Key: Key(source.codec, data), Data: data})
		}
	}
}

// unlace takes a block apart, nil for a broken one. The library answers damage
// that it did not think of with a panic.
func unlace(b []byte) (block *ebml.Block) {
	defer func() {
		if recover() != nil {
			block = nil
		}
	}()
	block, err := ebml.UnmarshalBlock(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil
	}
	return block
}

// withStartCodes turns H264 with a size of four bytes before each unit into
// H264 with start codes.
func withStartCodes(b []byte) []byte {
	var out []byte
	for len(b) > 4 {
		size := uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
		if size > uint64(len(b)) {
			break
		}
		out = append(append(out, 0, 0, 0, 1), b[:size]...)
		b = b[size:]
	}
	return out
}

// startCodes turns the parameter sets of an avcC box (ISO/IEC 14496-15,
// 5.3.3.1) into units with start codes.
func startCodes(b []byte) []byte {
	var out []byte
	if len(b) < 6 {
		return nil
	}
	count := int(b[5] & 0x1f)
	b = b[6:]
	for range 2 {
		for range count {
			if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
				return out
			}
			size := int(binary.BigEndian.Uint16(b))
			out = append(append(out, 0, 0, 0, 1), b[2:2+size]...)
			b = b[2+size:]
		}
		if len(b) == 0 {
			return out
		}
		count, b = int(b[0]), b[1:]
	}
	return out
}
