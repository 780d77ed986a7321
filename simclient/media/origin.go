package media

import "time"

// The freeze rule of libwebrtc (video_quality_observer) and of W3C webrtc-stats
// freezeCount: the time between two frames reaches max(3 × average, average + 150 ms).
// As in libwebrtc, the average is that of the last 30 times, this one included, and
// there must be 5.
const (
	freezeMargin    = 150 * time.Millisecond
	freezeFactor    = 3
	freezeSamples   = 30
	freezeMinSample = 5
)

// cadence is the usual time between units.
type cadence struct {
	samples [freezeSamples]time.Duration
	n       int // ever added
	sum     time.Duration
}

// add takes the time since the unit before and tells whether it was a freeze.
func (c *cadence) add(d time.Duration) (frozen bool) {
	s := &c.samples[c.n%freezeSamples]
	c.sum += d - *s
	*s = d
	c.n++
	avg := c.average()
	return c.n >= freezeMinSample && d >= max(freezeFactor*avg, avg+freezeMargin)
}

func (c *cadence) average() time.Duration {
	return c.sum / time.Duration(min(max(c.n, 1), freezeSamples))
}

// pause returns how long the sender itself sent nothing between two units: their
// capture times lie so much further apart than the units between them explain that
// it would be a freeze otherwise.
func (c *cadence) pause(captured time.Duration, missing uint64) time.Duration {
	avg := c.average()
	surplus := captured - time.Duration(missing+1)*avg
	if c.n < freezeMinSample || surplus < max((freezeFactor-1)*avg, freezeMargin) {
		return 0
	}
	return surplus
}

// origin is one sent track as a sink sees it: the units that carry the same
// participant and track number.
type origin struct {
	call        uint64
	participant uint32
	track       uint8

	units   window
	newest  int64     // capture time of the unit with the highest sequence number
	shown   time.Time // its arrival
	rhythm  cadence
	flowing bool
	last    time.Time // arrival of the last good unit
	lostOld uint64    // lost in earlier runs of the source
	stats   OriginStats
}

// OriginStats counts what came from one participant.
type OriginStats struct {
	// Participant is the expected user with that hash, empty when none was expected.
	Participant string
	Hash        uint32
	Track       uint8
	// Good units were whole, marked, and had not come before.
	Good uint64
	// Lost units have a marker sequence number that did not come, counted between the
	// first and the last good unit. A unit that comes late is taken off again.
	Lost uint64
	// Restarts counts how often the sequence began anew.
	Restarts    uint64
	First, Last time.Time
}

// arrive puts a unit into the order of sequence numbers. A lower number with a newer
// capture time is no late unit but another run of the source; a far higher one with an
// older capture time is a straggler of the run before.
func (o *origin) arrive(m Marker) (a arrival, missing uint64) {
	seq := int64(m.Sequence)
	if o.units.started && seq <= o.units.highest && m.Capture > o.newest {
		o.lostOld += o.units.lost()
		o.units = window{}
		o.stats.Restarts++
	}
	if o.units.started && seq > o.units.highest+reorderWindow && m.Capture < o.newest {
		return late, 0
	}
	fresh := !o.units.started
	highest := o.units.highest
	a = o.units.mark(seq)
	if a == inOrder {
		o.newest = m.Capture
		if !fresh {
			missing = uint64(seq - highest - 1)
		}
	}
	return a, missing
}

func (o *origin) lost() uint64 { return o.lostOld + o.units.lost() }

func (o *origin) snapshot(expect *expectation) OriginStats {
	s := o.stats
	s.Participant, _ = expect.name(o.participant)
	s.Hash, s.Track, s.Lost = o.participant, o.track, o.lost()
	return s
}
