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
		f := recordingFindings(r, row)
		if over(row) && y.files != "" {
			last := &f[len(f)-1]
			last.Attrs = append(last.Attrs, y.look(row)...)
		}
		found = append(found, f...)
	}
	return found, nil
}

// recordingFindings describes a recording, and before that says if it is left
// behind.
func recordingFindings(r server.RoomHistory, row server.RecordingHistory) (found []scenarios.Finding) {
	if !over(row) && !r.EndedAt.IsZero() {
		found = append(found, left("recording", row.RecordingID))
	}
	status := "active"
	if !row.EndedAt.IsZero() {
		status = "ended"
	}
	who := slices.Sorted(slices.Values(row.Participants))
	return append(found, scenarios.Finding{What: "recording", Attrs: []trace.Attr{trace.String("room", row.RoomID), trace.String("recording", row.RecordingID), trace.String("state", row.Status), trace.String("status", status),
		trace.Float("duration", row.Duration().Round(time.Millisecond).Seconds()), trace.Int("size", row.FileSize), trace.String("participants", strings.Join(who, ","))}})
}

// over reports whether nothing becomes of a recording any more.
func over(row server.RecordingHistory) bool {
	return row.Status == string(signaling.RecordingReady) || row.Status == string(signaling.RecordingFailed)
}

// look reads a recording's file: whether it plays, and for how long.
func (y *system) look(row server.RecordingHistory) []trace.Attr {
	b, err := os.ReadFile(y.recorder().File(row.File))
	return fileAttrs(b, err, row.FileSize)
}

// fileAttrs tell what a recording's file is that was read, and how long it plays.
func fileAttrs(b []byte, err error, size int64) []trace.Attr {
	if errors.Is(err, fs.ErrNotExist) {
		return []trace.Attr{trace.String("file", "absent")}
	}
	c, err2 := clip.Read(b)
	if err != nil || err2 != nil || size != 0 && size != int64(len(b)) {
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

// recorder is where recordings go. For the mock the folder of files stands for the
// root of its file system; a real one has this machine's.
func (y *system) recorder() server.RecordingFolder {
	path := filepath.Join(y.files, "recordings")
	if y.mock == nil {
		return server.RecordingFolder{Base: "file://" + path, Path: path}
	}
	return server.RecordingFolder{Base: "file:///recordings", Path: path}
}
