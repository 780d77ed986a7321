package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// hall is a signaling server with rooms, on a media server on sockets.
type hall struct {
	t        *testing.T
	real     bool // the media server is a Kurento
	loopback bool
	files    string // where recordings go
	web      *httptest.Server
	history  *store.MemoryHistory
	control  *kurento.Client
	log      *trace.Log
	pacer    *media.Pacer

	mu     sync.Mutex
	events []trace.Event
}

// halls runs a test with the mock, and with a real Kurento where
// CALLBENCH_KMS_URL names one.
func halls(t *testing.T, test func(t *testing.T, h *hall)) {
	if testing.Short() {
		t.Skip("media flow in real time, for seconds")
	}
	t.Run("mock", func(t *testing.T) {
		mock, err := kmsmock.New(kmsmock.Config{Interfaces: []string{"lo"}, Timing: kmsmock.Fast})
		must(t, err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		served := make(chan error, 1)
		go func() { served <- mock.Serve(ln) }()
		t.Cleanup(func() { must(t, errors.Join(mock.Close(), <-served)) })
		test(t, newHall(t, "ws://"+ln.Addr().String()+"/kurento", false))
	})
	t.Run("kurento", func(t *testing.T) {
		at := os.Getenv("CALLBENCH_KMS_URL")
		if at == "" {
			t.Skip("no Kurento: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
		}
		test(t, newHall(t, at, true))
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHall(t *testing.T, at string, real bool) *hall {
	t.Helper()
	u, err := url.Parse(at)
	must(t, err)
	h := &hall{t: t, real: real, loopback: net.ParseIP(u.Hostname()).IsLoopback(), files: t.TempDir(),
		history: store.NewMemoryHistory(), log: trace.New(nil), pacer: media.NewPacer(media.PacerConfig{Workers: 2})}
	t.Cleanup(func() { _ = h.pacer.Close() })
	h.log.Watch(func(e trace.Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, e)
	})
	h.control, err = kurento.Dial(t.Context(), kurento.Config{URL: at})
	must(t, err)
	t.Cleanup(func() { _ = h.control.Close() })
	m, err := kms.Dial(t.Context(), kms.Config{URL: at})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	redis := miniredis.RunT(t)
	state := store.NewRedis(store.RedisConfig{Addr: redis.Addr()})
	t.Cleanup(func() { must(t, state.Close()) })
	s, err := server.New(server.Config{Media: m, State: state, History: h.history, AllowLoopback: true, Recordings: h,
		Auth: func(_ context.Context, token string) (server.Identity, error) {
			return server.Identity{User: token}, nil
		},
		Log: slog.New(trace.Handler(h.log, "server"))})
	must(t, err)
	t.Cleanup(s.Close)
	h.web = httptest.NewServer(s)
	t.Cleanup(h.web.Close)
	return h
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

// guest connects a client. It shows a barcode of few bits, and reads those that
// it sees if it looks.
func (h *hall) guest(user string, look time.Duration) *simclient.Client {
	h.t.Helper()
	opus, err := media.Load(media.ClipOpus)
	must(h.t, err)
	c, err := simclient.New(simclient.Config{User: user, URL: "ws" + strings.TrimPrefix(h.web.URL, "http") + "/ws",
		Token: func(context.Context) (string, error) { return user, nil },
		Clips: []*media.Clip{opus, media.NewBarcodeClip(0)}, Look: look, Pacer: h.pacer, Silence: 5 * time.Second,
		Loopback: h.loopback, IPFilter: func(ip net.IP) bool { return ip.To4() != nil && ip.IsLoopback() == h.loopback },
		Log: slog.New(trace.Handler(h.log, user))})
	must(h.t, err)
	h.t.Cleanup(func() { must(h.t, c.Close()) })
	must(h.t, c.Connect(h.t.Context()))
	return c
}

// seen are the events of a kind that match.
func (h *hall) seen(kind trace.Kind, match func(trace.Event) bool) (found []trace.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == kind && match(e) {
			found = append(found, e)
		}
	}
	return found
}

// await waits until a condition holds.
func (h *hall) await(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			h.t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// get waits until each of the users has got so many units of each medium since
// the instant.
func (h *hall) get(since time.Duration, units float64, users ...string) {
	h.t.Helper()
	for _, user := range users {
		for _, medium := range []string{server.Audio, server.Video} {
			h.await(fmt.Sprintf("%s gets %.0f units of %s", user, units, medium), func() bool {
				got := 0.0
				for _, e := range h.seen("media.window", func(e trace.Event) bool {
					return e.Actor == user && e.T > since && e.Get("media") == medium
				}) {
					got += e.Number("units")
				}
				return got >= units
			})
		}
	}
}

// clean checks that no client saw anything that it should not have.
func (h *hall) clean(mixed bool) {
	h.t.Helper()
	for _, kind := range []trace.Kind{"media.wrong_origin", "media.unmarked", "protocol.violation", "client.failure", "error"} {
		if found := h.seen(kind, func(trace.Event) bool { return true }); len(found) > 0 && !(mixed && kind == "media.unmarked") {
			h.t.Errorf("%d %s, the first of %s: %s", len(found), kind, found[0].Actor, found[0].Append(nil))
		}
	}
}

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
		rows, err = h.history.Archive().Recordings(h.t.Context(), "stage", server.Page{Limit: 10})
		must(h.t, err)
		return len(rows) == 1 && rows[0].Status == string(signaling.RecordingReady)
	})
	if rows[0].FileSize == 0 || len(rows[0].Participants) != members {
		h.t.Errorf("row %+v", rows[0])
	}
	return rows[0]
}

// plays checks with ffprobe that the file is as long as the row says, and has
// both media.
func (h *hall) plays(row server.RecordingHistory) {
	h.t.Helper()
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
	if off := seconds - row.Duration().Seconds(); len(said.Streams) != 2 || off > 1 || off < -1 {
		h.t.Errorf("the file has %v and is %.2f s long, the row says %v", said.Streams, seconds, row.Duration())
	}
	h.t.Logf("recorded %v: %d bytes, %.2f s", row.Duration(), row.FileSize, seconds)
}

// over checks that nothing is left of the room once everybody has left it.
func (h *hall) over(pipelines []kurento.ObjectID, guests ...*simclient.Client) {
	h.t.Helper()
	for _, c := range guests {
		must(h.t, c.Leave(h.t.Context(), ""))
	}
	h.await("the room has ended", func() bool {
		rooms := h.history.Rooms()
		return len(rooms) == 1 && rooms[0].Status() == "ended"
	})
	for _, m := range h.history.Members("stage") {
		if m.LeftAt.IsZero() {
			h.t.Errorf("%s is still in the room, by its row", m.UserID)
		}
	}
	left, err := h.control.ServerManager().Pipelines(h.t.Context())
	must(h.t, err)
	for _, id := range left {
		if !slices.Contains(pipelines, id) {
			h.t.Errorf("%s is left on the media server", id)
		}
	}
}

// pipelines are what the media server holds before.
func (h *hall) pipelines() []kurento.ObjectID {
	ids, err := h.control.ServerManager().Pipelines(h.t.Context())
	must(h.t, err)
	return ids
}

// TestServiceBroadcast has one member seen and heard by 50, each of whom proves
// by the markers that it gets whole what the publisher sent, and a recording.
func TestServiceBroadcast(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		audience, before := 50, h.pipelines()
		if !h.real {
			audience = 5 // in virtual time there are more
		}
		host := h.guest("host", 0)
		must(t, host.Join(t.Context(), "stage", simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		guests, users := []*simclient.Client{host}, []string(nil)
		for i := range audience {
			users = append(users, fmt.Sprintf("viewer-%d", i))
			c := h.guest(users[i], 0)
			must(t, c.Join(t.Context(), "stage", simclient.RoomOptions{}))
			guests = append(guests, c)
		}
		h.get(0, 20, users...)
		row := h.record(host, audience+1, func() { h.get(h.log.Now(), 60, users...) })
		for _, c := range guests[1:3] {
			must(t, c.Leave(t.Context(), ""))
		}
		h.get(h.log.Now(), 20, users[2:]...)
		h.over(before, append(guests[3:], host)...)
		h.clean(false)
		h.plays(row)
		t.Log(h.totals(users[2:]))
	})
}

// totals sums up what the users got in the whole.
func (h *hall) totals(users []string) string {
	var units, lost, freezes float64
	for _, e := range h.seen("media.total", func(e trace.Event) bool { return slices.Contains(users, e.Actor) }) {
		units, lost, freezes = units+e.Number("units"), lost+e.Number("lost"), freezes+e.Number("freezes")
	}
	return fmt.Sprintf("%d viewers got %.0f units, lost %.0f, and froze %.0f times", len(users), units, lost, freezes)
}

// TestServiceMix has six members see each other in one picture. With a real
// Kurento everybody reads six barcodes in it; the mock shows whoever began to
// send last.
func TestServiceMix(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		const members = 6
		before := h.pipelines()
		var guests []*simclient.Client
		var users []string
		for i := range members {
			users = append(users, fmt.Sprintf("member-%d", i))
			c := h.guest(users[i], 500*time.Millisecond)
			must(t, c.Join(t.Context(), "stage", simclient.RoomOptions{Type: "mcu"}))
			guests = append(guests, c)
		}
		row := h.record(guests[0], members, func() { h.sees(0, users, users) })
		must(t, guests[members-1].Leave(t.Context(), ""))
		h.sees(h.log.Now(), users[:members-1], users[:members-1])
		h.over(before, guests[:members-1]...)
		h.clean(true)
		h.plays(row)
	})
}

// sees waits until each of the users has read the barcodes of all others and its
// own in one picture, and each twice with another count: they move.
func (h *hall) sees(since time.Duration, users, shown []string) {
	h.t.Helper()
	for _, user := range users {
		h.await(fmt.Sprintf("%s sees %q", user, shown), func() bool {
			found := h.seen("media.seen", func(e trace.Event) bool {
				return e.Actor == user && e.T > since && (!h.real || int(e.Number("pictures")) == len(shown))
			})
			if !h.real {
				return len(found) > 0
			}
			return !slices.ContainsFunc(shown, func(of string) bool { return !moves(found, of) })
		})
	}
}

// moves reports whether somebody was seen with more than one count.
func moves(found []trace.Event, of string) bool {
	first := -1.0
	for _, e := range found {
		switch {
		case e.Get("from") != of:
		case first < 0:
			first = e.Number("count")
		case first != e.Number("count"):
			return true
		}
	}
	return false
}
