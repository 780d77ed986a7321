package kmsmock

import (
	"container/heap"
	"sync"
	"time"
)

// An outbox holds the frames of one connection until they fall due, and then
// writes them in that order.
//
// It also plays the sender's half of Nagle's algorithm for connections that
// have no kernel to do it: while earlier data is unacknowledged, small frames
// wait. The client acknowledges when it sends something, or after ackDelay.
type outbox struct {
	write    func([][]byte) error
	ackDelay time.Duration

	mu        sync.Mutex
	queue     dueQueue
	serial    int
	lastReply time.Time
	unacked   time.Time // until when nothing may be sent
	closed    bool
	ended     bool
	late      []dueFrame    // sent behind the next frame
	drained   chan struct{} // closed when all is written; nil: nobody waits
	wake      chan struct{}
}

func newOutbox(write func([][]byte) error, ackDelay time.Duration) *outbox {
	return &outbox{write: write, ackDelay: ackDelay, wake: make(chan struct{}, 1)}
}

// add queues an event. Frames due at the same time are sorted by rank before
// the order of adding: goroutines that wake at one instant run in any order.
func (b *outbox) add(frame []byte, due time.Time, rank int) {
	b.mu.Lock()
	b.push(frame, due, rank)
	b.mu.Unlock()
	b.nudge()
}

// respond queues a response; responses keep the order of their requests.
func (b *outbox) respond(frame []byte, delay time.Duration) {
	b.mu.Lock()
	due := time.Now().Add(delay)
	if due.Before(b.lastReply) {
		due = b.lastReply
	}
	b.lastReply = due
	b.push(frame, due, 0)
	b.mu.Unlock()
	b.nudge()
}

func (b *outbox) push(frame []byte, due time.Time, rank int) {
	b.serial++
	heap.Push(&b.queue, dueFrame{frame, due, rank, b.serial})
	b.pushLate(due, rank)
}

// reorderPatience is how long a frame that shall come behind the next one
// waits for it.
const reorderPatience = 100 * time.Millisecond

// behindNext queues a frame to follow the next one that is added.
func (b *outbox) behindNext(frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late = append(b.late, dueFrame{frame: frame})
	time.AfterFunc(reorderPatience, func() {
		b.mu.Lock()
		b.pushLate(time.Now(), 0)
		b.mu.Unlock()
		b.nudge()
	})
}

func (b *outbox) pushLate(due time.Time, rank int) {
	for _, f := range b.late {
		b.serial++
		f.due, f.rank, f.serial = due, rank, b.serial
		heap.Push(&b.queue, f)
	}
	b.late = nil
}

// drain returns when everything that was added has been written, or nothing
// is written any more.
func (b *outbox) drain() {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return
	}
	if b.drained == nil {
		b.drained = make(chan struct{})
	}
	drained := b.drained
	b.mu.Unlock()
	b.nudge()
	<-drained
}

// settle tells those who wait for drain. The lock is held.
func (b *outbox) settle() {
	if b.drained != nil {
		close(b.drained)
		b.drained = nil
	}
}

// acked notes that the client's TCP has acknowledged everything sent.
func (b *outbox) acked() {
	if b.ackDelay == 0 {
		return
	}
	b.mu.Lock()
	b.unacked = time.Time{}
	b.mu.Unlock()
	b.nudge()
}

func (b *outbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.nudge()
}

func (b *outbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run writes until close. Frames that are not due by then are lost, like
// events for a client that has gone.
func (b *outbox) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer b.end()
	for {
		frames, wait, done := b.due()
		switch {
		case done:
			return
		case len(frames) > 0:
			if b.write(frames) != nil {
				return
			}
			continue
		case wait > 0:
			timer.Reset(wait)
		}
		select {
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// end keeps nobody waiting for what will not be written.
func (b *outbox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.settle()
}

// due takes what may be written now, or tells how long to wait for it; 0 means
// until something is added.
func (b *outbox) due() (frames [][]byte, wait time.Duration, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, 0, true
	}
	now := time.Now()
	if len(b.queue) == 0 {
		b.settle()
		return nil, 0, false
	}
	if first := b.queue[0].due; now.Before(first) {
		return nil, first.Sub(now), false
	}
	if now.Before(b.unacked) {
		return nil, b.unacked.Sub(now), false
	}
	for len(b.queue) > 0 && !now.Before(b.queue[0].due) {
		frames = append(frames, heap.Pop(&b.queue).(dueFrame).frame)
	}
	if b.ackDelay > 0 {
		b.unacked = now.Add(b.ackDelay)
	}
	return frames, 0, false
}

type dueFrame struct {
	frame  []byte
	due    time.Time
	rank   int
	serial int
}

// dueQueue is a heap of frames, the first due on top.
type dueQueue []dueFrame

func (q dueQueue) Len() int      { return len(q) }
func (q dueQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q dueQueue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].serial < q[j].serial
}
func (q *dueQueue) Push(x any) { *q = append(*q, x.(dueFrame)) }
func (q *dueQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
