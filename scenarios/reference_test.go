package scenarios

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/scenarios.md")

// docs/scenarios.md is the reference that `callbench help scenario` prints.
func TestReferencePage(t *testing.T) {
	const path = "../docs/scenarios.md"
	if *update {
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Reference(), string(page)); diff != "" {
		t.Errorf("%s is not up to date (go test ./scenarios -update):\n%s", path, diff)
	}
}

// The example of the reference can be pasted and played.
func TestReferenceExample(t *testing.T) {
	var lines []string
	for _, l := range strings.Split(Reference(), "\n") {
		if rest, ok := strings.CutPrefix(l, "    "); ok {
			lines = append(lines, rest)
		}
	}
	s, err := Parse("example.call", strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if len(s.Steps) < 10 {
		t.Errorf("only %d steps were found in the reference", len(s.Steps))
	}
}
