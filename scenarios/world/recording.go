package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/kmsmock/clip"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// mostRecordings is how many recordings of a room a probe looks at.
const mostRecordings = 1000

// recordings describes a room's recordings. One that is neither ready nor failed
// when its room has ended is left behind.
func (y *system) recordings(ctx context.Context, r server.RoomHistory) (found []scenarios.Finding, err error) {
	rows, err := y.history.Archive().Recordings(ctx, r.RoomID, server.Page{Limit: mostRecordings})
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		final := row.Status == string(signaling.RecordingReady) || row.Status == string(signaling.RecordingFailed)
		if !final && !r.EndedAt.IsZero() {
			found = append(found, left("recording", row.RecordingID))
		}
		who := slices.Sorted(slices.Values(row.Participants))
		attrs := []trace.Attr{trace.String("room", row.RoomID), trace.String("recording", row.RecordingID), trace.String("state", row.Status),
			trace.Float("duration", row.Duration().Round(time.Millisecond).Seconds()), trace.Int("size", row.FileSize), trace.String("participants", strings.Join(who, ","))}
		if final && y.files != "" {
			attrs = append(attrs, y.look(row)...)
		}
		found = append(found, scenarios.Finding{What: "recording", Attrs: attrs})
	}
	return found, nil
}

// look reads a recording's file: whether it plays, and for how long.
func (y *system) look(row server.RecordingHistory) []trace.Attr {
	b, err := os.ReadFile(y.shelf().path(row.File))
	if errors.Is(err, fs.ErrNotExist) {
		return []trace.Attr{trace.String("file", "absent")}
	}
	c, err2 := clip.Read(b)
	if err != nil || err2 != nil || row.FileSize != 0 && row.FileSize != int64(len(b)) {
		return []trace.Attr{trace.String("file", "broken")}
	}
	return []trace.Attr{trace.String("file", "plays"), trace.Float("plays", c.Length.Round(time.Millisecond).Seconds())}
}

// makeFolder makes the folder of recordings, into which anybody may write: a real
// media server is another user.
func (y *system) makeFolder() error {
	folder, err := os.MkdirTemp("", "callbench-recordings-")
	if err == nil {
		err = os.Chmod(folder, 0o777)
	}
	if err != nil {
		return fmt.Errorf("make a folder for recordings: %w", err)
	}
	y.files = folder
	return nil
}

// shelf says where recordings go.
func (y *system) shelf() recordings {
	if y.mock == nil { // a real one has this machine's file system
		return recordings{root: "/", below: y.files}
	}
	return recordings{root: y.files}
}

// recordings is where recordings go: root stands for the root of the media server's
// file system, and there they are below a folder. It implements server.Recordings.
type recordings struct{ root, below string }

// URI names a recording's file.
func (r recordings) URI(roomID, recordingID string) string {
	return "file://" + r.below + "/recordings/" + roomID + "/" + recordingID + ".webm"
}

// Size looks at the file.
func (r recordings) Size(_ context.Context, uri string) (int64, error) {
	info, err := os.Stat(r.path(uri))
	if err != nil {
		return 0, fmt.Errorf("size of a recording: %w", err)
	}
	return info.Size(), nil
}

// path is where the file of a URI is.
func (r recordings) path(uri string) string {
	return filepath.Join(r.root, filepath.FromSlash(strings.TrimPrefix(uri, "file://")))
}
