package server

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// Limits of what a session remembers, from docs/protocol.md.
const (
	maxReplay      = 512     // pushes
	maxReplayBytes = 1 << 20 // bytes of them
	maxAnswers     = 256     // request ids
)

// replay keeps a session's latest pushes, of those that the client has not said
// it has, as they went on the wire. The last of them has the sequence number last.
type replay struct {
	kept  []kept
	due   []func() // acked of pushes that had to go and that the client may well have
	bytes int
	last  uint64
}

// kept is a push and what is to be done when the client has it.
type kept struct {
	frame   []byte
	acked   func()    // may be nil
	expires time.Time // of an invitation: until when it can be answered; zero of what does not age
}

// add appends the push with the next sequence number. What has to go for it
// cannot be sent again, but a client that says it has a later one has it: such a
// client was connected all the time, or it could not have resumed.
func (r *replay) add(frame []byte, acked func()) {
	r.last++
	r.kept = append(r.kept, kept{frame: frame, acked: acked})
	r.bytes += len(frame)
	for len(r.kept) > maxReplay || r.bytes > maxReplayBytes {
		if f := r.kept[0].acked; f != nil && len(r.due) < maxReplay {
			r.due = append(r.due, f)
		}
		r.drop()
	}
}

// drop forgets the oldest push. The slice moves on through its array, which
// append replaces now and then, so nothing is copied each time. A client that
// has everything costs no array.
func (r *replay) drop() {
	r.bytes -= len(r.kept[0].frame)
	r.kept[0] = kept{}
	r.kept = r.kept[1:]
	if len(r.kept) == 0 {
		r.kept = nil
	}
}

// age says until when the push that was added last can be answered. Whoever gets
// it later is told how long that is then.
func (r *replay) age(expires time.Time) {
	if len(r.kept) > 0 {
		r.kept[len(r.kept)-1].expires = expires
	}
}

// first is the number of the oldest push that is kept.
func (r *replay) first() uint64 { return r.last - uint64(len(r.kept)) + 1 }

// received is the number of the last push that the client is known to have.
func (r *replay) received() uint64 { return r.first() - 1 }

// upTo forgets the pushes up to and with seen and returns their acked. ok is
// false if there was no push of this number yet.
func (r *replay) upTo(seen uint64) (acked []func(), ok bool) {
	if seen > r.last {
		return nil, false
	}
	if len(r.due) > 0 && seen+1 >= r.first() {
		acked, r.due = r.due, nil
	}
	for len(r.kept) > 0 && r.first() <= seen {
		if f := r.kept[0].acked; f != nil {
			acked = append(acked, f)
		}
		r.drop()
	}
	return acked, true
}

// covers reports whether every push with a higher number than seen is kept, and
// seen is no more than was sent.
func (r *replay) covers(seen uint64) bool { return seen+1 >= r.first() && seen <= r.last }

// frames are the pushes that are kept.
func (r *replay) frames() [][]byte {
	if len(r.kept) == 0 {
		return nil
	}
	frames := make([][]byte, len(r.kept))
	for i, k := range r.kept {
		frames[i] = k.frame
		if !k.expires.IsZero() {
			frames[i] = aged(k.frame, time.Until(k.expires))
		}
	}
	return frames
}

// expiry is until when an invitation that is sent now can be answered.
func expiry(f signaling.Frame) time.Time {
	var data signaling.Invite
	if f.Into(&data) != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(data.Expire) * time.Second)
}

// aged is an invitation with as much time as is left. One that cannot be answered
// any more has none.
func aged(invitation []byte, left time.Duration) []byte {
	f, err := signaling.Decode(invitation)
	var data signaling.Invite
	if err != nil || f.Into(&data) != nil {
		return invitation // it was rendered here, so it can be read
	}
	data.Expire = wholeSeconds(left)
	b, err := encode(f, data)
	if err != nil {
		return invitation
	}
	return b
}

// answers remembers how a session's latest requests were answered, so that one
// that is sent again is not done again.
type answers struct {
	byID  map[string][]byte // nil while the request is being done
	order []string          // ring of the ids, oldest at next
	next  int
}

// begin notes that a request is being done. known is true if it was seen
// before; answer is then what it was answered, nil if it has not been yet.
func (a *answers) begin(id string) (answer []byte, known bool) {
	if answer, known = a.byID[id]; known {
		return answer, true
	}
	if a.byID == nil {
		a.byID = make(map[string][]byte)
	}
	a.byID[id] = nil
	if len(a.order) < maxAnswers {
		a.order = append(a.order, id)
		return nil, false
	}
	delete(a.byID, a.order[a.next])
	a.order[a.next] = id
	a.next = (a.next + 1) % maxAnswers
	return nil, false
}

// done notes a request's answer.
func (a *answers) done(id string, answer []byte) {
	if _, known := a.byID[id]; known {
		a.byID[id] = answer
	}
}
