package scenarios

import (
	"slices"
	"testing"
)

// A gate of fewer scenarios than these would let through what it is there to stop;
// each part in a container is killed and paused in one.
func TestGate(t *testing.T) {
	list, err := Find(Gate()...)
	if err != nil {
		t.Fatal(err)
	}
	media := 0
	acted := map[string]bool{}
	for _, s := range list {
		if slices.Contains(s.Needs, "media") {
			media++
		}
		for _, n := range s.Needs {
			if n == "virtualtime" || n == "kmsevents" || n == needKMSFaults || n == "push" || n == needRotation || n == "mixed" {
				t.Errorf("%s needs %s, which no system in containers with a real Kurento has", s.Name, n)
			}
		}
		for _, st := range s.Steps {
			if c := st.Clauses[0]; c.Verb == "part" {
				acted[c.Args[0]+" "+c.Args[1]] = true
			}
		}
	}
	const enough = 20
	if media < enough {
		t.Errorf("%d scenarios have media, want %d or more", media, enough)
	}
	for _, part := range []string{"kurento", "coturn", "redis", "mysql", "haproxy", "server"} {
		if !acted[part+" pause"] || !acted[part+" kill"] && !acted[part+" restart"] {
			t.Errorf("%s is not paused and killed by any: %v", part, acted)
		}
	}
}

// The gate's own scenarios are found by their names, with a sentence that says what
// they are about.
func TestGateScenarios(t *testing.T) {
	for _, name := range gateNames() {
		s, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Doc == "" || s.Doc[len(s.Doc)-1] != '.' {
			t.Errorf("%s is about %q, which is no sentence", name, s.Doc)
		}
		if !slices.Contains(s.Needs, needPartsControl) {
			t.Errorf("%s needs no %s, and so belongs to the suite", name, needPartsControl)
		}
	}
}
