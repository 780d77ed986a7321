package media

import (
	"math"
	"math/bits"
	"time"
)

// Buckets are powers of two of a microsecond, each cut in 16: a value is known to
// within 6.25 %. The last one takes everything from 68 s on.
const (
	subBuckets  = 16
	histBuckets = 24 * subBuckets
)

// Histogram counts durations. The zero value is empty; it can be copied, and two can
// be merged without loss, which averages and percentiles cannot.
type Histogram struct {
	counts [histBuckets]uint32
	// Count is the number of durations recorded, Sum their total, and Negative how many
	// were below zero (the clocks of both ends differ): they count as zero.
	Count    uint64
	Negative uint64
	Sum      time.Duration
	// Min and Max are exact; both are 0 in an empty histogram.
	Min, Max time.Duration
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	if d < 0 {
		h.Negative++
		d = 0
	}
	if h.Count == 0 || d < h.Min {
		h.Min = d
	}
	if d > h.Max {
		h.Max = d
	}
	h.Count++
	h.Sum += d
	h.counts[bucketOf(d)]++
}

func bucketOf(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us < subBuckets {
		return int(us)
	}
	exp := bits.Len64(us) - 5 // of the lowest bit that is kept
	return min((exp+1)*subBuckets+int(us>>exp)-subBuckets, histBuckets-1)
}

// bucketLow is the smallest duration that falls into bucket i.
func bucketLow(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i) * time.Microsecond
	}
	exp := i/subBuckets - 1
	return time.Duration(i%subBuckets+subBuckets) << exp * time.Microsecond
}

// Mean returns the average, 0 when nothing was recorded.
func (h *Histogram) Mean() time.Duration {
	if h.Count == 0 {
		return 0
	}
	return h.Sum / time.Duration(h.Count)
}

// Quantile returns the duration that the part q (0 to 1) of all recorded durations
// does not exceed, to the resolution of the buckets; 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(q*float64(h.Count))), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += uint64(n); n > 0 && seen >= rank {
			return min(max(bucketLow(i+1), h.Min), h.Max)
		}
	}
	return h.Max
}

// Each calls f for every bucket that is not empty, in rising order, with the range
// [low, high) of its durations.
func (h *Histogram) Each(f func(low, high time.Duration, count uint32)) {
	for i, n := range h.counts {
		if n > 0 {
			f(bucketLow(i), bucketLow(i+1), n)
		}
	}
}

// Merge adds what o recorded.
func (h *Histogram) Merge(o *Histogram) {
	if o.Count == 0 {
		return
	}
	if h.Count == 0 || o.Min < h.Min {
		h.Min = o.Min
	}
	h.Max = max(h.Max, o.Max)
	h.Count += o.Count
	h.Negative += o.Negative
	h.Sum += o.Sum
	for i, n := range o.counts {
		h.counts[i] += n
	}
}

// Sub returns what was recorded since prev, an earlier copy of the same histogram.
// Min and Max of the difference are those of its buckets.
func (h *Histogram) Sub(prev *Histogram) Histogram {
	d := Histogram{Count: h.Count - prev.Count, Negative: h.Negative - prev.Negative, Sum: h.Sum - prev.Sum}
	empty := true
	for i := range h.counts {
		n := h.counts[i] - prev.counts[i]
		if d.counts[i] = n; n == 0 {
			continue
		}
		if empty {
			d.Min, empty = max(bucketLow(i), h.Min), false
		}
		d.Max = min(bucketLow(i+1), h.Max)
	}
	return d
}
