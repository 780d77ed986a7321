package netsim

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// pipe is a stream connection: two sides, each writing one half and reading
// the other.
type pipe struct {
	links [2]*Link      // of the host on either side; nil for a perfect one
	delay time.Duration // of the network between the hosts
	// onKill ends what else belongs to the connection when a link is closed.
	onKill func()

	mu     sync.Mutex
	halves [2]half  // halves[s] carries what side s writes
	local  [2]error // why side s can do nothing any more; nil while it can
}

// newPipe connects two hosts. A host that talks to itself does not use its
// link.
func newPipe(links [2]*Link, delay time.Duration, onKill func()) *pipe {
	if links[0] == links[1] {
		links, delay = [2]*Link{}, 0
	}
	p := &pipe{links: links, delay: delay, onKill: onKill}
	for s := range p.halves {
		p.halves[s].reader.init(&p.mu)
		p.halves[s].writer.init(&p.mu)
	}
	for _, l := range links {
		l.attach(p)
	}
	return p
}

// cut tells whether the path is interrupted.
func (p *pipe) cut() bool { return p.links[0].isCut() || p.links[1].isCut() }

// stalls tells whether what side s sends now gets stuck.
func (p *pipe) stalls(s int) bool {
	return p.cut() || p.links[s].holds(Out) || p.links[1-s].holds(In)
}

// lag returns how long anything takes from side to side.
func (p *pipe) lag() time.Duration {
	return p.delay + p.links[0].lag() + p.links[1].lag()
}

// stamp returns an empty segment that side s sends now and that needs the given
// time.
func (p *pipe) stamp(s int, lag time.Duration) segment {
	seg := segment{stalled: p.stalls(s)}
	if lag > 0 || seg.stalled {
		seg.sent = time.Now()
		seg.due = seg.sent.Add(lag)
	}
	return seg
}

// read is Read for side s.
func (p *pipe) read(s int, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.halves[1-s]
	for {
		if p.local[s] != nil {
			return 0, p.local[s]
		}
		if err := h.reader.check(); err != nil || len(b) == 0 {
			return 0, err
		}
		if n := h.take(b); n > 0 {
			h.writer.cond.Broadcast()
			return n, nil
		}
		if h.ended != nil {
			return 0, h.ended
		}
		h.reader.wait(h.nextDue())
	}
}

// write is Write for side s.
func (p *pipe) write(s int, b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &p.halves[s]
	if err := p.claim(s, h); err != nil {
		return 0, err
	}
	defer func() {
		h.writing = false
		h.writer.cond.Broadcast()
	}()
	for n < len(b) {
		if err := p.writable(s); err != nil {
			return n, err
		}
		if m := min(len(b)-n, h.room()); m > 0 {
			p.send(s, b[n:n+m])
			n += m
			continue
		}
		due, _ := p.halves[1-s].reset()
		h.writer.wait(due)
	}
	return n, nil
}

// claim waits until no other Write is under way on side s, which must be
// writable.
func (p *pipe) claim(s int, h *half) error {
	for {
		if err := p.writable(s); err != nil {
			return err
		}
		if !h.writing {
			h.writing = true
			return nil
		}
		h.writer.wait(time.Time{})
	}
}

// writable returns why side s cannot write, if so.
func (p *pipe) writable(s int) error {
	if p.local[s] != nil {
		return p.local[s]
	}
	h, back := &p.halves[s], &p.halves[1-s]
	if err := h.writer.check(); err != nil {
		return err
	}
	if h.finished {
		return syscall.EPIPE
	}
	if _, arrived := back.reset(); !arrived {
		return nil
	}
	if back.seenFIN() { // Linux says EPIPE to who could have known
		return syscall.EPIPE
	}
	return syscall.ECONNRESET
}

// send puts b on the way. What reaches a closed side is answered with RST, one
// round trip after it was sent; until then it takes up room like any other.
func (p *pipe) send(s int, b []byte) {
	h := &p.halves[s]
	if h.deaf {
		return
	}
	h.push(b, p.stamp(s, p.lag()))
	if p.local[1-s] != nil && !p.stalls(s) {
		p.bounce(s, p.stamp(1-s, 2*p.lag()))
	}
}

// bounce sends side s an RST for data that met a closed side.
func (p *pipe) bounce(s int, rst segment) {
	back := &p.halves[1-s]
	if due, arrived := back.reset(); due.IsZero() && !arrived {
		back.pushEnd(syscall.ECONNRESET, rst)
	}
}

