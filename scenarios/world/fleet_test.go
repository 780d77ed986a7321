package world

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world/stack"
)

// A system whose parts all run elsewhere has what needs no hand on them.
func TestFleetLacks(t *testing.T) {
	f := &Fleet{stack: new(stack.Stack)}
	lacking := []string{"virtualtime", "kmsevents", "kms-faults", "kms-control", "redis-control", "push", "rotation", "files", "mixed", "allocations"}
	for need := range scenarios.Capabilities {
		if need == scenarios.Chromium {
			continue // is this machine's
		}
		if why := f.lacks(need); (why != "") != slices.Contains(lacking, need) {
			t.Errorf("%s: %q", need, why)
		}
	}
}

// A scenario that stops a part which runs elsewhere is not played, and one that
// looks on is, with users of its own each time.
func TestFleetFits(t *testing.T) {
	f := &Fleet{stack: new(stack.Stack)}
	for text, want := range map[string]string{
		"need parts-control\nclients alice=electron\npart redis pause\nexpect clean\n": "redis runs elsewhere",
		"clients alice=electron\nset level=0\nalice ask alice\nexpect clean\n":         "the server speaks level 1",
		"clients alice=electron\nalice ask alice\nexpect clean\n":                      "",
	} {
		s, err := scenarios.Parse("x.call", text)
		if err != nil {
			t.Fatal(err)
		}
		fitted, lack := f.fit(s)
		if want == "" && lack != "" || !strings.Contains(lack, want) {
			t.Errorf("%q: %q, want %q", text, lack, want)
		}
		if want == "" && fitted.Clients[0].User == "alice" {
			t.Errorf("%s has not got a name of its own", fitted.Clients[0].User)
		}
	}
	s, err := scenarios.Parse("x.call", "clients alice=electron\nalice ask alice\nexpect clean\n")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := f.fit(s)
	other, _ := f.fit(s)
	if one.Clients[0].User == other.Clients[0].User {
		t.Errorf("two scenarios share the user %s", one.Clients[0].User)
	}
}

// Files of recordings are what was read of them.
func TestFileAttrs(t *testing.T) {
	for want, attrs := range map[string]string{
		"absent": fileAttrs(nil, fs.ErrNotExist, 0)[0].Text(),
		"broken": fileAttrs([]byte("no clip"), nil, 7)[0].Text(),
	} {
		if attrs != want {
			t.Errorf("%q, want %q", attrs, want)
		}
	}
}
