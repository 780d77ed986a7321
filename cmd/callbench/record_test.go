package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// startRecording runs `callbench mock -record` until stop is called, and returns
// where clients reach it.
func startRecording(t *testing.T, target, dir, name string, args ...string) (clients string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, append([]string{"mock", "-record", target, "-listen", "127.0.0.1:0", "-o", dir, "-name", name}, args...), w, io.Discard)
		_ = w.Close()
	}()
	b := make([]byte, 4096)
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	rest := make(chan string, 1)
	go func() { all, _ := io.ReadAll(r); rest <- string(all) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-ended; code != exitPass {
			t.Errorf("exit code %d", code)
		}
		if said := <-rest; said != "stopped\n" {
			t.Errorf("said %q at the end", said)
		}
	})
	t.Cleanup(stop)
	m := regexp.MustCompile(`kurento +(ws://\S+/kurento)\nrecording +(\S+)\n`).FindStringSubmatch(string(b[:n]))
	if m == nil || m[2] != filepath.Join(dir, name+".jsonl") {
		t.Fatalf("printed %q", b[:n])
	}
	return m[1], stop
}

// conforms holds a mock against a recording.
func conforms(t *testing.T, file string) {
	t.Helper()
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"conform", file}, &out, &out); code != exitPass || !strings.Contains(out.String(), "1 passed, 0 failed") {
		t.Errorf("exit code %d, %s", code, &out)
	}
}

func TestRecord(t *testing.T) {
	kurento, _ := startMockCommand(t, "-warm")
	dir := filepath.Join(t.TempDir(), "new")
	clients, stop := startRecording(t, kurento, dir, "call", "-mask")
	ws, _, err := websocket.DefaultDialer.Dial(clients, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, request := range []string{`{"id":1,"jsonrpc":"2.0","method":"create","params":{"type":"MediaPipeline"}}`,
		`{"id":2,"jsonrpc":"2.0","method":"invoke","params":{"object":"manager_ServerManager","operation":"getName"}}`} {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := ws.ReadMessage(); err != nil || !strings.Contains(string(b), "result") {
			t.Fatalf("%s, %v", b, err)
		}
	}
	stop()
	file := filepath.Join(dir, "call.jsonl")
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), `"method":"create"`) || !strings.Contains(string(b), `"note":"masked"`) {
		t.Errorf("recorded %s, %v", b, err)
	}
	conforms(t, file)
	for _, args := range [][]string{{"-name", "call"}, {"-name", "../call"}, {"-name", "x", "-listen", "nowhere:port"}} {
		args = append([]string{"mock", "-listen", "127.0.0.1:0", "-record", kurento, "-o", dir}, args...)
		if code := Main(t.Context(), args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	if code := Main(t.Context(), []string{"mock", "-listen", "127.0.0.1:0", "-record", "http://x", "-o", dir, "-name", "x"}, io.Discard, io.Discard); code != exitUsage {
		t.Errorf("a target that is no websocket: exit code %d", code)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left %v, %v", files, err)
	}
}
