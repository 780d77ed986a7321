package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios/world/stack"
)

// mocked are the flags of a system in containers in which the mock is in Kurento's
// place, and MariaDB in that of MySQL.
var mocked = []string{"-stand-in", "kurento=kmsmock", "-stand-in", "mysql=mariadb"}

// containersBinary is a callbench that can be an image; the test is skipped where
// there is no engine or an image is missing.
func containersBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	e, err := stack.ConnectEngine(t.Context())
	if err != nil {
		t.Skipf("no container engine answers: %v", err)
	}
	defer e.Close()
	images, err := stack.ChooseImages(nil, []string{"kurento=kmsmock", "mysql=mariadb"}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range stack.PartNames() {
		if name := images.Of(part); name != "" {
			if _, err := e.Image(t.Context(), name); err != nil {
				t.Skipf("%v; deploy/images/build.sh makes one, CALLBENCH_IMAGE_%s names it", err, strings.ToUpper(part))
			}
		}
	}
	path := filepath.Join(t.TempDir(), "callbench")
	build := exec.Command("go", "build", "-trimpath", "-o", path, ".") // as images are built, so that Go compiles once for both
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a static binary: %v\n%s", err, out)
	}
	return path
}

// runName is how the output names a run in the engine.
var runName = regexp.MustCompile(`containers: (callbench-[a-z0-9]+): starting`)

// leftOf lists what the engine has of a run.
func leftOf(t *testing.T, run string) string {
	t.Helper()
	label := "label=" + stack.Label + "=" + run
	var left []string
	for _, list := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		left = append(left, docker(t, append(list, "--filter", label)...))
	}
	return strings.TrimSpace(strings.Join(left, "\n"))
}

// TestServiceContainers plays on a system in containers: a call, one under which a part
// is restarted, and one that is relayed, whose relay stops for a while. It looks at
// what is kept, and that nothing else is; make gate plays all that a release has to pass.
func TestServiceContainers(t *testing.T) {
	binary, dir := containersBinary(t), t.TempDir()
	args := append([]string{"gate", "-o", dir}, mocked...)
	out, err := exec.CommandContext(t.Context(), binary, append(args, "hangup-by-caller", "part-redis-restart", "part-coturn-pause")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"3 passed, 0 failed, 0 skipped", "gate: kurento is not proven; kmsmock stands in for kurento, as it was asked to; mariadb stands in for mysql", "gate: open", "time: start containers"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	for _, part := range []string{"kurento", "coturn", "redis", "mysql", "lines", "server1", "haproxy"} {
		if info, err := os.Stat(filepath.Join(dir, "containers", part+".log")); err != nil || info.Size() == 0 && part != "lines" {
			t.Errorf("log of %s: %v", part, err)
		}
	}
	if left := leftOf(t, runName.FindStringSubmatch(string(out))[1]); left != "" {
		t.Errorf("left in the engine:\n%s", left)
	}
	var report reports.Run
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]string{"kurento": "kmsmock in the place of kurento: 7.3.0, image callbench/self:", "mysql": "MariaDB", "redis": "id sha256:", "coturn": "Coturn 4.", "haproxy": "HAProxy version 2.", "gate": "not proven"} {
		if !strings.Contains(report.Parts[part], want) {
			t.Errorf("the report says of %s %q, want %q", part, report.Parts[part], want)
		}
	}
}

