package serial_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/internal/serial"
)

// A pool runs everything, keeps as many goroutines as it may, and none when it is
// closed.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		p := &serial.Pool{Keep: 3}
		var ran atomic.Int64
		for range 2 {
			block := make(chan struct{})
			for range 10 {
				p.Go(func() { <-block; ran.Add(1) })
			}
			close(block)
			synctest.Wait()
			if n := runtime.NumGoroutine() - before; n != 3 {
				t.Errorf("%d goroutines wait, want 3", n)
			}
		}
		p.Close()
		if n := runtime.NumGoroutine(); ran.Load() != 20 || n != before {
			t.Errorf("%d of 20 ran, and %d goroutines are left of a closed pool", ran.Load(), n-before)
		}
		done := make(chan struct{})
		p.Go(func() { close(done) })
		<-done
	})
}

// Close waits for what runs, and what that starts runs too.
func TestPoolCloseWaits(t *testing.T) {
	p := &serial.Pool{Keep: 1}
	var inner sync.WaitGroup
	inner.Add(1)
	began, end := make(chan struct{}), make(chan struct{})
	var ran atomic.Bool
	p.Go(func() {
		close(began)
		<-end
		p.Go(inner.Done)
		ran.Store(true)
	})
	<-began
	go close(end)
	p.Close()
	if !ran.Load() {
		t.Error("Close returned before a function had ended")
	}
	inner.Wait()
}

// A queue runs on the pool's goroutines if it has one.
func TestQueueOfPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		p := &serial.Pool{Keep: 1}
		q := serial.Queue{Pool: p}
		ran := 0
		for range 100 {
			q.Do(func() { ran++ })
			synctest.Wait()
		}
		if n := runtime.NumGoroutine() - before; ran != 100 || n != 1 {
			t.Errorf("%d of 100 ran on %d goroutines", ran, n)
		}
		q.Close()
		p.Close()
	})
}
