package simclient

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// recording is what a page in a real Chromium saw of one PeerConnection. The
// files in testdata/chromium have all of it as it was, chance included.
type recording struct {
	// Version is the browser's product and full version, UserAgent what pages see.
	Version   string `json:"version"`
	UserAgent string `json:"userAgent"`
	// Page says what the page did.
	Page     string `json:"page"`
	Offer    string `json:"offer"`
	Gathered struct {
		// Candidates are what RTCIceCandidate.toJSON gave, and null where the event had no
		// candidate.
		Candidates []*trickled `json:"candidates"`
	} `json:"gathered"`
	// Restart is the offer after an answer and restartIce().
	Restart string `json:"restart,omitempty"`
}

// trickled is a candidate as apps put it on the wire.
type trickled struct {
	Candidate        string `json:"candidate"`
	SDPMid           string `json:"sdpMid"`
	SDPMLineIndex    int    `json:"sdpMLineIndex"`
	UsernameFragment string `json:"usernameFragment,omitempty"`
}

func recordingFile(name string) string { return filepath.Join("testdata", "chromium", name+".json") }

func readRecording(t *testing.T, name string) *recording {
	t.Helper()
	b, err := os.ReadFile(recordingFile(name))
	if err != nil {
		t.Fatal(err)
	}
	r := new(recording)
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatalf("%s: %v", recordingFile(name), err)
	}
	return r
}

func (r *recording) write(t *testing.T, name string) {
	t.Helper()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordingFile(name), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
