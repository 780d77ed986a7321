package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// Capabilities of worlds that have a TURN server.
const (
	needTURN        = "turn"
	needAllocations = "allocations"
	needRotation    = "rotation"
)

// optionRelay makes a client use relayed candidates only.
const optionRelay = "relay"

// TURNSecrets is a World whose TURN server's secrets can be changed.
type TURNSecrets interface {
	// RotateTURN signs with a new secret; what the last one signed stays good.
	RotateTURN()
	// RevokeTURN signs with a new secret and refuses what all others signed.
	RevokeTURN()
}

var turnVerb = Verb{Name: "turn", Usage: "rotate|revoke", World: true, Min: 1, Max: 1, world: actOnTURN, target: checkTURN,
	Help: "changes the secret that TURN credentials are signed with: after rotate what the last one signed is still good, after revoke it is refused; needs rotation"}

func actOnTURN(w World, _ *Scenario, c Clause) error {
	t, ok := w.(TURNSecrets)
	switch {
	case !ok:
		return errors.New("this world's TURN secrets cannot be changed")
	case c.Args[0] == "rotate":
		t.RotateTURN()
	default:
		t.RevokeTURN()
	}
	return nil
}

func checkTURN(s *Scenario, _ Step, c Clause) error {
	if known := []string{"rotate", "revoke"}; !contains(known, c.Args[0]) {
		return fmt.Errorf("turn cannot %q%s", c.Args[0], suggest(c.Args[0], known))
	}
	return s.says(needRotation, "turn "+c.Args[0])
}

// says reports whether a scenario that uses something says that it needs it.
func (s *Scenario) says(need, use string) error {
	if contains(s.Needs, need) {
		return nil
	}
	return fmt.Errorf("%s takes a world with a TURN server; add: need %s", use, need)
}

// TURN reports whether the world must have a TURN server.
func (s *Scenario) TURN() bool {
	return slices.ContainsFunc(s.Needs, func(n string) bool { return n == needTURN || n == needAllocations || n == needRotation })
}

// TURNTTL is how long TURN credentials are good; zero is as the server has it.
func (s *Scenario) TURNTTL() time.Duration {
	d, err := time.ParseDuration(s.Settings["turn_ttl"])
	if err != nil {
		return 0
	}
	return d
}

var candidateTypes = []string{"host", "srflx", "prflx", "relay"}

var pairExpectation = Expectation{Name: "pair", Help: "ICE has selected a pair of candidates", parts: pairParts,
	Fields: []FieldSpec{{Name: "local", Kind: Text, Help: "type of the client's candidate", Values: candidateTypes},
		{Name: "remote", Kind: Text, Help: "type of the media server's candidate", Values: candidateTypes}}}

func pairParts(c Clause) []match {
	var fields []Field
	for _, f := range c.Fields {
		fields = append(fields, Field{f.Key + "_type", f.Op, f.Value})
	}
	isPair := func(e trace.Event) bool { return e.Kind == "ice.pair" }
	return []match{{what: "pair", near: isPair, event: func(j *Judge, e trace.Event) bool { return isPair(e) && j.fieldsHold(fields, e) }}}
}

var turnExpectation = Expectation{Name: "turn", World: true, Help: "the TURN server has as many allocations; needs allocations", sees: SightTURN, round: roundTURN,
	Fields: []FieldSpec{{Name: "allocations", Kind: Number, Help: "how many there are; at least one if absent"}, {Name: "user", Kind: Text, Help: "whose"}}}

func roundTURN(j *Judge, c Clause, found []trace.Event) bool {
	n := 0
	limit := Field{Key: "allocations", Op: ">=", Value: "1"}
	var of []Field
	for _, f := range c.Fields {
		if f.Key == "allocations" {
			limit = f
		} else {
			of = append(of, f)
		}
	}
	for _, e := range found {
		if e.Get("what") == "left" && e.Get("where") == "turn" && j.fieldsHold(of, e) {
			n++
		}
	}
	return compare(strconv.Itoa(n), limit.Op, limit.Value)
}
