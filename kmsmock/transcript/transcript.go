// Package transcript is the format in which conversations with a Kurento Media
// Server are kept: one JSON object a line, in the order in which things
// happened. A line is a frame that the client sent, one that it received, or a
// note about what happened beside the frames.
package transcript

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The directions of a line, from the client's side.
const (
	Send = "send"
	Recv = "recv"
	Note = "note"
)

// PeersUnseen is the note of a recording that was made between client and server,
// so that it says nothing of peers.
const PeersUnseen = "recorded between client and server, who do not see peers"

// A Line is one line of a transcript. A frame is in Msg if it is plain JSON,
// else in Raw as it was, or in RawQuoted as a Go string literal.
type Line struct {
	Number int     `json:"-"`                // from 1
	Dir    string  `json:"dir"`              // Send, Recv or Note
	At     float64 `json:"t_ms"`             // since the beginning, in ms
	Conn   string  `json:"conn,omitempty"`   // name of the websocket connection
	Took   float64 `json:"lat_ms,omitempty"` // of a response, since its request; of a dial

	Msg       json.RawMessage `json:"msg,omitempty"`
	Raw       *string         `json:"raw,omitempty"`
	RawQuoted *string         `json:"raw_quoted,omitempty"`
	RawLen    int             `json:"raw_len,omitempty"` // of the whole frame, if Raw is its beginning
	Opcode    string          `json:"opcode,omitempty"`  // "binary"; text if empty

	Note       string `json:"note,omitempty"`
	URL        string `json:"url,omitempty"`         // that was dialled
	HTTPStatus int    `json:"http_status,omitempty"` // of an upgrade
	Status     int    `json:"status,omitempty"`      // of a request without upgrade
	CloseCode  int    `json:"close_code,omitempty"`
	CloseText  string `json:"close_text,omitempty"`
	Payload    string `json:"payload,omitempty"` // of a ping or pong

	// Of the answer to a request, with or without upgrade.
	Header                http.Header `json:"http_header,omitempty"`
	RequestedSubprotocols []string    `json:"req_subprotocols,omitempty"`
	Subprotocol           string      `json:"subprotocol,omitempty"`

	Peer  string `json:"peer,omitempty"` // that a note is about
	Label string `json:"label,omitempty"`
	Text  string `json:"text,omitempty"`
	// Value is what a browser's state changed to, in notes.
	Value json.RawMessage `json:"value,omitempty"`
	// Candidate is a string in some notes and an object in others.
	Candidate json.RawMessage `json:"candidate,omitempty"`

	completed bool // Raw was completed from its beginning and RawLen
}

// Duration is when the line happened, counted from the beginning.
func (l *Line) Duration() time.Duration { return time.Duration(l.At * float64(time.Millisecond)) }

// CandidateText is the ICE candidate that a note tells of, "" for none.
func (l *Line) CandidateText() string {
	var text string
	if json.Unmarshal(l.Candidate, &text) != nil {
		return ""
	}
	return text
}

// Frame is a frame's text as it went over the wire.
func (l *Line) Frame() string {
	switch {
	case l.Raw != nil:
		return *l.Raw
	case l.RawQuoted != nil:
		s, err := strconv.Unquote(*l.RawQuoted)
		if err != nil {
			return *l.RawQuoted
		}
		return s
	}
	return string(l.Msg)
}

// maxLine is the longest line that is read, in bytes.
const maxLine = 64 << 20

// Read reads a transcript. Its errors name the line.
func Read(r io.Reader) ([]Line, error) {
	var out []Line
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for number := 1; scanner.Scan(); number++ {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		l := Line{Number: number}
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if l.Dir != Send && l.Dir != Recv && l.Dir != Note {
			return nil, fmt.Errorf("line %d: dir is %q, want send, recv or note", number, l.Dir)
		}
		l.complete()
		out = append(out, l)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", len(out)+1, err)
	}
	return out, nil
}

// ReadFile reads the transcript in a file.
func ReadFile(name string) ([]Line, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return lines, nil
}

// longestFrame is the longest frame that is rebuilt, in bytes; Kurento takes 32 million.
const longestFrame = 64 << 20

// complete rebuilds a frame that was kept by its beginning only: a long string
// of one character or deeply nested arrays, at the end of a request's params.
func (l *Line) complete() {
	if l.Dir != Send || l.Raw == nil || l.RawLen <= len(*l.Raw) || l.RawLen > longestFrame {
		return
	}
	const tail = "}}"
	text := strings.TrimRight(*l.Raw, "….")
	if text == "" || text[len(text)-1] >= 0x80 {
		return
	}
	switch last := text[len(text)-1:]; last {
	case "[":
		head := strings.TrimRight(text, "[")
		depth := (l.RawLen - len(head) - len(tail)) / 2
		text = head + strings.Repeat("[", max(depth, 0)) + strings.Repeat("]", max(depth, 0)) + tail
	default:
		missing := l.RawLen - len(text) - len(tail) - 1
		text += strings.Repeat(last, max(missing, 0)) + `"` + tail
	}
	l.Raw, l.completed = &text, true
}

// A Writer writes a transcript. It is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	start time.Time
}

// NewWriter begins a transcript: times are counted from now.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, start: time.Now()} }

// Write writes a line that happened at the given time.
func (w *Writer) Write(l Line, at time.Time) error {
	l.At = float64(at.Sub(w.start).Microseconds()) / 1000
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err
	}
	_, err := w.w.Write(b.Bytes())
	return err
}

// SetFrame puts a frame into the line: as JSON if it is plain JSON as Kurento
// or a client writes it, else as it is.
func (l *Line) SetFrame(frame []byte) {
	text := string(frame)
	switch {
	case utf8.Valid(frame) && isCompact(frame):
		l.Msg = json.RawMessage(text)
	case strconv.CanBackquote(strings.ReplaceAll(text, "`", "")):
		l.Raw = &text
	default:
		quoted := strconv.Quote(text)
		l.RawQuoted = &quoted
	}
}

// isCompact tells whether a frame is a JSON object without spaces between its
// tokens, so that a line can hold it as it is.
func isCompact(frame []byte) bool {
	var compact bytes.Buffer
	return len(frame) > 0 && frame[0] == '{' && json.Compact(&compact, frame) == nil && compact.Len() == len(frame)
}
