package media

import (
	"bytes"
	"fmt"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
	"golang.org/x/image/vp8"
)

// maxKeyFrame is the largest key frame that a viewer collects, in bytes.
const maxKeyFrame = 1 << 20

// ViewerConfig configures a [Viewer]. The zero value looks at every key frame.
type ViewerConfig struct {
	// Every is how long a viewer rests after a look. A look takes 10 to 20 ms of CPU time at 800x600.
	Every time.Duration
	// OnLook is called with each picture that was looked at, from the goroutine that pushed its last
	// packet. It must not push; what it is given is good until it returns.
	OnLook func(Look)
}

// Look is what a viewer saw in one picture.
type Look struct {
	At            time.Time
	Width, Height int
	Found         []Sighting
}

// Viewer takes the RTP packets of a VP8 track and looks for barcodes in its key frames: they
// tell who is in a mix, where markers are gone. VP8 is what it can decode; other codecs
// carry barcodes as well, and need a decoder that is not in pure Go.
//
// Key frames come when they are asked for: whoever owns the connection sends a PLI while
// Due says so.
type Viewer struct {
	every  time.Duration
	onLook func(Look)

	mu         sync.Mutex
	packet     rtp.Packet // reused
	frame      []byte     // the key frame on its way
	collecting bool
	timestamp  uint32
	next       uint16
	decoder    *vp8.Decoder
	scanner    Scanner
	stats      ViewerStats
	seen       []Seen
}

// ViewerStats counts what a viewer did.
type ViewerStats struct {
	// KeyFrames were looked at, Broken had packets missing, out of order or undecodable.
	KeyFrames, Broken uint64
	// Read barcodes were legible. Unreadable ones showed their ring, and a wrong checksum.
	Read, Unreadable uint64
	// Blank key frames showed no barcode.
	Blank uint64
	// Last is when a picture was looked at last.
	Last time.Time
}

// Seen is a barcode's origin, as a viewer saw it over time.
type Seen struct {
	// Barcode is the newest one.
	Barcode Barcode
	// Times is in how many pictures it was.
	Times       uint64
	First, Last Sighting
	// Moved is when the count was another one than before, or the barcode was new: what does not
	// move stands still.
	Moved time.Time
}

// NewViewer makes a viewer.
func NewViewer(cfg ViewerConfig) *Viewer {
	return &Viewer{every: cfg.Every, onLook: cfg.OnLook, decoder: vp8.NewDecoder()}
}

// Due tells whether the viewer has rested long enough and wants a key frame.
func (v *Viewer) Due(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.due(now)
}

func (v *Viewer) due(now time.Time) bool {
	return v.stats.Last.IsZero() || now.Sub(v.stats.Last) >= v.every
}

// Push takes one RTP packet that arrived at the given time, in the order in which it was sent; it is
// not kept. A key frame with a packet missing or late is passed over.
func (v *Viewer) Push(packet []byte, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.collecting && !v.due(at) || v.packet.Unmarshal(packet) != nil || len(v.packet.Payload) == 0 {
		return
	}
	h := &v.packet.Header
	payload, ok := parseVP8Payload(v.packet.Payload)
	switch {
	case !ok:
		return
	case payload.frameStart && (!v.collecting || h.Timestamp != v.timestamp):
		v.giveUp()
		if v.collecting = vp8KeyFrame(payload.data) && v.due(at); !v.collecting {
			return
		}
		v.timestamp, v.frame = h.Timestamp, v.frame[:0]
	case v.collecting && (h.Timestamp != v.timestamp || h.SequenceNumber != v.next):
		v.giveUp()
		return
	case !v.collecting:
		return
	}
	v.next = h.SequenceNumber + 1
	if v.frame = append(v.frame, payload.data...); len(v.frame) > maxKeyFrame {
		v.giveUp()
	} else if h.Marker {
		v.collecting = false
		v.look(at)
	}
}

func (v *Viewer) giveUp() {
	if v.collecting {
		v.collecting = false
		v.stats.Broken++
	}
}

// look decodes the key frame and reads what it shows.
func (v *Viewer) look(at time.Time) {
	img, err := v.decode()
	if err != nil {
		v.stats.Broken++
		return
	}
	v.stats.KeyFrames++
	v.stats.Last = at
	found := v.scanner.Scan(img)
	v.stats.Unreadable = v.scanner.Unreadable
	v.stats.Read += uint64(len(found))
	if len(found) == 0 {
		v.stats.Blank++
	}
	for i := range found {
		found[i].At = at
		v.remember(found[i])
	}
	if v.onLook != nil {
		v.onLook(Look{At: at, Width: img.Rect.Dx(), Height: img.Rect.Dy(), Found: found})
	}
}

func (v *Viewer) decode() (*image.YCbCr, error) {
	v.decoder.Init(bytes.NewReader(v.frame), len(v.frame))
	if _, err := v.decoder.DecodeFrameHeader(); err != nil {
		return nil, fmt.Errorf("decode key frame: %w", err)
	}
	img, err := v.decoder.DecodeFrame()
	if err != nil {
		return nil, fmt.Errorf("decode key frame: %w", err)
	}
	return img, nil
}

func (v *Viewer) remember(s Sighting) {
	i := slices.IndexFunc(v.seen, func(o Seen) bool { return o.Barcode.sameOrigin(s.Barcode) })
	if i < 0 {
		if len(v.seen) == maxOrigins {
			return
		}
		i = len(v.seen)
		v.seen = append(v.seen, Seen{First: s, Moved: s.At})
	}
	o := &v.seen[i]
	if o.Times > 0 && o.Barcode.Count != s.Count {
		o.Moved = s.At
	}
	o.Barcode, o.Last = s.Barcode, s
	o.Times++
}

// Stats returns the figures so far.
func (v *Viewer) Stats() ViewerStats {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stats
}

// Seen returns every origin that was seen so far, in the order of first sight.
func (v *Viewer) Seen() []Seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.seen)
}

// Saw returns when the sender was seen last; ok is false if it was not.
func (v *Viewer) Saw(id Identity) (seen Seen, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.seen, func(o Seen) bool { return o.Barcode.Names(id) })
	if i < 0 {
		return Seen{}, false
	}
	return v.seen[i], true
}
