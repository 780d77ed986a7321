package world

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// browserSuite are the scenarios that take a browser.
func browserSuite(t *testing.T) (list []*scenarios.Scenario) {
	t.Helper()
	all, err := scenarios.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Chromium() {
			list = append(list, s)
		}
	}
	return list
}

// needBrowser skips a test that needs a real browser where there is none.
func needBrowser(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("plays in a real browser; run without -short")
	}
	if why := noChromium(); why != "" {
		t.Skip(why)
	}
}

// A media server that sends a browser its own media back is found out by the marks
// that come, and by what the browser renders; what it shows is kept.
func TestBrowserFindsCrossedMedia(t *testing.T) {
	needBrowser(t)
	s, err := scenarios.Parse("crossed.call", `clients alice=chromium bob=electron
alice call bob
expect bob incoming
bob accept
expect alice,bob connected within=10s
expect alice event media.wrong_origin within=10s
expect alice picture within=3s
`)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	stage := LocalStage("", 1, Plant{KMS: kmsmock.Faults{CrossMedia: kmsmock.CrossOwn}})
	stage.Keep = func(name string, content []byte) error {
		kept[name] = len(content)
		return nil
	}
	r := scenarios.Play(t.Context(), stage, s, 1, trace.New(nil))
	if r.Verdict != reports.Fail || r.Failures[0].Line != 7 {
		t.Errorf("%s %s", r.Verdict, explain(r))
	}
	if !slices.ContainsFunc(r.Failures, func(f reports.Failure) bool { return f.Check == "wrong-origin" }) {
		t.Errorf("no failure is of wrong-origin: %s", explain(r))
	}
	if len(kept) != 1 || kept["alice.png"] < 1000 {
		t.Errorf("kept %v", kept)
	}
}

// TestBrowser plays the scenarios with a real browser in them, one after the
// other: it takes a processor of its own.
func TestBrowser(t *testing.T) {
	needBrowser(t)
	kms := os.Getenv("CALLBENCH_KMS_URL")
	for _, s := range browserSuite(t) {
		t.Run(s.Name, func(t *testing.T) {
			dir := t.ArtifactDir()
			stage := LocalStage(kms, 1, Plant{})
			stage.Keep = func(name string, content []byte) error {
				return os.WriteFile(filepath.Join(dir, name), content, 0o644)
			}
			log := trace.New(nil)
			var events []trace.Event
			log.Watch(func(e trace.Event) { events = append(events, e) })
			r := scenarios.Play(t.Context(), stage, s, 1, log)
			played(t, r, events, "a real Kurento")
		})
	}
}
