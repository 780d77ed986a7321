package server

// Limits of what a session remembers, from docs/protocol.md.
const (
	maxReplay      = 512     // pushes
	maxReplayBytes = 1 << 20 // bytes of them
	maxAnswers     = 256     // request ids
)

// replay keeps a session's latest pushes as they went on the wire. The last of
// them has the sequence number last.
type replay struct {
	frames [][]byte
	bytes  int
	last   uint64
}

// add appends the push with the next sequence number.
func (r *replay) add(frame []byte) {
	r.last++
	r.frames = append(r.frames, frame)
	r.bytes += len(frame)
	for len(r.frames) > maxReplay || r.bytes > maxReplayBytes {
		r.drop()
	}
}

// drop forgets the oldest push. The slice moves on through its array, which
// append replaces now and then, so nothing is copied each time.
func (r *replay) drop() {
	r.bytes -= len(r.frames[0])
	r.frames[0] = nil
	r.frames = r.frames[1:]
}

// after returns the pushes with a higher number than seen and forgets the
// others, which the client has. ok is false if some of them are gone already.
func (r *replay) after(seen uint64) (frames [][]byte, ok bool) {
	first := r.last - uint64(len(r.frames)) + 1
	if seen+1 < first {
		return nil, false
	}
	for len(r.frames) > 0 && first <= seen {
		r.drop()
		first++
	}
	return r.frames, true
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