// TestServiceContainersKilled kills a run in the middle of a scenario: within
// seconds nothing of it is in the engine.
func TestServiceContainersKilled(t *testing.T) {
	binary := containersBinary(t)
	cmd := exec.Command(binary, append([]string{"run", "-world", "containers", "-o", t.TempDir(), "call"}, mocked...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	run := ""
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "haproxy") {
		if m := runName.FindStringSubmatch(lines.Text()); m != nil {
			run = m[1]
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait() // it was killed
	if run == "" {
		t.Fatal("it did not say how it is called in the engine")
	}
	until(t, "nothing of the killed run is left", func() bool { return leftOf(t, run) == "" })
}

// TestServiceGateClosed lets the mock and MariaDB pass for what they are not: the
// gate notices.
func TestServiceGateClosed(t *testing.T) {
	binary := containersBinary(t)
	image := "callbench/test-kurento:7.3.0"
	folder := t.TempDir()
	if out, err := exec.Command("cp", binary, filepath.Join(folder, "callbench")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	const dockerfile = "FROM scratch\nCOPY callbench /usr/local/bin/callbench\nENTRYPOINT [\"callbench\", \"mock\", \"-listen\", \"0.0.0.0:8888\"]\n"
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	docker(t, "build", "-q", "-t", image, folder)
	t.Cleanup(func() { docker(t, "rmi", image) })
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"the mock as a Kurento":       {[]string{"-image", "kurento=" + image, "-stand-in", "mysql=mariadb"}, "is no real Kurento: the picture that it was to turn came back unturned"},
		"MariaDB as MySQL":            {[]string{"-image", "mysql=callbench/mariadb", "-stand-in", "kurento=kmsmock"}, "say so with -stand-in mysql=mariadb"},
		"an image of another digest":  {[]string{"-image", "kurento=" + image, "-stand-in", "mysql=mariadb", "-kurento-digest", "sha256:0"}, "is not that of digest sha256:0"},
		"an image of another version": {[]string{"-image", "kurento=" + retagged(t, image, "6.18.0"), "-stand-in", "mysql=mariadb"}, `says that it is version "7.3.0", and its image's tag is "6.18.0"`},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), binary, append([]string{"gate", "-o", t.TempDir(), "hangup-by-caller"}, c.args...)...).CombinedOutput()
			if code := exitCode(err); code != exitFail || !strings.Contains(string(out), "gate: closed: ") || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, exitFail, c.want, out)
			}
		})
	}
}

// retagged gives an image another tag until the test ends.
func retagged(t *testing.T, image, tag string) string {
	t.Helper()
	name, _, _ := strings.Cut(image, ":")
	docker(t, "tag", image, name+":"+tag)
	t.Cleanup(func() { docker(t, "rmi", name+":"+tag) })
	return name + ":" + tag
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return 0
}

// What cannot be is refused before anything is started.
func TestContainersMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "-world", "containers", "-url", "ws://x/ws"}, "-url is of the remote world"},
		{[]string{"run", "-world", "containers", "-j", "2"}, "they are played one at a time"},
		{[]string{"run", "-world", "containers", "-level", "0"}, "-level and -turn-log are of other worlds"},
		{[]string{"run", "-world", "containers", "-redis", "127.0.0.1:6379"}, "-redis: 127.0.0.1 is the container itself"},
		{[]string{"run", "-world", "containers", "-mysql", "nonsense"}, "-mysql: "},
		{[]string{"run", "-world", "containers", "-image", "redis"}, "-image redis is not part=name"},
		{[]string{"gate", "-stand-in", "redis=valkey"}, "what can stand in is"},
		{[]string{"gate", "-servers", "0"}, "-servers must be at least 1"},
		{[]string{"gate", "-timeout", "0s"}, "-timeout must be positive"},
		{[]string{"gate", "no-such-scenario"}, "no-such-scenario"},
	} {
		var stderr strings.Builder
		args := append(c.args, "-o", t.TempDir())
		if code := Main(t.Context(), args, io.Discard, &stderr); code != exitUsage || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v: exit code %d, %q, want %q", c.args, code, stderr.String(), c.want)
		}
	}
}

// The doctor says which images are missing, and how to get an engine where there is none.
func TestServiceDoctorContainers(t *testing.T) {
	binary := containersBinary(t)
	out, err := exec.Command(binary, append([]string{"doctor", "-world", "containers", "-json"}, mocked...)...).Output()
	if err != nil {
		t.Errorf("the doctor finds something missing: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, "doctor", "-world", "containers", "-json", "-image", "redis=callbench/nothing:0", "-image", "kurento=callbench/nothing:0", "-image", "mysql=callbench/nothing:0")
	out, err = cmd.Output()
	var e examination
	if json.Unmarshal(out, &e) != nil || exitCode(err) != exitFail {
		t.Fatalf("exit code %d:\n%s", exitCode(err), out)
	}
	for _, f := range e.Checks {
		missing := f.Name == "image redis" || f.Name == "image kurento" || f.Name == "image mysql"
		if (f.State == stateMissing) != missing || missing && !strings.Contains(f.Do, "docker pull") {
			t.Errorf("%+v", f)
		}
	}
	cmd = exec.Command(binary, "doctor", "-world", "containers")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///nowhere/docker.sock")
	out, err = cmd.Output()
	if exitCode(err) != exitFail || !strings.Contains(string(out), "let DOCKER_HOST name an engine") {
		t.Errorf("without an engine: exit code %d:\n%s", exitCode(err), out)
	}
}
