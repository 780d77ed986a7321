package scenarios

import (
	"flag"
	"os"
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
