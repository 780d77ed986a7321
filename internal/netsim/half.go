package netsim

import (
	"io"
	"syscall"
	"time"
)

// streamBuffer is how many bytes one direction of a stream holds that its
// reader has not taken: TCP's send and receive buffers together. A writer that
// finds it full waits.
const streamBuffer = 256 << 10

// keepBuffer is the largest buffer that an emptied direction keeps.
const keepBuffer = 64 << 10

// half is one direction of a stream: bytes in order, and when each may be read.
// The pipe's lock guards it.
type half struct {
	buf      []byte // buf[start:] waits to be read
	start    int
	segments []segment // lengths and instants of buf[start:], and the end
	first    int       // segments[first:] are waiting
	ended    error     // what the reader has met: io.EOF or ECONNRESET
	finished bool      // the writer has said that nothing follows
	deaf     bool      // the reader wants no more: CloseRead
	writing  bool      // one Write at a time, so that Writes do not mix

	reader, writer waiter
}

// segment is a run of bytes that arrive together, or the end of the stream.
type segment struct {
	n       int
	end     error     // io.EOF for FIN, ECONNRESET for RST; then n is zero
	sent    time.Time // zero if it arrived as soon as it was sent
	due     time.Time // when it arrives; zero for at once
	stalled bool      // lost to a cut, to be sent again after it
}

// ready tells whether the segment has arrived.
func (s *segment) ready() bool {
	return !s.stalled && (s.due.IsZero() || !time.Now().Before(s.due))
}

// waiting returns the segments that have not been read.
func (h *half) waiting() []segment { return h.segments[h.first:] }

// room returns how many more bytes may be written.
func (h *half) room() int { return streamBuffer - (len(h.buf) - h.start) }

// push appends bytes that share one segment's fate.
func (h *half) push(b []byte, s segment) {
	if h.start > 0 && len(h.buf)+len(b) > cap(h.buf) {
		h.buf = h.buf[:copy(h.buf, h.buf[h.start:])]
		h.start = 0
	}
	h.buf = append(h.buf, b...)
	s.n = len(b)
	if last := len(h.segments) - 1; last >= h.first && h.segments[last].joins(&s) {
		h.segments[last].n += s.n
	} else {
		h.pushSegment(s)
	}
	h.reader.cond.Broadcast()
}

// joins tells whether next may be counted into s.
func (s *segment) joins(next *segment) bool {
	return s.end == nil && s.stalled == next.stalled && s.due.Equal(next.due)
}

// pushSegment appends a segment, first moving the others to the front of their
// slice if that saves growing it.
func (h *half) pushSegment(s segment) {
	if h.first > 0 && len(h.segments) == cap(h.segments) {
		h.segments = h.segments[:copy(h.segments, h.waiting())]
		h.first = 0
	}
	h.segments = append(h.segments, s)
}

// take moves bytes that have arrived into b, and notes the end when that has
// arrived and everything before it has been read.
func (h *half) take(b []byte) (n int) {
	for h.first < len(h.segments) && h.ended == nil {
		s := &h.segments[h.first]
		if n == len(b) || !s.ready() {
			break
		}
		m := copy(b[n:], h.buf[h.start:h.start+s.n])
		n, h.start, s.n = n+m, h.start+m, s.n-m
		if s.n > 0 {
			break
		}
		if s.end != nil {
			h.ended = s.end
		}
		h.first++
	}
	h.tidy()
	return n
}

// tidy resets the slices when nothing is left in them.
func (h *half) tidy() {
	if h.first == len(h.segments) {
		h.segments, h.first = h.segments[:0], 0
	}
	if h.start < len(h.buf) {
		return
	}
	h.buf, h.start = h.buf[:0], 0
	if cap(h.buf) > keepBuffer {
		h.buf = nil
	}
}

// nextDue returns when the next segment arrives: zero if that is not known.
func (h *half) nextDue() time.Time {
	if h.first == len(h.segments) || h.segments[h.first].stalled {
		return time.Time{}
	}
	return h.segments[h.first].due
}

// pending tells whether there are bytes that have not been read.
func (h *half) pending() bool { return h.start < len(h.buf) }

// discard drops all bytes; the end of the stream, if it is queued, stays.
func (h *half) discard() {
	kept := h.segments[:0]
	for _, s := range h.waiting() {
		if s.end != nil {
			kept = append(kept, s)
		}
	}
	h.segments, h.first = kept, 0
	h.buf, h.start = nil, 0
	h.writer.cond.Broadcast()
}

// pushEnd appends the end of the stream.
func (h *half) pushEnd(end error, s segment) {
	h.finished = true
	s.end = end
	h.pushSegment(s)
	h.reader.cond.Broadcast()
}

// stall marks what has not arrived as lost.
func (h *half) stall() {
	for i := range h.waiting() {
		if s := &h.segments[h.first+i]; !s.ready() {
			s.stalled = true
		}
	}
}

// unstall lets what was lost arrive one delay after its next retransmission.
func (h *half) unstall(now time.Time, delay time.Duration) {
	var due time.Time
	for i := range h.waiting() {
		s := &h.segments[h.first+i]
		if !s.stalled {
			continue
		}
		if due.IsZero() { // the oldest one's timer is the connection's
			due = retransmission(s.sent, now, minRTO+2*delay).Add(delay)
		}
		s.stalled, s.due = false, due
	}
}

// reset returns the instant at which a queued RST arrives at the reader, and
// whether one has arrived. An RST is not held up by unread bytes before it.
func (h *half) reset() (due time.Time, arrived bool) {
	if h.ended == syscall.ECONNRESET {
		return time.Time{}, true
	}
	for i := range h.waiting() {
		s := &h.segments[h.first+i]
		if s.end != syscall.ECONNRESET || s.stalled {
			continue
		}
		return s.due, s.ready()
	}
	return time.Time{}, false
}

// seenFIN tells whether the reader's host has been told of an orderly end, read
// or not.
func (h *half) seenFIN() bool {
	if h.ended == io.EOF {
		return true
	}
	for i := range h.waiting() {
		if s := &h.segments[h.first+i]; s.end == io.EOF && s.ready() {
			return true
		}
	}
	return false
}
