// Package clip reads and writes recordings: WebM and Matroska both ways, IVF
// and Ogg for reading. Nothing is decoded; frames stay as a codec made them.
package clip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Codecs by their names in SDP, in upper case.
const (
	VP8  = "VP8"
	VP9  = "VP9"
	H264 = "H264"
	Opus = "OPUS"
	PCMU = "PCMU"
	PCMA = "PCMA"
)

var (
	// ErrUnknown means that the bytes are none of the known formats.
	ErrUnknown = errors.New("clip: unknown format")
	// ErrEmpty means that there is nothing to play in a file.
	ErrEmpty = errors.New("clip: no frames of a known codec")
)

// A Clip is a recording in memory.
type Clip struct {
	Tracks []Track
	Frames []Frame // in the order of time
	// Length is the time from the first frame's beginning to the last one's end.
	Length time.Duration
	// Untold means that the file itself does not say how long it is.
	Untold bool
}

// A Track is one medium of a clip.
type Track struct {
	Codec         string
	Width, Height int // of video, 0 if unknown
	Channels      int // of audio
}

// Audio tells whether the track is audio rather than video.
func (t Track) Audio() bool { return t.Codec == Opus || t.Codec == PCMU || t.Codec == PCMA }

// A Frame is an encoded picture or packet of audio. H264 has a start code
// before each unit (Annex B).
type Frame struct {
	Track int           // index in Tracks
	At    time.Duration // since the beginning
	Key   bool          // can be decoded without those before it
	Data  []byte
}

// Read reads a whole file of any of the formats. A file that breaks off gives
// what came before.
func Read(b []byte) (*Clip, error) {
	var c *Clip
	var err error
	switch {
	case bytes.HasPrefix(b, []byte{0x1a, 0x45, 0xdf, 0xa3}):
		c, err = readMatroska(b)
	case bytes.HasPrefix(b, []byte("DKIF")):
		c, err = readIVF(b)
	case bytes.HasPrefix(b, []byte("OggS")):
		c, err = readOgg(b)
	default:
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	if len(c.Frames) == 0 {
		return nil, ErrEmpty
	}
	c.settle()
	return c, nil
}

// settle sorts the frames, lets them begin at 0 at the earliest and measures
// the clip where the file does not say how long it is.
func (c *Clip) settle() {
	slices.SortStableFunc(c.Frames, func(a, b Frame) int { return int(min(max(a.At-b.At, -1), 1)) })
	first := c.Frames[0].At
	for i := range c.Frames {
		c.Frames[i].At -= first
	}
	last := c.Frames[len(c.Frames)-1].At
	if c.Length == 0 {
		c.Length = last + c.spacing()
	}
	c.Length = max(c.Length, last)
}

// spacing is the time between the last two frames of the track that ends last.
func (c *Clip) spacing() time.Duration {
	last := c.Frames[len(c.Frames)-1]
	for _, f := range slices.Backward(c.Frames[:len(c.Frames)-1]) {
		if f.Track == last.Track {
			return last.At - f.At
		}
	}
	return 0
}

// Key tells whether a frame of a codec can be decoded without those before it.
func Key(codec string, b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case codec == VP8:
		return b[0]&1 == 0
	case codec == VP9:
		_, _, key := vp9Header(b)
		return key
	case codec == H264:
		return slices.ContainsFunc(units(b), func(u []byte) bool { return u[0]&0x1f == 5 })
	}
	return true
}

// Size reads width and height off a key frame; 0 where it does not say.
func Size(codec string, b []byte) (width, height int) {
	switch codec {
	case VP8:
		if len(b) >= 10 && bytes.Equal(b[3:6], []byte{0x9d, 0x01, 0x2a}) {
			return int(b[6]) | int(b[7]&0x3f)<<8, int(b[8]) | int(b[9]&0x3f)<<8
		}
	case VP9:
		width, height, _ = vp9Header(b)
	case H264:
		for _, u := range units(b) {
			if u[0]&0x1f == 7 {
				return spsSize(u)
			}
		}
	}
	return width, height
}

func broken(format string, what any) error { return fmt.Errorf("clip: broken %s: %v", format, what) }
