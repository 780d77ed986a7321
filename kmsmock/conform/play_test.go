package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// TestPlantedDifferences alters recordings in each way that the player must
// notice, and wants it told where.
func TestPlantedDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		alter func(lines []transcript.Line) []transcript.Line
		want  string
	}{
		"nothing":           {"22_loopback_media", func(l []transcript.Line) []transcript.Line { return l }, ""},
		"value":             {"02_create_pipeline", replace("MediaPipeline\"}}", "MediaPipe\"}}"), "02_create_pipeline.jsonl:5: create.result.value"},
		"missing member":    {"01_connect_ping_keepalive", replace(`"serverId":`, `"server":`), `has no "server"`},
		"member too many":   {"01_connect_ping_keepalive", replace(`"serverId":`, `"server":`), `has "serverId" too many`},
		"error text":        {"18a_errors_rpc", replace(`Method not found.`, `Method not found`), `.error.message is "Method not found."`},
		"error code":        {"18a_errors_rpc", replace(`-32601`, `-32600`), `.error.code is -32601, want -32600`},
		"event missing":     {"22_loopback_media", repeat(`"state":"READY"`), "no event IceComponentStateChanged"},
		"event too many":    {"22_loopback_media", drop(`"state":"READY"`), "an event too many: IceComponentStateChanged"},
		"event's value":     {"22_loopback_media", replace(`"state":"READY"`, `"state":"REDDY"`), "no event IceComponentStateChanged"},
		"order of states":   {"12_recorder", exchange(`"state":"PAUSE"`, `"state":"STOP"`), "comes before"},
		"close code":        {"18c_errors_json_and_frames", closeCode(1007, 1008), "ended with 1007"},
		"close text":        {"18d_ws_path_and_subprotocols", closeText("Invalid path"), `ended with 1002 "Invalid path", want 1002 "changed"`},
		"late event":        {"22_loopback_media", later(`"state":"READY"`), "was recorded"},
		"answer in the SDP": {"05_process_offer", replace(`a=rtcp-mux`, `a=rtcp-mix`), `processOffer.result.value`},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("..", "testdata", "transcripts", c.file+".jsonl")
			lines, err := transcript.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var found []Difference
			synctest.Test(t, func(*testing.T) { found = PlayMock(context.Background(), file, c.alter(lines)) })
			if c.want == "" {
				for _, d := range found {
					t.Error(d)
				}
				return
			}
			if !slices.ContainsFunc(found, func(d Difference) bool { return strings.Contains(d.String(), c.want) }) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}

// replace changes what was received.
func replace(old, with string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		for i := range lines {
			if lines[i].Dir == transcript.Recv {
				lines[i].Msg = json.RawMessage(bytes.ReplaceAll(lines[i].Msg, []byte(old), []byte(with)))
			}
		}
		return lines
	}
}

func find(lines []transcript.Line, text string) int {
	return slices.IndexFunc(lines, func(l transcript.Line) bool {
		return l.Dir == transcript.Recv && bytes.Contains(l.Msg, []byte(text)) && bytes.Contains(l.Msg, []byte("onEvent"))
	})
}

// repeat lets an event come once more than it did.
func repeat(text string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		i := find(lines, text)
		return slices.Insert(lines, i+1, lines[i])
	}
}

func drop(text string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		i := find(lines, text)
		return slices.Delete(lines, i, i+1)
	}
}

// exchange gives two events each other's message, and leaves their times.
func exchange(a, b string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		x, y := find(lines, a), find(lines, b)
		lines[x].Msg, lines[y].Msg = lines[y].Msg, lines[x].Msg
		return lines
	}
}

func closeCode(old, with int) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		for i := range lines {
			if lines[i].CloseCode == old {
				lines[i].CloseCode = with
			}
		}
		return lines
	}
}

func closeText(old string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		for i := range lines {
			if lines[i].CloseText == old {
				lines[i].CloseText = "changed"
			}
		}
		return lines
	}
}

// later says that an event came a minute after it did.
func later(text string) func([]transcript.Line) []transcript.Line {
	return func(lines []transcript.Line) []transcript.Line {
		lines[find(lines, text)].At += 60_000
		return lines
	}
}

// TestAnswersOutOfOrder lets a server answer two requests in the wrong order.
func TestAnswersOutOfOrder(t *testing.T) {
	c := &conn{}
	c.ask(asked{id: 1.0})
	c.ask(asked{id: 2.0})
	c.ask(asked{id: "3"})
	if older, late := c.paid(2.0); !late || older != 1.0 {
		t.Errorf("older %v, late %v", older, late)
	}
	if _, late := c.paid(nil); late {
		t.Error("an answer without id belongs to the oldest request")
	}
	if _, late := c.paid("3"); late {
		t.Error("the rest is in order")
	}
}

func TestWritten(t *testing.T) {
	for frame, want := range map[string]string{
		`{"a":1,"b":{"c":"x y","d":[1,{"e":null}]}}`: "",
		`{"b":1,"a":2}`:            `has "a" behind "b"`,
		`{"a":[{"z":1},{"a":1}]}`:  "",
		`{"a":{"z":"b","a":1}}`:    `has "a" behind "z"`,
		`{"a": 1}`:                 "is not compact",
		"{\"a\":1}\n":              "is not compact",
		`{"a":"b","c":{},"b":[1]}`: `has "b" behind "c"`,
	} {
		if got := written([]byte(frame)); got != want {
			t.Errorf("%s %s, want %q", frame, got, want)
		}
	}
}
