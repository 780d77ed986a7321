package media

import (
	"container/heap"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPacerClosed is returned when something is started on a closed pacer.
var ErrPacerClosed = errors.New("pacer is closed")

// PacerConfig configures a [Pacer]. The zero value is good for scenarios; load wants
// several workers.
type PacerConfig struct {
	// Workers is the number of goroutines that send; 1 when 0. With one, everything due
	// at the same instant runs in the order in which it was started.
	Workers int
	// Granularity bounds how often a worker wakes up: what falls due within this time
	// of the last round waits for the next one. 0 wakes up for each due time exactly.
	Granularity time.Duration
}

// Pacer runs the sources and watches the sinks of any number of clients: a few
// goroutines with a heap of due times each, and one timer per goroutine.
type Pacer struct {
	workers []*worker
	next    atomic.Uint32
	wg      sync.WaitGroup
}

// PacerStats tells how well a pacer keeps time.
type PacerStats struct {
	// Tasks is the number of sources and sinks that it serves now.
	Tasks int
	// Lateness is how long after its due time each task ran. It belongs beside every
	// latency that is reported: a late generator looks like a slow network.
	Lateness Histogram
}

// task is what a pacer runs: it does what is due at now and returns when it wants to
// run again, or false when it is done for good.
type task interface {
	tick(now time.Time) (next time.Time, again bool)
}

// NewPacer starts a pacer, which the caller closes.
func NewPacer(cfg PacerConfig) *Pacer {
	p := &Pacer{workers: make([]*worker, max(cfg.Workers, 1))}
	for i := range p.workers {
		w := &worker{
			granularity: cfg.Granularity,
			wake:        make(chan struct{}, 1),
			done:        make(chan struct{}),
		}
		p.workers[i] = w
		p.wg.Go(w.run)
	}
	return p
}

// Close stops the pacer and returns when its goroutines ended. Sources and sinks on
// it stay silent from then on.
func (p *Pacer) Close() error {
	for _, w := range p.workers {
		w.close()
	}
	p.wg.Wait()
	return nil
}

// Stats returns the figures since the start.
func (p *Pacer) Stats() PacerStats {
	var s PacerStats
	for _, w := range p.workers {
		w.mu.Lock()
		s.Tasks += w.tasks
		s.Lateness.Merge(&w.lateness)
		w.mu.Unlock()
	}
	return s
}

// add runs t for the first time at due.
func (p *Pacer) add(t task, due time.Time) error {
	n := p.next.Add(1)
	return p.workers[int(n)%len(p.workers)].add(t, due)
}

type worker struct {
	granularity time.Duration
	wake, done  chan struct{}

	mu       sync.Mutex
	queue    dueHeap
	order    uint64
	tasks    int
	closed   bool
	lateness Histogram

	batch []*dueTask // used by run only
}

// dueTask orders by due time, and at the same instant by age, so that one worker
// does the same in every run.
type dueTask struct {
	due   time.Time
	order uint64
	task  task
}

func (w *worker) add(t task, due time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrPacerClosed
	}
	w.order++
	w.tasks++
	heap.Push(&w.queue, &dueTask{due: due, order: w.order, task: t})
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.done)
	}
}

// run sleeps until something is due. idle is how long it sleeps with an empty queue;
// a new task wakes it.
func (w *worker) run() {
	const idle = time.Hour
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		wait := idle
		if due, ok := w.runDue(); ok {
			wait = max(time.Until(due), w.granularity)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.done:
			return
		}
	}
}

// runDue runs everything that is due and returns the next due time, if there is one.
func (w *worker) runDue() (next time.Time, ok bool) {
	w.takeDue()
	for i := range w.batch {
		w.runTask(w.batch[i])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.batch {
		if t.task == nil {
			w.tasks--
			continue
		}
		heap.Push(&w.queue, t)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	if len(w.queue) == 0 || w.closed {
		return time.Time{}, false
	}
	return w.queue[0].due, true
}

func (w *worker) takeDue() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 && !w.queue[0].due.After(now) && !w.closed {
		w.batch = append(w.batch, heap.Pop(&w.queue).(*dueTask))
	}
}

// runTask reads the clock for each task: in a long round the last one is later than
// the first, and its marker and lateness must say so.
func (w *worker) runTask(t *dueTask) {
	now := time.Now()
	late := now.Sub(t.due)
	next, again := t.task.tick(now)
	w.mu.Lock()
	w.lateness.Record(late)
	w.mu.Unlock()
	if t.due = next; !again {
		t.task = nil
	}
}

// dueHeap is a container/heap of pointers, which are boxed without allocating.
type dueHeap []*dueTask

func (h dueHeap) Len() int      { return len(h) }
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h dueHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].order < h[j].order
}
func (h *dueHeap) Push(x any) { *h = append(*h, x.(*dueTask)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}
