package world

import (
	"os"
	"path/filepath"
	"testing"

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

// TestBrowser plays the scenarios with a real browser in them, one after the
// other: it takes a processor of its own.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in a real browser; run without -short")
	}
	if why := noChromium(); why != "" {
		t.Skip(why)
	}
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
