package netsim

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// packet is a datagram under way.
type packet struct {
	data []byte
	addr net.Addr // where it goes or comes from; nil on a connected socket
	due  time.Time
}

// outbox holds datagrams that are sent later, in order. It has a goroutine
// only at the instants when it sends.
type outbox struct {
	send func(packet)

	mu      sync.Mutex
	idle    sync.Cond
	queue   []packet
	held    atomic.Int32 // queued or being sent: if zero, others may overtake
	timer   *time.Timer
	sending bool
	closed  bool
}

// init prepares an empty outbox.
func (o *outbox) init(send func(packet)) {
	o.send = send
	o.idle.L = &o.mu
}

// push sends a copy of b after the given delay, and after all before it.
func (o *outbox) push(b []byte, addr net.Addr, delay time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue = append(o.queue, packet{slices.Clone(b), addr, time.Now().Add(delay)})
	o.held.Add(1)
	if len(o.queue) == 1 && !o.sending {
		o.arm()
	}
}

// arm sets the timer for the oldest datagram; o.mu is held.
func (o *outbox) arm() {
	d := time.Until(o.queue[0].due)
	if o.timer == nil {
		o.timer = time.AfterFunc(d, o.flush)
		return
	}
	o.timer.Reset(d)
}

// flush sends what is due.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending = true
	for len(o.queue) > 0 && !time.Now().Before(o.queue[0].due) {
		p := o.queue[0]
		o.queue = o.queue[1:]
		o.mu.Unlock()
		o.send(p)
		o.held.Add(-1)
		o.mu.Lock()
	}
	o.sending = false
	o.idle.Broadcast()
	if len(o.queue) > 0 {
		o.arm()
	}
}

// close takes no more, and returns when nothing is being sent. What waits is
// sent when it is due: it left the host before the socket was closed.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for o.sending {
		o.idle.Wait()
	}
}

// inboxLimit is how many datagrams wait to be read; further ones are dropped,
// as by a full socket buffer.
const inboxLimit = 1024

// inbox holds datagrams that are read later, in order.
type inbox struct {
	mu     sync.Mutex
	reader waiter
	queue  []packet
	err    error // why nothing more will come
}

// init prepares an empty inbox.
func (i *inbox) init() { i.reader.init(&i.mu) }

// push makes a copy of b readable after the given delay.
func (i *inbox) push(b []byte, addr net.Addr, delay time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) >= inboxLimit {
		return
	}
	i.queue = append(i.queue, packet{slices.Clone(b), addr, time.Now().Add(delay)})
	i.reader.cond.Broadcast()
}

// pop waits for the next datagram.
func (i *inbox) pop() (packet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		if err := i.reader.check(); err != nil {
			return packet{}, err
		}
		if len(i.queue) == 0 {
			if i.err != nil {
				return packet{}, i.err
			}
			i.reader.wait(time.Time{})
			continue
		}
		p := i.queue[0]
		if !time.Now().Before(p.due) {
			i.queue = i.queue[1:]
			return p, nil
		}
		i.reader.wait(p.due)
	}
}

// setDeadline changes the deadline of pop.
func (i *inbox) setDeadline(t time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reader.setDeadline(t)
}

// end lets nothing more come.
func (i *inbox) end(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
	i.queue = nil
	i.reader.stop()
}
