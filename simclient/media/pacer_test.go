package media

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// beat runs every period and writes down when.
type beat struct {
	period time.Duration
	left   int
	ran    func(at time.Time)
}

func (b *beat) tick(now time.Time) (time.Time, bool) {
	b.ran(now)
	b.left--
	return now.Add(b.period), b.left > 0
}

func TestPacerRunsAtExactInstantsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		defer p.Close()
		start := time.Now()
		type run struct {
			task int
			at   time.Duration
		}
		var runs []run
		for i, period := range []time.Duration{30, 20, 30} {
			b := &beat{period: period * time.Millisecond, left: 4}
			b.ran = func(at time.Time) { runs = append(runs, run{i, at.Sub(start) / time.Millisecond}) }
			if err := p.add(b, start.Add(10*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Second)
		want := []run{
			{0, 10}, {1, 10}, {2, 10}, {1, 30}, {0, 40}, {2, 40}, {1, 50},
			{0, 70}, {1, 70}, {2, 70}, {0, 100}, {2, 100},
		}
		if !slices.Equal(runs, want) {
			t.Errorf("ran %v\nwant %v", runs, want)
		}
		if st := p.Stats(); st.Tasks != 0 || st.Lateness.Count != 12 || st.Lateness.Max != 0 {
			t.Errorf("tasks %d, %d runs, lateness %v", st.Tasks, st.Lateness.Count, st.Lateness.Max)
		}
	})
}

func TestPacerReportsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		defer p.Close()
		slow := &beat{left: 1, ran: func(time.Time) { time.Sleep(70 * time.Millisecond) }}
		quick := &beat{left: 1, ran: func(time.Time) {}}
		now := time.Now()
		if err := p.add(slow, now); err != nil {
			t.Fatal(err)
		}
		if err := p.add(quick, now); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if late := p.Stats().Lateness; late.Max != 70*time.Millisecond || late.Min != 0 {
			t.Errorf("lateness %v to %v", late.Min, late.Max)
		}
	})
}

// A task that is due within the granularity of the last round waits for the next one.
func TestPacerGranularity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Granularity: 4 * time.Millisecond})
		defer p.Close()
		start := time.Now()
		sleep(time.Millisecond) // past the first round
		var ran []time.Duration
		for _, due := range []time.Duration{10, 11, 12, 20} {
			b := &beat{left: 1, ran: func(at time.Time) { ran = append(ran, at.Sub(start)/time.Millisecond) }}
			if err := p.add(b, start.Add(due*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Second)
		if want := []time.Duration{10, 14, 14, 20}; !slices.Equal(ran, want) {
			t.Errorf("ran at %v, want %v", ran, want)
		}
	})
}

func TestPacerWorkersShareTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Workers: 4})
		defer p.Close()
		w := make([]logWriter, 40)
		for i := range w {
			s := newTestSource(t, p, ClipOpus, &w[i])
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
		}
		sleep(time.Second)
		for i := range w {
			if n := w[i].count(); n != 51 {
				t.Errorf("source %d sent %d packets", i, n)
			}
		}
		if n := p.Stats().Tasks; n != 40 {
			t.Errorf("%d tasks", n)
		}
	})
}

func TestPacerCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		w := &logWriter{}
		s := newTestSource(t, p, ClipOpus, w)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		sleep(100 * time.Millisecond)
		p.Close()
		p.Close()
		n := w.count()
		sleep(time.Second)
		if w.count() != n {
			t.Error("sends after Close")
		}
	})
}

// One round of a pacer with 2,000 tasks, each time the next one.
func BenchmarkPacer(b *testing.B) {
	w := &worker{}
	start := time.Now()
	for i := range 2000 {
		t := &beat{period: 20 * time.Millisecond, left: 1 << 30, ran: func(time.Time) {}}
		if err := w.add(t, start.Add(-time.Hour+time.Duration(i)*time.Microsecond)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		w.queue[0].due = start.Add(-time.Hour)
		w.runDue()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(w.lateness.Count), "ns/task")
}
