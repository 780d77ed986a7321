package chromium

import (
	"hash/maphash"
	"image"
	"log/slog"
	"time"

	"github.com/callbench/callbench/simclient/media"
)

const (
	// frozenAfter is how long a picture may stand still: the barcode of a clip has
	// another count each second.
	frozenAfter = 2500 * time.Millisecond
	// tellEvery is how often what is seen is told although it is the same.
	tellEvery = time.Second
	// blackBelow is the brightness that no pixel of a black picture reaches.
	blackBelow = 40
)

// frame is one rendered picture.
type frame struct {
	width, height int
	shown         uint32 // frames so far
	bright        []byte
}

// sight is what is seen in a tab's video element.
type sight struct {
	tell func(kind string, attrs ...slog.Attr)
	name func(media.Barcode) string

	scanner media.Scanner
	seed    maphash.Seed
	last    uint64 // what the last picture showed
	moved   time.Time
	state   string
	from    string
	told    time.Time
}

// look looks at a picture and tells what it sees: at once if that is another than
// before, and each second. Only one goroutine may look.
func (s *sight) look(f frame, at time.Time) {
	found := s.scanner.Scan(&image.Gray{Pix: f.bright, Stride: f.width, Rect: image.Rect(0, 0, f.width, f.height)})
	if shows := s.content(f, found); shows != s.last || s.moved.IsZero() {
		s.last, s.moved = shows, at
	}
	state, from := s.judge(f, found, at), ""
	if len(found) > 0 {
		from = s.name(found[0].Barcode)
	}
	if state == s.state && from == s.from && at.Sub(s.told) < tellEvery {
		return
	}
	s.state, s.from, s.told = state, from, at
	s.tell("media.picture", slog.String("media", string(media.Video)), slog.String("state", state), slog.String("from", from),
		slog.Int("width", f.width), slog.Int("height", f.height), slog.Uint64("frames", uint64(f.shown)))
	for _, b := range found {
		s.tell("media.seen", slog.String("media", string(media.Video)), slog.String("from", s.name(b.Barcode)), slog.Uint64("track", uint64(b.Track)),
			slog.Uint64("from_hash", uint64(b.Participant)), slog.Uint64("call_hash", uint64(b.Call)), slog.Uint64("count", uint64(b.Count)),
			slog.Int("x", b.X), slog.Int("y", b.Y), slog.Int("width", b.Width), slog.Int("height", b.Height), slog.Int("pictures", len(found)))
	}
}

// content stands for what a picture shows: the counts of its barcodes, or its
// pixels if it has none.
func (s *sight) content(f frame, found []media.Sighting) uint64 {
	if s.seed == (maphash.Seed{}) {
		s.seed = maphash.MakeSeed()
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, b := range found {
		h.WriteByte(b.Count)
	}
	if len(found) == 0 {
		h.Write(f.bright)
	}
	return h.Sum64()
}

// judge says what a picture is: moving with a barcode in it, frozen, black, or
// unknown.
func (s *sight) judge(f frame, found []media.Sighting, at time.Time) string {
	switch {
	case len(found) == 0 && black(f.bright):
		return "black"
	case at.Sub(s.moved) >= frozenAfter:
		return "frozen"
	case len(found) == 0:
		return "unknown"
	default:
		return "moving"
	}
}

func black(bright []byte) bool {
	for _, b := range bright {
		if b >= blackBelow {
			return false
		}
	}
	return true
}