// close is Close for side s: an orderly end after what has been written.
func (p *pipe) close(s int) error {
	p.mu.Lock()
	if p.local[s] != nil {
		err := p.local[s]
		p.local[s] = net.ErrClosed
		p.mu.Unlock()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		p.forget() // it had been reset
		return nil
	}
	if h := &p.halves[s]; !h.finished {
		h.pushEnd(io.EOF, p.stamp(s, p.lag()))
	}
	p.leave(s, net.ErrClosed)
	p.mu.Unlock()
	p.forget()
	return nil
}

// abort ends side s with an RST: what was on its way to the other is lost.
func (p *pipe) abort(s int, local error) {
	p.mu.Lock()
	p.breakOff(s, local)
	p.mu.Unlock()
	p.forget()
}

// breakOff is abort without its locks.
func (p *pipe) breakOff(s int, local error) {
	if p.local[s] != nil {
		return
	}
	h := &p.halves[s]
	h.discard()
	h.pushEnd(syscall.ECONNRESET, p.stamp(s, p.lag()))
	p.leave(s, local)
}

// leave makes side s unusable. If the other has sent more than was read, it is
// told with RST, which a cut holds up like anything else.
func (p *pipe) leave(s int, local error) {
	p.local[s] = local
	if p.halves[1-s].pending() {
		p.bounce(1-s, p.stamp(s, p.lag()))
	}
	p.halves[s].writer.stop()
	p.halves[1-s].reader.stop()
	p.wake()
}

// forget detaches the pipe from its links once both sides have left it.
func (p *pipe) forget() {
	p.mu.Lock()
	done := p.local[0] != nil && p.local[1] != nil
	p.mu.Unlock()
	if !done {
		return
	}
	for _, l := range p.links {
		l.detach(p)
	}
}

// closeWrite is CloseWrite for side s.
func (p *pipe) closeWrite(s int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.local[s] != nil {
		return p.local[s]
	}
	h := &p.halves[s]
	if h.finished {
		return syscall.ENOTCONN
	}
	h.pushEnd(io.EOF, p.stamp(s, p.lag()))
	h.writer.cond.Broadcast()
	return nil
}

// closeRead is CloseRead for side s: reads see the end of the stream, and what
// still arrives is dropped.
func (p *pipe) closeRead(s int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.local[s] != nil {
		return p.local[s]
	}
	h := &p.halves[1-s]
	h.deaf, h.ended = true, io.EOF
	h.discard()
	h.reader.cond.Broadcast()
	return nil
}

// awaitLeave returns when side s has been closed or reset.
func (p *pipe) awaitLeave(s int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.local[s] == nil {
		p.halves[1-s].reader.wait(time.Time{})
	}
}

// stall is called after a cut or a hold.
func (p *pipe) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.halves {
		if p.stalls(s) {
			p.halves[s].stall()
		}
	}
}

// unstall is called after a restore. What waited for a side that was closed
// meanwhile is answered with RST.
func (p *pipe) unstall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, lag := time.Now(), p.lag()
	for s := range p.halves {
		if !p.stalls(s) {
			p.halves[s].unstall(now, lag)
		}
	}
	for s := range p.halves {
		if p.stalls(s) {
			continue
		}
		h := &p.halves[s]
		if p.local[1-s] != nil && h.pending() {
			p.bounce(s, segment{sent: now, due: h.nextDue().Add(lag)})
		}
	}
	p.wake()
}

// wake lets everybody who waits look again.
func (p *pipe) wake() {
	for s := range p.halves {
		p.halves[s].reader.cond.Broadcast()
		p.halves[s].writer.cond.Broadcast()
	}
}

// resetBy breaks the side of the host that link l belongs to.
func (p *pipe) resetBy(l *Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.links {
		if p.links[s] == l {
			p.breakOff(s, syscall.ECONNRESET)
		}
	}
}

// kill ends both sides at once, whatever the links are like.
func (p *pipe) kill() {
	p.mu.Lock()
	for s := range p.local {
		if p.local[s] == nil {
			p.local[s] = syscall.ECONNRESET
		}
	}
	for s := range p.halves {
		p.halves[s].discard()
		p.halves[s].reader.stop()
		p.halves[s].writer.stop()
	}
	p.mu.Unlock()
	p.forget()
	if p.onKill != nil {
		p.onKill()
	}
}
