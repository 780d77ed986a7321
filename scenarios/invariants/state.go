package invariants

import (
	"fmt"
	"slices"
)

// order is where a call may go from each of its states, as docs/calls.md draws
// it.
var order = map[string][]string{
	"dialing":   {"ringing", "ending"},
	"ringing":   {"accepting", "ending"},
	"accepting": {"active", "ending"},
	"active":    {"ending"},
	"ending":    {"ended"},
}

// progress is how far a call has come, by the server's own account.
type progress struct {
	at    string
	wrong []string
}

// Began notes that the server has begun a call.
func (b *Book) Began(id string) {
	if b.states == nil {
		b.states = map[string]*progress{}
	}
	if b.states[id] == nil {
		b.states[id] = &progress{at: "dialing"}
		b.begun = append(b.begun, id)
	}
}

// Moved notes that the server has brought a call from one state to the next. A
// call that another server began is taken up where it is.
func (b *Book) Moved(id, from, to string) {
	if b.states[id] == nil {
		b.Began(id)
		b.states[id].at = from
	}
	p := b.states[id]
	if p.at != from || !slices.Contains(order[from], to) {
		p.wrong = append(p.wrong, fmt.Sprintf("call %s was %s and went from %s to %s", id, p.at, from, to))
	}
	p.at = to
}

func stateOrder(b *Book) (out []string) {
	for _, id := range b.begun {
		out = append(out, b.states[id].wrong...)
	}
	return out
}
