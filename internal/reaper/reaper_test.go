package reaper

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// parentEnv makes the test binary a parent: see TestMain.
const parentEnv = "CALLBENCH_TEST_REAPER_PARENT"

// TestMain is also the life of a parent that makes things in the engine until it is
// killed; the environment says how, with which label and of which image.
func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(parentEnv)); len(words) == 3 {
		fmt.Println(parent(context.Background(), words[0], words[1], words[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func parent(ctx context.Context, how, label, image string) error {
	if _, err := Start(ctx, "", label); err != nil {
		return err
	}
	api, err := connect("")
	if err != nil {
		return err
	}
	w := works{api: api, image: image, label: label}
	if err := w.oneOfEach(ctx); err != nil {
		return err
	}
	for {
		fmt.Println("made")
		if how == "idle" {
			select {}
		}
		if _, err := w.container(ctx, ""); err != nil {
			return err
		}
	}
}

// TestServiceReaper kills a parent, which cannot do anything about that, and looks
// whether all that it made goes away: once with everything at rest, once in
// the midst of making more.
func TestServiceReaper(t *testing.T) {
	api, image := engine(t)
	for how, lines := range map[string]int{"idle": 1, "busy": 3} {
		t.Run(how, func(t *testing.T) {
			w := works{api: api, image: image, label: "org.callbench.test=" + rand.Text()}
			w.tidy(t)
			said := startParent(t, how, w.label, image)
			for range lines {
				if line := said.line(t); line != "made" {
					t.Fatalf("the parent said %q", line)
				}
			}
			anonymous := w.anonymous(t)
			if len(anonymous) == 0 || w.count(t) < 5 {
				t.Fatalf("the parent made %d things and %d anonymous volumes, want 5 and 1 or more", w.count(t), len(anonymous))
			}
			said.kill(t)
			w.eventuallyGone(t)
			for _, name := range anonymous {
				if _, err := api.VolumeInspect(t.Context(), name, client.VolumeInspectOptions{}); !errdefs.IsNotFound(err) {
					t.Errorf("the anonymous volume %s is left: %v", name, err)
				}
			}
		})
	}
}

// TestServiceStop lets the child remove what is left, and nothing else.
func TestServiceStop(t *testing.T) {
	api, image := engine(t)
	mine := works{api: api, image: image, label: "org.callbench.test=" + rand.Text()}
	other := works{api: api, image: image, label: "org.callbench.test=" + rand.Text()}
	mine.tidy(t)
	other.tidy(t)
	stop, err := Start(t.Context(), "", mine.label)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []works{mine, other} {
		if err := w.oneOfEach(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kept := other.count(t)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := mine.count(t); n > 0 {
		t.Errorf("%d things are left", n)
	}
	if n := other.count(t); n != kept {
		t.Errorf("somebody else has %d things left of %d", n, kept)
	}
}

// TestSweepTriesAgain has an engine that refuses to remove a network twice, as one
// does while a container leaves it.
func TestSweepTriesAgain(t *testing.T) {
	var refused atomic.Int32
	left := atomic.Bool{}
	left.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.44/containers/json", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "[]") })
	mux.HandleFunc("GET /v1.44/volumes", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") })
	mux.HandleFunc("GET /v1.44/networks", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("filters"); got != `{"label":{"a=b":true}}` {
			t.Errorf("asked for networks with %s", got)
		}
		if left.Load() {
			fmt.Fprint(w, `[{"Id":"n1"}]`)
			return
		}
		fmt.Fprint(w, "[]")
	})
	mux.HandleFunc("DELETE /v1.44/networks/n1", func(w http.ResponseWriter, r *http.Request) {
		if refused.Add(1) <= 2 {
			http.Error(w, `{"message":"has active endpoints"}`, http.StatusForbidden)
			return
		}
		left.Store(false)
		w.WriteHeader(http.StatusNoContent)
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	api, err := client.New(client.WithHost("tcp://"+web.Listener.Addr().String()), client.WithAPIVersion("1.44"))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if err := sweep(t.Context(), api, "a=b", 0); err != nil {
		t.Error(err)
	}
	if refused.Load() != 3 {
		t.Errorf("%d requests to remove the network, want 3", refused.Load())
	}
}

// TestStartWithoutEngine is told at once that nobody would remove anything.
func TestStartWithoutEngine(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), "tcp://"+nobody, "a=b"); err == nil || !strings.Contains(err.Error(), "connect to the container engine") {
		t.Errorf("Start says %v", err)
	}
	if _, err := Start(t.Context(), "", ""); err == nil {
		t.Error("Start would remove everything")
	}
}

// talker is a parent, and what it says.
type talker struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startParent(t *testing.T, how, label, image string) talker {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", parentEnv, how, label, image))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may be gone
			_ = cmd.Wait()         // which says that it was killed
		}
	})
	return talker{cmd, bufio.NewScanner(out)}
}

func (p talker) line(t *testing.T) string {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("the parent says nothing: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// kill ends the parent with a signal that it cannot handle.
func (p talker) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err == nil {
		t.Fatal("the parent ended by itself")
	}
}

// eventuallyGone waits until nothing with the label is there, and looks again after
// the time in which a request of a dead parent could still come true.
func (w works) eventuallyGone(t *testing.T) {
	t.Helper()
	limit := time.After(time.Minute)
	for since := time.Now(); time.Since(since) < settleTime; {
		if n := w.count(t); n > 0 {
			since = time.Now()
		}
		select {
		case <-limit:
			t.Fatalf("%d things with the label are left", w.count(t))
		case <-time.After(lookEvery):
		}
	}
}
