package web

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leastNode is the first version of Node.js whose test runner has clocks that
// tests can turn.
const leastNode = 20

// node skips the test if there is no Node.js that is new enough.
func node(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Node.js; run without -short")
	}
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Skip("there is no Node.js on the path: ", err)
	}
	major := 0
	if _, err := fmt.Sscanf(string(out), "v%d.", &major); err != nil || major < leastNode {
		t.Skipf("Node.js %s is older than %d", strings.TrimSpace(string(out)), leastNode)
	}
}

// run runs a command and returns what it printed.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestNode runs the client's own tests.
func TestNode(t *testing.T) {
	node(t)
	files, err := filepath.Glob("test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	out, err := run(t, "node", append([]string{"--test"}, files...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "# fail 0\n") || strings.Contains(out, "# pass 0\n") {
		t.Errorf("no test was run:\n%s", out)
	}
}

// typescript is the compiler that checks the types, as npm names it.
const typescript = "typescript@5.9.3"

// TestTypes checks the types of the client, and of the harness's page, which uses
// it as an application does.
func TestTypes(t *testing.T) {
	node(t)
	tsc, err := exec.LookPath("tsc")
	if err != nil {
		tsc = install(t)
	}
	for _, folder := range []string{".", "../chromium/page"} {
		if out, err := run(t, tsc, "-p", folder); err != nil {
			t.Errorf("%s: %v\n%s", folder, err, out)
		}
	}
}

// install gets the compiler from npm, and keeps it for later runs.
func install(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("there is no tsc on the path, and no npm that could get one: ", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "callbench", typescript)
	tsc := filepath.Join(dir, "node_modules", ".bin", "tsc")
	if _, err := os.Stat(tsc); err == nil {
		return tsc
	}
	if out, err := run(t, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--no-save", typescript); err != nil {
		t.Skipf("npm cannot get %s: %v\n%s", typescript, err, out)
	}
	return tsc
}

// An application takes the files as they are: none may need what is not there.
func TestFilesImportEachOther(t *testing.T) {
	entries, err := Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			_, from, ok := strings.Cut(line, " from '")
			name, _, _ := strings.Cut(from, "'")
			if !ok {
				continue
			}
			if _, err := Files.Open(strings.TrimPrefix(name, "./")); err != nil {
				t.Errorf("%s imports %q: %v", e.Name(), name, err)
			}
		}
	}
}
