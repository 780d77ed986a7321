package world

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
)

// record records the room for as long as the body takes, and returns the row.
func (h *hall) record(owner *simclient.Client, members int, body func()) server.RecordingHistory {
	h.t.Helper()
	if !h.loopback {
		h.t.Skip("the media server is not on this machine: its files cannot be looked at")
	}
	told := func(state signaling.RecordingState) func() bool {
		return func() bool {
			return len(h.seen("room.recording", func(e trace.Event) bool { return e.Get("state") == string(state) })) == members
		}
	}
	must(h.t, owner.Record(h.t.Context(), signaling.RecordStart))
	h.await("everybody knows of the recording", told(signaling.RecordingRuns))
	body()
	must(h.t, owner.Record(h.t.Context(), signaling.RecordStop))
	h.await("everybody knows that it is ready", told(signaling.RecordingReady))
	var rows []server.RecordingHistory
	h.await("the recording is written down as ready", func() bool {
		var err error
		rows, err = h.history.Archive().Recordings(h.t.Context(), h.room(), server.Page{Limit: 10})
		must(h.t, err)
		return len(rows) == 1 && rows[0].Status == string(signaling.RecordingReady)
	})
	if rows[0].FileSize == 0 || len(rows[0].Participants) != members {
		h.t.Errorf("row %+v", rows[0])
	}
	return rows[0]
}

// plays checks with ffprobe that the file is as long as the row says, and has
// these codecs, VP8 and Opus unless told.
func (h *hall) plays(row server.RecordingHistory, codecs ...string) {
	h.t.Helper()
	if len(codecs) == 0 {
		codecs = []string{"opus", "vp8"}
	}
	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		h.t.Skip("ffprobe is not installed: the file cannot be looked into")
	}
	out, err := exec.Command(ffprobe, "-v", "error", "-of", "json", "-show_entries", "format=duration:stream=codec_name",
		strings.TrimPrefix(row.File, "file://")).CombinedOutput()
	if err != nil {
		h.t.Fatalf("ffprobe: %v: %s", err, out)
	}
	var said struct {
		Streams []struct {
			Codec string `json:"codec_name"`
		}
		Format struct{ Duration string }
	}
	must(h.t, json.Unmarshal(out, &said))
	seconds, err := strconv.ParseFloat(said.Format.Duration, 64)
	must(h.t, err)
	var found []string
	for _, stream := range said.Streams {
		found = append(found, stream.Codec)
	}
	slices.Sort(found)
	if off := seconds - row.Duration().Seconds(); !slices.Equal(found, codecs) || off > 1 || off < -1 {
		h.t.Errorf("the file has %q and is %.2f s long, the row says %v", found, seconds, row.Duration())
	}
	h.t.Logf("recorded %v: %d bytes, %.2f s", row.Duration(), row.FileSize, seconds)
}

// TestServiceRecordedCall records a call: its media are mixed for the recorder,
// and go between the two as they were sent.
func TestServiceRecordedCall(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		alice, bob := h.guest("alice", 0), h.guest("bob", 0)
		must(t, alice.Call(t.Context(), "bob"))
		h.await("bob rings", func() bool { return len(h.seen("call.incoming", func(trace.Event) bool { return true })) == 1 })
		must(t, bob.Accept(t.Context()))
		h.get(0, 20, "alice", "bob")
		row := h.record(alice, 2, func() { h.get(h.log.Now(), 60, "alice", "bob") })
		must(t, alice.Hangup(t.Context()))
		h.over()
		h.clean(false)
		h.plays(row)
	})
}

// URI implements server.Recordings.
func (h *hall) URI(room, recording string) string {
	return "file://" + filepath.Join(h.files, room, recording+".webm")
}

// Size implements server.Recordings.
func (h *hall) Size(_ context.Context, uri string) (int64, error) {
	info, err := os.Stat(strings.TrimPrefix(uri, "file://"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// TestServiceRecordingWithoutCamera records a publisher who sends no video: the
// file has sound only.
func TestServiceRecordingWithoutCamera(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		host := h.guest("host", 0, func(cfg *simclient.Config) { cfg.NoCamera = true })
		must(t, host.Join(t.Context(), "stage", simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		viewer := h.guest("viewer", 0)
		must(t, viewer.Join(t.Context(), "stage", simclient.RoomOptions{}))
		hears := func(since trace.Event) bool {
			return len(h.seen("media.window", func(e trace.Event) bool {
				return e.Actor == "viewer" && e.T > since.T && e.Get("media") == server.Audio && e.Number("units") > 0
			})) > 1
		}
		h.await("viewer hears host", func() bool { return hears(trace.Event{}) })
		row := h.record(host, 2, func() {
			began := trace.Event{T: h.log.Now()}
			h.await("viewer hears more", func() bool { return hears(began) })
		})
		h.over(viewer, host)
		h.clean(false)
		h.plays(row, "opus")
	})
}

// TestServicePublisherNegotiatesAgain cuts the publisher's media off until its
// client makes its leg anew: the viewers get media again, each of which keeps its
// own, and the recording goes on in the same file.
func TestServicePublisherNegotiatesAgain(t *testing.T) {
	realHall(t, func(t *testing.T, h *hall) { // with the mock scenarios play this in virtual time: a client takes 30 s to give its media up
		users := []string{"viewer-0", "viewer-1"}
		host := h.guest("host", 0)
		must(t, host.Join(t.Context(), "stage", simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		guests := []*simclient.Client{host}
		for _, user := range users {
			c := h.guest(user, 0)
			must(t, c.Join(t.Context(), "stage", simclient.RoomOptions{}))
			guests = append(guests, c)
		}
		h.get(0, 20, users...)
		row := h.record(host, len(guests), func() {
			h.get(h.log.Now(), 30, users...)
			h.links["host"].CutUDP(true)
			h.await("host makes its leg anew", func() bool {
				return len(h.seen("call.negotiate", func(e trace.Event) bool { return e.Actor == "host" })) > 0
			})
			h.links["host"].CutUDP(false)
			h.get(h.log.Now(), 60, users...)
		})
		h.over(guests...)
		h.clean(false)
		h.plays(row)
		for _, e := range h.seen("media.total", func(e trace.Event) bool { return slices.Contains(users, e.Actor) }) {
			t.Logf("%s got no %s for %.0f ms", e.Actor, e.Get("media"), e.Number("gap_max_ms"))
		}
		if legs := h.seen("call.negotiate", func(e trace.Event) bool { return slices.Contains(users, e.Actor) }); len(legs) > 0 {
			t.Errorf("%s, whom it does not concern, made its leg anew", legs[0].Actor)
		}
	})
}
