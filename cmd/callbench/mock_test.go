package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/callbench/callbench/kurento"
)

// startMockCommand runs `callbench mock` on a free port until the test ends,
// and returns the addresses that it prints.
func startMockCommand(t *testing.T, args ...string) (clients, control string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, append([]string{"mock", "-listen", "127.0.0.1:0"}, args...), w, io.Discard) }()
	b := make([]byte, 4096)
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	rest := make(chan string, 1)
	go func() { all, _ := io.ReadAll(r); rest <- string(all) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitPass {
			t.Errorf("exit code %d", code)
		}
		_ = w.Close()
		if said := <-rest; said != "stopped\n" {
			t.Errorf("said %q at the end", said)
		}
	})
	m := regexp.MustCompile(`kurento +(ws://\S+/kurento)\ncontrol +(http://\S+/_control)\n`).FindStringSubmatch(string(b[:n]))
	if m == nil {
		t.Fatalf("printed %q", b[:n])
	}
	return m[1], m[2]
}

func TestMockServes(t *testing.T) {
	clients, control := startMockCommand(t, "-timing", "fast", "-shuffle", "-thread-limit", "3")
	if !pings(clients) {
		t.Error("no answer to ping")
	}
	resp, err := http.Get(control)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(b), `"shuffle":true`) {
		t.Errorf("state %s, %v", b, err)
	}
}

// TestMockSeed starts mocks as a media server is started again: it is another one, by
// what it tells of itself, unless the same seed is asked for.
func TestMockSeed(t *testing.T) {
	id := func(args ...string) string {
		t.Helper()
		url, _ := startMockCommand(t, append([]string{"-timing", "fast"}, args...)...)
		client, err := kurento.Dial(t.Context(), kurento.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		return client.ServerID() + " " + client.Session()
	}
	if was, is := id(), id(); was == is {
		t.Errorf("started again, it still is %s", was)
	}
	if was, is := id("-seed", "7"), id("-seed", "7"); was != is {
		t.Errorf("with one seed it is %s and then %s", was, is)
	}
}

// TestControlExamples runs the curl commands of the documentation in their
// order against one mock.
func TestControlExamples(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl in the path")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "kmsmock.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, control := startMockCommand(t, "-timing", "fast")
	lines := regexp.MustCompile(`(?m)^    (curl .*)$`).FindAllStringSubmatch(string(page), -1)
	if len(lines) < 8 {
		t.Errorf("%d examples", len(lines))
	}
	for _, line := range lines {
		command := strings.ReplaceAll(line[1], "http://127.0.0.1:8888/_control", control)
		cmd := exec.Command("sh", "-c", strings.Replace(command, "curl ", "curl -sS --fail-with-body --retry 20 --retry-connrefused --retry-delay 1 ", 1))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line[1], err, out)
		}
	}
}
