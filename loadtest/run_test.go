package loadtest_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/loadtest"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
)

const short = `# Short enough to be played often.
need    media
clients alice=electron bob=electron
alice   call bob
expect  bob incoming from=alice
bob     accept
expect  alice,bob media audio,video  as setup
alice   hangup
expect  bob ended reason=hangup by=alice
expect  history 1v1 status=ended members=2
expect  clean
`

func run(t *testing.T, plant world.Plant) (string, bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	s, err := scenarios.Parse("short.call", short)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	r, err := loadtest.Run(t.Context(), loadtest.Config{Scenario: s, Stage: world.LocalStage("", 1, plant),
		Rate: loadtest.Rate{Calls: 20, Per: time.Second}, Calls: 6, Seed: 1, Log: trace.New(&file)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Passed+r.Failed != 6 || strings.Count(file.String(), `"kind":"load.call"`) != 6 {
		t.Errorf("%d passed, %d failed; trace:\n%s", r.Passed, r.Failed, file.String())
	}
	if n := r.Times["late"].Count; n != 6 {
		t.Errorf("lateness of %d calls", n)
	}
	return file.String(), r.OK()
}

func TestRunPlaysEveryCall(t *testing.T) {
	file, ok := run(t, world.Plant{})
	if !ok || strings.Count(file, `"kind":"load.span"`) != 6 {
		t.Errorf("ok %v\n%s", ok, file)
	}
}

// What a call leaves behind is a failure of the load, though every call passed.
func TestRunFindsWhatIsLeft(t *testing.T) {
	if _, ok := run(t, world.Plant{KMS: kmsmock.Faults{KeepReleased: true}}); ok {
		t.Error("objects stayed on the media server and nobody minded")
	}
}

// A load that is stopped still tells what it did.
func TestRunStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	s, err := scenarios.Parse("long.call", "clients alice=electron\nat 60s alice close\n")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := loadtest.Run(ctx, loadtest.Config{Scenario: s, Stage: world.LocalStage("", 1, world.Plant{}), Rate: loadtest.Rate{Calls: 1, Per: time.Hour}, Calls: 3,
		Log: trace.New(nil), Progress: func(p loadtest.Progress) { cancel() }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Interrupted != 1 || r.Dropped != 2 || r.Wall == 0 || r.OK() {
		t.Errorf("%+v", r)
	}
}
