package clip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/at-wat/ebml-go"
)

// codecIDs are the names of the codecs in Matroska.
var codecIDs = map[string]string{
	VP8: "V_VP8", VP9: "V_VP9", H264: "V_MPEG4/ISO/AVC", Opus: "A_OPUS", PCMU: "A_MS/ACM", PCMA: "A_MS/ACM",
}

// The parts of a file that reading looks at.
type (
	mkvFile    struct{ Segment mkvSegment }
	mkvSegment struct {
		Info struct {
			TimecodeScale uint64
			Duration      float64
		}
		Tracks struct{ TrackEntry []mkvTrack }
		// Cluster has blocks with times relative to its own.
		Cluster []mkvCluster
	}
	mkvTrack struct {
		TrackNumber  uint64
		CodecID      string
		CodecPrivate []byte
		Audio        struct{ Channels uint64 }
		Video        struct{ PixelWidth, PixelHeight uint64 }
	}
	mkvCluster struct {
		Timecode    uint64
		SimpleBlock []ebml.Block
		BlockGroup  []struct{ Block ebml.Block }
	}
)

// largestElement bounds what a damaged size may make the reader allocate.
const largestElement = 16 << 20

func readMatroska(b []byte) (*Clip, error) {
	var file mkvFile
	err := unmarshal(b, &file)
	c := &Clip{}
	m := &mkvReader{clip: c, tracks: map[uint64]mkvSource{}, scale: time.Duration(min(file.Segment.Info.TimecodeScale, uint64(time.Second)))}
	if m.scale == 0 {
		m.scale = time.Millisecond
	}
	for _, t := range file.Segment.Tracks.TrackEntry {
		m.add(t)
	}
	if len(c.Tracks) == 0 {
		if err == nil {
			err = ErrEmpty
		}
		return nil, broken("Matroska", err)
	}
	for _, cluster := range file.Segment.Cluster {
		m.blocks(cluster)
	}
	if d := file.Segment.Info.Duration * float64(m.scale); d > 0 && d < float64(longest) {
		c.Length = time.Duration(d)
	}
	return c, nil
}

// unmarshal reads as much as it can. The library answers damage that it did
// not think of with a panic.
func unmarshal(b []byte, into *mkvFile) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return ebml.Unmarshal(bytes.NewReader(b), into, ebml.WithMaxLeafElementSize(largestElement))
}

type mkvReader struct {
	clip   *Clip
	tracks map[uint64]mkvSource
	scale  time.Duration
}

type mkvSource struct {
	index  int
	codec  string
	config []byte // H264: parameter sets with start codes
}

// add takes a track of a codec that can be sent.
func (m *mkvReader) add(t mkvTrack) {
	track := Track{Width: int(t.Video.PixelWidth), Height: int(t.Video.PixelHeight), Channels: int(t.Audio.Channels)}
	for codec, id := range codecIDs {
		if id == t.CodecID && id != "A_MS/ACM" {
			track.Codec = codec
		}
	}
	if t.CodecID == "A_MS/ACM" && len(t.CodecPrivate) >= 2 {
		track.Codec = map[uint16]string{waveULaw: PCMU, waveALaw: PCMA}[binary.LittleEndian.Uint16(t.CodecPrivate)]
	}
	if track.Codec == "" {
		return
	}
	source := mkvSource{index: len(m.clip.Tracks), codec: track.Codec}
	if track.Codec == H264 {
		source.config = startCodes(t.CodecPrivate)
	}
	m.tracks[t.TrackNumber] = source
	m.clip.Tracks = append(m.clip.Tracks, track)
}

func (m *mkvReader) blocks(cluster mkvCluster) {
	for _, b := range cluster.SimpleBlock {
		m.block(cluster.Timecode, b)
	}
	for _, g := range cluster.BlockGroup {
		m.block(cluster.Timecode, g.Block)
	}
}

func (m *mkvReader) block(base uint64, b ebml.Block) {
	source, ok := m.tracks[b.TrackNumber]
	at := float64(base)*float64(m.scale) + float64(b.Timecode)*float64(m.scale)
	if !ok || at > float64(longest) {
		return
	}
	for _, data := range b.Data {
		if len(data) == 0 {
			continue
		}
		if source.codec == H264 {
			if data = withStartCodes(data); Key(H264, data) {
				data = append(bytes.Clone(source.config), data...)
			}
		}
		m.clip.Frames = append(m.clip.Frames, Frame{Track: source.index, At: time.Duration(at), Key: Key(source.codec, data), Data: data})
	}
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
