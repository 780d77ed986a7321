package conform

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/callbench/callbench/kmsmock/clip"
	"github.com/callbench/callbench/kmsmock/transcript"
)

// clipLength is how long a clip is taken to be whose recording does not tell.
const clipLength = 5 * time.Second

// A clipSearch finds the files that the players of a recording found.
type clipSearch struct {
	requests map[string]clipFrame     // by connection and id
	uris     map[string]string        // of players, by object
	lengths  map[string]time.Duration // by object, of those that were played
}

// A clipFrame is what the search reads of a frame.
type clipFrame struct {
	ID     json.RawMessage
	Method string
	Result struct{ Value json.RawMessage }
	Params struct {
		Type, Object, Operation string
		ConstructorParams       struct{ URI string }
		Value                   struct {
			Object, Type string
			Data         struct{ Type string }
		}
	}
}

// clipsOf lists the files that a recording plays, by path, with their lengths.
func clipsOf(lines []transcript.Line) map[string]time.Duration {
	s := clipSearch{requests: map[string]clipFrame{}, uris: map[string]string{}, lengths: map[string]time.Duration{}}
	for i := range lines {
		var f clipFrame
		if l := &lines[i]; json.Unmarshal(l.Msg, &f) == nil {
			s.see(l, f)
		}
	}
	out := map[string]time.Duration{}
	for object, length := range s.lengths {
		if path, ok := strings.CutPrefix(s.uris[object], "file://"); ok {
			out[path] = max(out[path], length)
		}
	}
	return out
}

func (s *clipSearch) see(l *transcript.Line, f clipFrame) {
	key := l.Conn + " " + string(f.ID)
	switch {
	case l.Dir == transcript.Send:
		s.requests[key] = f
	case f.Method == "onEvent":
		if e := f.Params.Value; e.Type == "Error" && strings.HasPrefix(e.Data.Type, "INVALID_") {
			delete(s.lengths, e.Object)
		}
	case l.Dir == transcript.Recv:
		s.answer(s.requests[key], f.Result.Value)
	}
}

func (s *clipSearch) answer(request clipFrame, value json.RawMessage) {
	p := request.Params
	switch {
	case request.Method == "create" && strings.TrimPrefix(p.Type, "kurento.") == "PlayerEndpoint":
		var object string
		if json.Unmarshal(value, &object) == nil {
			s.uris[object] = p.ConstructorParams.URI
		}
	case p.Operation == "play" && s.uris[p.Object] != "":
		if s.lengths[p.Object] == 0 {
			s.lengths[p.Object] = clipLength
		}
	case p.Operation == "getVideoInfo":
		var info struct{ Duration int64 }
		if json.Unmarshal(value, &info) == nil && info.Duration > 0 {
			s.lengths[p.Object] = time.Duration(info.Duration) * time.Millisecond
		}
	}
}

// writeClips writes files of those lengths below root: 30 pictures and 50
// packets of audio a second.
func writeClips(root string, clips map[string]time.Duration) error {
	for path, length := range clips {
		name := filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return fmt.Errorf("make a folder for clips: %w", err)
		}
		f, err := os.Create(name)
		if err != nil {
			return fmt.Errorf("make a clip: %w", err)
		}
		if err := writeClip(f, length); err != nil {
			return err
		}
	}
	return nil
}

// writeClip ends with a packet of audio at the clip's whole length, which is
// what the head of the file then says.
func writeClip(f clip.File, length time.Duration) error {
	tracks := []clip.Track{{Codec: clip.VP8, Width: 64, Height: 64}, {Codec: clip.Opus, Channels: 2}}
	w, err := clip.NewWriter(f, clip.WebM, tracks, [][]byte{nil, nil})
	if err != nil {
		return err
	}
	const picture, packet = time.Second / 30, 20 * time.Millisecond
	key := []byte{0x10, 0x02, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	audio := clip.Frame{Track: 1, Key: true, Data: []byte{0xfc, 0xff, 0xfe}}
	for n := 0; time.Duration(n)*picture < length; n++ {
		at := time.Duration(n) * picture
		if err := w.Write(clip.Frame{At: at, Key: true, Data: key}); err != nil {
			return err
		}
		for ; audio.At < min(at+picture, length-packet); audio.At += packet {
			if err := w.Write(audio); err != nil {
				return err
			}
		}
	}
	audio.At = length
	if err := w.Write(audio); err != nil {
		return err
	}
	return w.Close()
}
