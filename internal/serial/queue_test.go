package serial_test

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/internal/serial"
)

func TestQueueRunsInOrder(t *testing.T) {
	const n = 1000
	var q serial.Queue
	var got []int
	for i := range n {
		if !q.Do(func() { got = append(got, i) }) {
			t.Fatalf("Do %d was refused", i)
		}
	}
	q.Close()
	if len(got) != n || !slices.IsSorted(got) {
		t.Fatalf("ran %d functions, sorted %v; want %d in order", len(got), slices.IsSorted(got), n)
	}
}

// TestQueueRunsOneAtATime counts without atomics: the race detector and the
// total both fail if two functions ever overlap.
func TestQueueRunsOneAtATime(t *testing.T) {
	const producers, each = 8, 500
	var q serial.Queue
	var inside atomic.Int32
	var overlaps, total int
	last := make([]int, producers)
	outOfOrder := 0
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				q.Do(func() {
					if inside.Add(1) != 1 {
						overlaps++
					}
					if last[p] != i-1 {
						outOfOrder++
					}
					last[p] = i
					total++
					inside.Add(-1)
				})
			}
		})
	}
	wg.Wait()
	q.Close()
	if overlaps != 0 || outOfOrder != 0 || total != producers*each {
		t.Fatalf("%d overlaps, %d out of order, %d ran; want 0, 0, %d", overlaps, outOfOrder, total, producers*each)
	}
}

func TestQueueReentrant(t *testing.T) {
	var q serial.Queue
	var got []string
	done := make(chan struct{})
	q.Do(func() {
		got = append(got, "outer begins")
		q.Do(func() {
			got = append(got, "inner")
			close(done)
		})
		got = append(got, "outer ends")
	})
	<-done
	q.Close()
	want := []string{"outer begins", "outer ends", "inner"}
	if !slices.Equal(got, want) {
		t.Fatalf("order %q, want %q", got, want)
	}
}

func TestQueueStopFromInside(t *testing.T) {
	var q serial.Queue
	var ranQueued, ranLate, acceptedLate bool
	gate := make(chan struct{})
	q.Do(func() {
		<-gate
		q.Stop()
		acceptedLate = q.Do(func() { ranLate = true })
	})
	q.Do(func() { ranQueued = true })
	close(gate)
	<-q.Done()
	if !ranQueued || ranLate || acceptedLate {
		t.Fatalf("queued ran %v, late ran %v, late accepted %v; want true, false, false", ranQueued, ranLate, acceptedLate)
	}
}

func TestQueueCloseWaitsForWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q serial.Queue
		ran := 0
		for range 3 {
			q.Do(func() { time.Sleep(time.Second); ran++ })
		}
		start := time.Now()
		q.Close()
		if took := time.Since(start); ran != 3 || took != 3*time.Second {
			t.Fatalf("Close returned after %v with %d of 3 run", took, ran)
		}
		q.Close() // a second Close returns at once
		if q.Do(func() {}) {
			t.Fatal("Do was accepted after Close")
		}
	})
}

func TestQueueCloseUnused(t *testing.T) {
	var q serial.Queue
	done := q.Done()
	select {
	case <-done:
		t.Fatal("Done is closed before Stop")
	default:
	}
	q.Close()
	<-done
}

func TestQueueConcurrentClose(t *testing.T) {
	var q serial.Queue
	ran := false
	q.Do(func() { ran = true })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(q.Close)
	}
	wg.Wait()
	if !ran {
		t.Fatal("Close returned before the queued function ran")
	}
}

func TestQueueLimit(t *testing.T) {
	q := serial.Queue{Limit: 2}
	started, gate := make(chan struct{}), make(chan struct{})
	q.Do(func() { close(started); <-gate })
	<-started // the running function does not count
	ran := 0
	var accepted []bool
	for range 3 {
		accepted = append(accepted, q.Do(func() { ran++ }))
	}
	if want := []bool{true, true, false}; !slices.Equal(accepted, want) || q.Len() != 2 {
		t.Fatalf("accepted %v with %d waiting, want %v with 2", accepted, q.Len(), want)
	}
	close(gate)
	q.Close()
	if ran != 2 {
		t.Fatalf("%d ran, want 2", ran)
	}
}

