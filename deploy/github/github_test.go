package github

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// step is one of an action or a job.
type step struct {
	ID, Name, Uses, Shell, Run, If string
	Env, With                      map[string]string
}

// action is as much of action.yml as a runner reads.
type action struct {
	Inputs  map[string]struct{ Description, Default string }
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []step
	}
}

func read(t *testing.T, path string, into any) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(text)
}

// What an input says must not become a part of a script: it comes in by the
// environment. Every input is used, and none that is not there.
func TestAction(t *testing.T) {
	var a action
	text := read(t, "action.yml", &a)
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{\{ inputs\.([a-z-]+) \}\}`).FindAllStringSubmatch(text, -1) {
		used[m[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(a.Inputs)), slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("inputs and their uses: %s", diff)
	}
	for _, s := range a.Runs.Steps {
		if strings.Contains(s.Run, "${{") || s.Run != "" && s.Shell != "bash" {
			t.Errorf("the step %s: %s %s", s.Name, s.Shell, s.Run)
		}
	}
	for _, s := range a.Runs.Steps {
		if strings.Contains(s.Run, "go install") && s.Env["CGO_ENABLED"] != "0" {
			t.Error("the binary that is installed needs libraries: no server in a container can be made of it")
		}
	}
	if last := a.Runs.Steps[len(a.Runs.Steps)-1]; last.If != "always()" || !strings.HasPrefix(last.Uses, "actions/upload-artifact@") {
		t.Errorf("the report of a run that failed is not kept: %+v", last)
	}
}

// stub stands for callbench: it writes down what it is asked for, and ends as it is
// told.
const stub = `#!/bin/bash
printf '%s\n' "$@" >"$SAID"
[ -z "$SUMMARY" ] || { mkdir -p report && echo "$SUMMARY" >report/summary.md; }
exit "$CODE"
`

// The step that plays passes on every input as one word, tells the exit code, and
// shows the summary, whatever became of the run.
func TestPlayStep(t *testing.T) {
	var a action
	read(t, "action.yml", &a)
	i := slices.IndexFunc(a.Runs.Steps, func(s step) bool { return s.ID == "play" })
	for _, c := range []struct {
		name    string
		inputs  map[string]string
		code    int
		summary string
		want    []string // words
		page    string
	}{
		{"passed", nil, 0, "all went as written", []string{"run", "-o", "report", "-world", "virtual"}, "all went as written"},
		{"failed", map[string]string{"scenarios": "call busy", "args": "-v -seed 7"}, 1, "one failed", []string{"run", "-o", "report", "-world", "virtual", "-v", "-seed", "7", "call", "busy"}, "one failed"},
		{"not played", nil, 2, "", []string{"run", "-o", "report", "-world", "virtual"}, "could play nothing (exit code 2)"},
		{"remote", map[string]string{"world": "remote", "url": "wss://x/ws", "users": "the users.csv", "tokens": "cmd:mint {user}; id"}, 0, "ok",
			[]string{"run", "-o", "report", "-world", "remote", "-url", "wss://x/ws", "-users", "the users.csv", "-tokens", "cmd:mint {user}; id"}, "ok"},
		{"gate", map[string]string{"command": "gate"}, 1, "closed", []string{"gate", "-o", "report"}, "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name string) string { return filepath.Join(dir, name) }
			if err := os.WriteFile(file("callbench"), []byte(stub), 0o755); err != nil {
				t.Fatal(err)
			}
			env := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "GITHUB_OUTPUT=" + file("output"), "GITHUB_STEP_SUMMARY=" + file("page"),
				"SAID=" + file("said"), "CODE=" + strconv.Itoa(c.code), "SUMMARY=" + c.summary}
			for name, value := range a.Runs.Steps[i].Env {
				input := strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}")
				value = a.Inputs[input].Default
				if input == "report" {
					value = "report"
				}
				if v, ok := c.inputs[input]; ok {
					value = v
				}
				env = append(env, name+"="+value)
			}
			cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", a.Runs.Steps[i].Run) // as a runner starts it
			cmd.Dir, cmd.Env = dir, env
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d (%v), want %d\n%s", code, err, c.code, out)
			}
			said, _ := os.ReadFile(file("said"))
			if diff := cmp.Diff(c.want, strings.Split(strings.TrimSpace(string(said)), "\n")); diff != "" {
				t.Error(diff)
			}
			page, _ := os.ReadFile(file("page"))
			output, _ := os.ReadFile(file("output"))
			if !strings.Contains(string(page), c.page) || string(output) != "exit-code="+strconv.Itoa(c.code)+"\n" {
				t.Errorf("page %q, output %q", page, output)
			}
		})
	}
}

// The template's workflow asks the action for nothing that it has not got.
func TestWorkflow(t *testing.T) {
	var a action
	read(t, "action.yml", &a)
	var w struct {
		On   map[string]any
		Jobs map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []step
		}
	}
	text := read(t, "template/.github/workflows/calls.yml", &w)
	uses := 0
	for name, job := range w.Jobs {
		for _, s := range job.Steps {
			if strings.Contains(s.Run, "${{") {
				t.Errorf("the job %s: %s", name, s.Run)
			}
			if !strings.HasPrefix(s.Uses, "callbench/callbench/deploy/github@") {
				continue
			}
			uses++
			for input := range s.With {
				if _, ok := a.Inputs[input]; !ok {
					t.Errorf("the job %s says %s, which the action does not know", name, input)
				}
			}
		}
		if job.RunsOn == "" {
			t.Errorf("the job %s runs nowhere", name)
		}
	}
	if uses != 2 || len(w.On) == 0 || !strings.Contains(text, "secrets.CALLBENCH_TOKENS") {
		t.Errorf("it uses the action %d times", uses)
	}
}

// The template replaces nothing, and writes all or nothing.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "team")
	paths, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".github/workflows/calls.yml", ".gitignore", "README.md", "calls/call.call", "users.csv"} {
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil || !slices.Contains(paths, want) {
			t.Errorf("%s: %v, told %v", want, err, paths)
		}
	}
	if _, err := Write(dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("again: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "users.csv"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(other); err == nil {
		t.Error("my users are replaced")
	}
	if left, err := os.ReadDir(other); err != nil || len(left) != 1 {
		t.Errorf("it wrote %v, %v", left, err)
	}
}
