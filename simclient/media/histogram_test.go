package media

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	low := time.Duration(-1)
	for i := range histBuckets {
		if bucketLow(i) <= low {
			t.Fatalf("bucket %d begins at %v, the one before at %v", i, bucketLow(i), low)
		}
		low = bucketLow(i)
		if got := bucketOf(low); got != i {
			t.Fatalf("%v falls into bucket %d, not %d", low, got, i)
		}
		if got := bucketOf(bucketLow(i+1) - 1); got != i {
			t.Fatalf("%v falls into bucket %d, not %d", bucketLow(i+1)-1, got, i)
		}
	}
	if bucketOf(time.Hour) != histBuckets-1 {
		t.Error("an hour is not in the last bucket")
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h, first, second Histogram
	rng := rand.New(rand.NewPCG(5, 6))
	var all []time.Duration
	for i := range 10000 {
		d := time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))
		all = append(all, d)
		h.Record(d)
		if i < 3000 {
			first.Record(d)
		} else {
			second.Record(d)
		}
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*10000)-1, 0)]
		if got := h.Quantile(q); got < want || float64(got) > 1.0626*float64(want)+2000 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
	if h.Min != all[0] || h.Max != all[9999] {
		t.Errorf("%v to %v", h.Min, h.Max)
	}
	merged := first
	merged.Merge(&second)
	if merged != h {
		t.Error("two halves merged are not the whole")
	}
	if d := h.Sub(&first); d.counts != second.counts || d.Sum != second.Sum || d.Count != second.Count {
		t.Error("the whole less a half is not the other half")
	}
}

func TestHistogramNegative(t *testing.T) {
	var h Histogram
	h.Record(-time.Second)
	h.Record(time.Second)
	if h.Negative != 1 || h.Min != 0 || h.Count != 2 {
		t.Errorf("%+v", h.Negative)
	}
	var empty Histogram
	if empty.Quantile(0.5) != 0 || empty.Mean() != 0 {
		t.Error("an empty histogram has values")
	}
	n := 0
	h.Each(func(low, high time.Duration, count uint32) {
		if n += int(count); low >= high {
			t.Errorf("bucket from %v to %v", low, high)
		}
	})
	if n != 2 {
		t.Errorf("%d in the buckets", n)
	}
}
