package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Recordings says where recordings go. Names are made of ids alone; that
// of a conference is the client's, of letters, digits, _ and - (see isRoomID).
type Recordings interface {
	// URI is where the media server writes the recording to.
	URI(roomID, recordingID string) string
	// Size is how many bytes a complete recording has.
	Size(ctx context.Context, uri string) (int64, error)
}

// RecordingFolder is a Recordings of files, in a folder for each room.
type RecordingFolder struct {
	Base string // what the media server calls the folder: "file:///recordings"
	Path string // where the folder is on this machine
}

// URI implements Recordings.
func (f RecordingFolder) URI(roomID, recordingID string) string {
	return strings.TrimSuffix(f.Base, "/") + "/" + roomID + "/" + recordingID + ".webm"
}

// Size implements Recordings.
func (f RecordingFolder) Size(_ context.Context, uri string) (int64, error) {
	info, err := os.Stat(f.File(uri))
	if err != nil {
		return 0, fmt.Errorf("size of a recording: %w", err)
	}
	return info.Size(), nil
}

// File is where the file of a URI of this folder's is on this machine.
func (f RecordingFolder) File(uri string) string {
	return filepath.Join(f.Path, filepath.FromSlash(strings.TrimPrefix(uri, strings.TrimSuffix(f.Base, "/"))))
}