// TestQueueIdleCostsNoGoroutine is the reason for the package.
func TestQueueIdleCostsNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		queues := make([]serial.Queue, 100)
		ran := make([]bool, len(queues))
		for i := range queues {
			queues[i].Do(func() { ran[i] = true })
		}
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines with all queues idle, %d before", after, before)
		}
		if slices.Contains(ran, false) {
			t.Error("a queue is idle before its function has run")
		}
	})
}

// TestQueueLetsGoOfWhatRan proves that neither the ring nor the queue keeps a
// function, and what it captured, after it has run.
func TestQueueLetsGoOfWhatRan(t *testing.T) {
	var q serial.Queue
	freed := make(chan struct{})
	func() {
		big := new([1 << 16]byte)
		runtime.AddCleanup(big, func(c chan struct{}) { close(c) }, freed)
		ran := make(chan struct{})
		q.Do(func() { big[0] = 1; close(ran) })
		<-ran
	}()
	for {
		runtime.GC()
		select {
		case <-freed:
			q.Close()
			return
		default:
			runtime.Gosched()
		}
	}
}

// BenchmarkQueueBurst keeps the goroutine busy: the cost of an ordered call.
func BenchmarkQueueBurst(b *testing.B) {
	b.ReportAllocs()
	q := serial.Queue{}
	f := func() {}
	for i := 0; b.Loop(); i++ {
		q.Do(f)
		if i%32 == 31 {
			for q.Len() > 0 {
				runtime.Gosched()
			}
		}
	}
	q.Close()
}

// BenchmarkQueueWake falls idle after every call: the cost of waking an owner.
func BenchmarkQueueWake(b *testing.B) {
	b.ReportAllocs()
	q := serial.Queue{}
	ran := make(chan struct{})
	f := func() { ran <- struct{}{} }
	for b.Loop() {
		q.Do(f)
		<-ran
	}
	q.Close()
}

// goroutine names the goroutine that calls it.
func goroutine() string {
	b := make([]byte, 64)
	return string(bytes.Fields(b[:runtime.Stack(b, false)])[1])
}

func TestHereRunsOnTheCallersGoroutine(t *testing.T) {
	var q serial.Queue
	var ran []string
	for range 3 {
		if !q.Here(func() { ran = append(ran, goroutine()) }) {
			t.Fatal("Here was refused")
		}
	}
	if me := goroutine(); !slices.Equal(ran, []string{me, me, me}) {
		t.Errorf("ran on %q, want three times on %q", ran, me)
	}
	q.Close()
	if q.Here(func() { t.Error("it ran") }) {
		t.Error("Here was accepted by a queue that was stopped")
	}
}

// TestHereKeepsTheOrder hands functions to a queue while one of Here runs: they
// run after it, on a goroutine of the queue's, and it does not wait for them.
func TestHereKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q serial.Queue
		var order []int
		me := goroutine()
		q.Here(func() {
			for i := range 3 {
				q.Here(func() { order = append(order, i) })
			}
			q.Do(func() {
				time.Sleep(time.Second)
				if goroutine() == me {
					t.Error("what others handed the queue ran on the goroutine of Here")
				}
			})
			order = append(order, -1)
		})
		if q.Here(func() { order = append(order, 3) }); len(order) > 4 {
			t.Error("Here waited for what was handed over before")
		}
		q.Close()
		if want := []int{-1, 0, 1, 2, 3}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v, want %v", order, want)
		}
	})
}

// TestHereOneAtATime mixes Here and Do: the race detector and the count fail if
// two functions ever overlap.
func TestHereOneAtATime(t *testing.T) {
	const producers, each = 8, 500
	var q serial.Queue
	var total int
	var wg sync.WaitGroup
	for p := range producers {
		do := q.Do
		if p%2 == 0 {
			do = q.Here
		}
		wg.Go(func() {
			for range each {
				do(func() { total++ })
			}
		})
	}
	wg.Wait()
	q.Close()
	if total != producers*each {
		t.Errorf("%d ran, want %d", total, producers*each)
	}
}
