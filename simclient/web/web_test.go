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
	for _, folder := range []string{".", "../chromium/page", declared(t)} {
		if out, err := run(t, tsc, "-p", folder); err != nil {
			t.Errorf("%s: %v\n%s", folder, err, out)
		}
	}
	if out, err := run(t, tsc, "-p", mistaken(t)); err == nil || !strings.Contains(out, "wrong.ts(2,") {
		t.Errorf("a wrong call passes: %v\n%s", err, out)
	}
}

// keeps holds the client against what is declared of it.
const keeps = `import { CallClient, NotPossible, Refused } from './client.js';
import type * as api from './declared.d.ts';
const client: typeof api.CallClient = CallClient;
const refused: typeof api.Refused = Refused;
const notPossible: typeof api.NotPossible = NotPossible;
export { client, notPossible, refused };
`

// declared is a copy of the client in which its declaration has another name, so
// that the compiler reads the client itself.
func declared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, Files); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "client.d.ts"), filepath.Join(dir, "declared.d.ts")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"keeps.ts": keeps})
	return dir
}

// mistaken is an application that calls nobody.
func mistaken(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, Files); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"wrong.ts": "import { CallClient } from './client.js';\nnew CallClient({ url: 'wss://x/ws' }).call(7);\n"})
	return dir
}

// write adds files, and the settings of the compiler.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	settings, err := os.ReadFile("tsconfig.json")
	if err != nil {
		t.Fatal(err)
	}
	files["tsconfig.json"] = strings.Replace(string(settings), `["*.js", "*.d.ts"]`, `["*.js", "*.ts"]`, 1)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
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
