package transcript

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWriteThenRead writes frames of every kind and reads them back.
func TestWriteThenRead(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	frames := []string{`{"id":1,"jsonrpc":"2.0"}`, `{"b":"<&>é"}`, "{\"id\":\r\n1}", "", `[1,2]`, "no JSON", "\x00\xff\xfe", "a `b`"}
	for _, f := range frames {
		l := Line{Dir: Send, Conn: "A"}
		l.SetFrame([]byte(f))
		if err := w.Write(l, w.start.Add(1500*time.Microsecond)); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := Read(&b)
	if err != nil || len(lines) != len(frames) {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for i, l := range lines {
		if l.Frame() != frames[i] || l.Number != i+1 || l.At != 1.5 || l.Duration() != 1500*time.Microsecond {
			t.Errorf("line %d at %v is %q, want %q", l.Number, l.At, l.Frame(), frames[i])
		}
	}
}

// TestLongFrames were recorded by their beginnings.
func TestLongFrames(t *testing.T) {
	lines, err := ReadFile(filepath.Join("..", "testdata", "transcripts", "18c_errors_json_and_frames.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range lines {
		if !l.completed {
			continue
		}
		n++
		if len(l.Frame()) != l.RawLen || !json.Valid([]byte(l.Frame())) {
			t.Errorf("line %d has %d bytes, want %d of JSON", l.Number, len(l.Frame()), l.RawLen)
		}
	}
	if n < 8 {
		t.Errorf("%d long frames", n)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"{\"dir\":\"note\"}\n{":                 "line 2: ",
		`{"dir":"up"}`:                          `line 1: dir is "up", want send, recv or note`,
		"\n\n{\"dir\":\"note\",\"t_ms\":\"x\"}": "line 3: ",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`{"dir":"send","raw":"{\"a\":[[[","raw_len":40}`)
	f.Add(`{"dir":"send","raw":"xxxxx…","raw_len":400}`)
	f.Add(`{"dir":"recv","raw_quoted":"\"\\x00\"","conn":"A"}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, l := range lines {
			_, _ = l.Frame(), l.CandidateText()
		}
	})
}
