package scenarios

import (
	"strings"
	"testing"
	"time"
)

// turnWorld notes what is done to its TURN server.
type turnWorld struct {
	World
	done []string
}

func (w *turnWorld) RotateTURN() { w.done = append(w.done, "rotate") }
func (w *turnWorld) RevokeTURN() { w.done = append(w.done, "revoke") }

func TestTURNVerb(t *testing.T) {
	w := new(turnWorld)
	for _, arg := range []string{"rotate", "revoke"} {
		if err := actOnTURN(w, nil, Clause{Verb: "turn", Args: []string{arg}}); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(w.done, " "); got != "rotate revoke" {
		t.Errorf("done: %s", got)
	}
	var without struct{ World }
	if err := actOnTURN(without, nil, Clause{Verb: "turn", Args: []string{"rotate"}}); err == nil {
		t.Error("a world without a TURN server of its own rotated its secrets")
	}
}

func TestTURNSettings(t *testing.T) {
	for text, want := range map[string]struct {
		turn bool
		ttl  time.Duration
	}{
		"clients a=electron\n":                                     {false, 0},
		"need media turn\nclients a=electron:relay\n":              {true, 0},
		"need allocations\nset turn_ttl=20s\nclients a=electron\n": {true, 20 * time.Second},
	} {
		s, err := Parse("x.call", text+"a hangup\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if s.TURN() != want.turn || s.TURNTTL() != want.ttl {
			t.Errorf("%s: %v %v", text, s.TURN(), s.TURNTTL())
		}
	}
}
