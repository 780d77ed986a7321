// Package callbench_test holds the rules that the tree as a whole is held to.
package callbench_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/callbench/callbench/"

// allowed says which of the module's packages each package may import. cmd may
// import anything and nothing may import cmd. kurento and kmsmock share no
// code, so that one mistake cannot agree with itself; server and simclient
// meet only on the wire.
var allowed = map[string][]string{
	"signaling":          {},
	"kurento":            {"internal/serial"},
	"kmsmock":            {"kmsmock/clip"},
	"kmsmock/clip":       {},
	"kmsmock/transcript": {},
	"kmsmock/conform":    {"kmsmock", "kmsmock/clip", "kmsmock/transcript"},
	"kmsmock/record":     {"kmsmock/transcript"},
	"server":             {"signaling", "internal/serial"},
	"server/keys":        {"server"},
	"server/kms":         {"server", "kurento", "internal/serial"},
	"server/store":       {"server", "signaling"},
	"server/push":        {"server", "signaling"},
	"server/demo":        {},
	"server/turn":        {"signaling"},
	"simclient":          {"signaling", "simclient/media", "internal/serial"},
	"simclient/media":    {},
	"simclient/web":      {},
	"simclient/chromium": {"simclient", "simclient/media", "simclient/web", "signaling", "internal/netsim"},
	"scenarios":          {"scenarios/invariants", "signaling", "reports", "reports/trace"},
	"scenarios/tokens":   {},
	"scenarios/world": {"scenarios", "scenarios/world/stack", "signaling", "simclient", "simclient/media", "simclient/chromium", "server", "server/kms", "server/store", "server/turn", "kurento",
		"kmsmock", "kmsmock/clip", "reports", "reports/trace", "internal/netsim", "internal/bubble"},

	"scenarios/world/stack": {"internal/netsim", "internal/reaper", "kmsmock/clip", "kurento", "simclient/media"},
	"scenarios/invariants":  {"signaling"},

	"loadtest":        {"scenarios", "scenarios/world", "reports", "reports/trace"},
	"reports":         {"reports/trace"},
	"reports/trace":   {},
	"internal/bench":  {"server", "server/kms", "server/store", "kurento", "signaling"},
	"deploy/github":   {},
	"internal/bubble": {},
	"internal/serial": {},
	"internal/netsim": {"internal/serial"},
	"internal/reaper": {},
}

// onlyIn are libraries, and the folders that own them.
var onlyIn = map[string][]string{
	"github.com/testcontainers/testcontainers-go": {"scenarios/world/stack"},
	"github.com/moby/moby":                        {"scenarios/world/stack", "internal/reaper"},
	"testing":                                     {"internal/bubble"},
	"github.com/alecthomas/kong":                  {"cmd/callbench"},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		seen[folder] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range file.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, path, folder, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range seen {
		if _, ok := allowed[folder]; !ok && !strings.HasPrefix(folder, "cmd/") {
			t.Errorf("%s has no rule in this test", folder)
		}
	}
}

func checkImport(t *testing.T, path, folder, name string) {
	t.Helper()
	for library, homes := range onlyIn {
		if (name == library || strings.HasPrefix(name, library+"/")) && !slices.Contains(homes, folder) {
			t.Errorf("%s imports %s, which belongs to %s", path, name, strings.Join(homes, " and "))
		}
	}
	ours, ok := strings.CutPrefix(name, module)
	if !ok || strings.HasPrefix(folder, "cmd/") {
		return
	}
	if !slices.Contains(allowed[folder], ours) {
		t.Errorf("%s: %s may not import %s", path, folder, ours)
	}
}
