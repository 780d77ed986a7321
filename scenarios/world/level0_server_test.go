package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/tokens"
)

// foreignSecret is what the other server's login service signs with.
const foreignSecret = "the other login service's secret"

// foreignServer starts the server of testdata/level0, which shares nothing with this
// module: another language, and written from docs/protocol.md alone. A mock media
// server stands behind it, as it would behind any.
func foreignServer(t *testing.T) Target {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node on the path")
	}
	kms := mockOnLoopback(t)
	cmd := exec.Command(node, filepath.Join("testdata", "level0", "server", "server.mjs"), "--kms", kms, "--users", "alice,bob,carol,dave,mallory")
	cmd.Env = append(os.Environ(), "CALLBENCH_JWT_SECRET="+foreignSecret)
	said := &tail{limit: 8 << 10}
	cmd.Stderr = said
	in, err := cmd.StdinPipe() // at whose end it ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stuck := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer stuck.Stop()
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the server ended: %v\n%s", err, said)
		}
		if said.String() != "" {
			t.Errorf("the server complained: %s", said)
		}
	})
	var is struct{ URL string }
	if line, err := bufio.NewReader(out).ReadBytes('\n'); err != nil || json.Unmarshal(line, &is) != nil {
		t.Fatalf("the server says %q, %v\n%s", line, err, said)
	}
	source, err := tokens.Open("jwt", tokens.Config{Getenv: func(name string) string { return map[string]string{"CALLBENCH_JWT_SECRET": foreignSecret}[name] }})
	if err != nil {
		t.Fatal(err)
	}
	return Target{URL: is.URL, Probes: Probes{KMS: kms}, Token: func(ctx context.Context, c scenarios.Client) (string, error) {
		return source.Token(ctx, c.User, c.Device)
	}}
}

func mockOnLoopback(t *testing.T) (url string) {
	t.Helper()
	mock, err := kmsmock.New(kmsmock.Config{Interfaces: []string{"lo"}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mock.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(mock.Close(), <-done); err != nil {
			t.Errorf("close the media server: %v", err)
		}
	})
	return "ws://" + ln.Addr().String() + "/kurento"
}

// lanes is how many of the other servers play at a time, each with a media server
// of its own: what is left there is of its scenario.
const lanes = 6

// carried is how many scenarios of the suite level 0 can carry on somebody else's
// system, at least.
const carried = 38

// TestServiceLevel0Node plays the suite on a server of another hand.
func TestServiceLevel0Node(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	free := make(chan Target, lanes)
	for range lanes {
		target := foreignServer(t)
		level, features, err := Greet(t.Context(), target, scenarios.Client{User: "alice", Device: "greeting"})
		if err != nil || level != 0 || features != nil {
			t.Fatalf("it says level %d with %v, %v", level, features, err)
		}
		target.Level = &level
		free <- target
	}
	list := suite(t)
	slices.SortStableFunc(list, func(a, b *scenarios.Scenario) int { return int(lastAt(b) - lastAt(a)) })
	results := make(chan reports.Scenario, len(list))
	for _, s := range list {
		target := <-free
		go func() {
			log := trace.New(nil)
			results <- scenarios.Play(t.Context(), RemoteStage(target, 1), s, 1, log)
			free <- target
		}()
	}
	passes := 0
	for range list {
		switch r := <-results; r.Verdict {
		case reports.Pass:
			passes++
		case reports.Skip:
			told(t, r)
		default:
			t.Errorf("%s: %s %s\n%s", r.Name, r.Verdict, r.Reason, explain(r))
		}
	}
	if t.Logf("%d of %d scenarios passed", passes, len(list)); passes < carried {
		t.Errorf("%d scenarios passed, want %d or more", passes, carried)
	}
}

// told checks that a scenario was skipped for what neither level 0 nor the system of
// somebody else can have.
func told(t *testing.T, r reports.Scenario) {
	t.Helper()
	for _, why := range []string{"level 0 only", "real time", "remote", "the product", "no TURN server", "mixes codes anew", "turn_ttl", "chromium"} {
		if strings.Contains(r.Reason, why) {
			return
		}
	}
	t.Errorf("%s is skipped: %s", r.Name, r.Reason)
}

// A server of level 1 says what it can do.
func TestGreet(t *testing.T) {
	_, target := abroad(t, "alice")
	level, features, err := Greet(t.Context(), target, scenarios.Client{User: "alice", Device: "greeting"})
	if err != nil || level != 1 || !slices.Contains(features, "resume") {
		t.Errorf("level %d with %v, %v", level, features, err)
	}
	target.Token = nil
	if _, _, err := Greet(t.Context(), target, scenarios.Client{User: "alice", Device: "greeting"}); err == nil || !strings.Contains(err.Error(), "unauthorized") {
		t.Errorf("without a token: %v", err)
	}
}
