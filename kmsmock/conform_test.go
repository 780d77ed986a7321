package kmsmock_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/kmsmock/conform"
	"github.com/callbench/callbench/kmsmock/transcript"
)

// TestConform replays the recordings of a real Kurento: against the mock, in
// virtual time where that can be, or against the server at CALLBENCH_KMS_URL,
// which proves the player itself.
func TestConform(t *testing.T) {
	server := os.Getenv("CALLBENCH_KMS_URL")
	files, err := filepath.Glob("testdata/transcripts/*.jsonl")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			lines, err := transcript.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			needs := conform.NeedsOf(name, lines)
			report := func(t *testing.T, differences []conform.Difference) {
				for _, d := range differences {
					t.Error(d)
				}
			}
			switch {
			case server != "":
				if why := needs.Skip(); why != "" {
					t.Skip(why)
				}
				target := conform.Target{URL: server, Dial: (&net.Dialer{}).DialContext, Shared: true}
				report(t, conform.Play(t.Context(), file, lines, target))
			case needs.Sockets:
				t.Parallel()
				report(t, conform.PlayMock(t.Context(), file, lines))
			default:
				synctest.Test(t, func(t *testing.T) { report(t, conform.PlayMock(context.Background(), file, lines)) })
			}
		})
	}
}
