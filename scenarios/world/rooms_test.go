package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/pion/transport/v5/stdnet"

	"github.com/callbench/callbench/internal/netsim"
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
	links    map[string]*netsim.Link // by user, and the server's to the media server, "kms"
	restart  func()                  // kills the media server and starts it again

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
		h := newHall(t, "ws://"+ln.Addr().String()+"/kurento", false)
		h.restart = func() { mock.Restart(kmsmock.RestartTime) }
		test(t, h)
	})
	realHall(t, test)
}

// realHall is halls for what only a real Kurento can show in real time.
func realHall(t *testing.T, test func(t *testing.T, h *hall)) {
	t.Run("kurento", func(t *testing.T) {
		at := os.Getenv("CALLBENCH_KMS_URL")
		if at == "" {
			t.Skip("no Kurento: set CALLBENCH_KMS_URL=ws://host:8888/kurento")
		}
		h := newHall(t, at, true)
		h.restart = func() { restartKurento(t) }
		test(t, h)
	})
}

// restartKurento runs the command in CALLBENCH_KMS_RESTART, or skips the test.
func restartKurento(t *testing.T) {
	t.Helper()
	command := os.Getenv("CALLBENCH_KMS_RESTART")
	if command == "" {
		t.Skip("set CALLBENCH_KMS_RESTART to a command that kills the Kurento at CALLBENCH_KMS_URL and starts it again")
	}
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
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
	h := &hall{t: t, real: real, loopback: net.ParseIP(u.Hostname()).IsLoopback(), files: t.TempDir(), links: map[string]*netsim.Link{},
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
	line := netsim.NewLink(netsim.LinkConfig{Host: "kms", Seed: 1})
	t.Cleanup(line.Close)
	h.links["kms"] = line
	m, err := kms.Dial(t.Context(), kms.Config{URL: at, Dial: line.Dialer(new(net.Dialer).DialContext)})
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

// guest connects a client. It shows a barcode of few bits, and reads those that
// it sees if it looks.
func (h *hall) guest(user string, look time.Duration, change ...func(*simclient.Config)) *simclient.Client {
	h.t.Helper()
	std, err := stdnet.NewNet()
	must(h.t, err)
	link := netsim.NewLink(netsim.LinkConfig{Host: user, Seed: 1})
	h.t.Cleanup(link.Close)
	h.links[user] = link
	opus, err := media.Load(media.ClipOpus)
	must(h.t, err)
	cfg := simclient.Config{User: user, URL: "ws" + strings.TrimPrefix(h.web.URL, "http") + "/ws",
		Token: func(context.Context) (string, error) { return user, nil },
		Clips: []*media.Clip{opus, media.NewBarcodeClip(0)}, Look: look, Pacer: h.pacer, Silence: time.Second,
		Loopback: h.loopback, IPFilter: func(ip net.IP) bool { return ip.To4() != nil && ip.IsLoopback() == h.loopback },
		Dial: link.Dialer(new(net.Dialer).DialContext), Net: netsim.Net(std, link), Log: slog.New(trace.Handler(h.log, user))}
	for _, f := range change {
		f(&cfg)
	}
	c, err := simclient.New(cfg)
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

// room is the one room of the test's.
func (h *hall) room() string {
	rooms := h.history.Rooms()
	if len(rooms) != 1 {
		h.t.Fatalf("rooms %+v", rooms)
	}
	return rooms[0].RoomID
}

// over checks that nothing is left of the room once everybody has left it.
func (h *hall) over(guests ...*simclient.Client) {
	h.t.Helper()
	for _, c := range guests {
		must(h.t, c.Leave(h.t.Context(), ""))
	}
	h.await("the room has ended", func() bool {
		rooms := h.history.Rooms()
		return len(rooms) == 1 && rooms[0].Status() == "ended"
	})
	for _, m := range h.history.Members(h.room()) {
		if m.LeftAt.IsZero() {
			h.t.Errorf("%s is still in the room, by its row", m.UserID)
		}
	}
	if left := h.left(); len(left) > 0 {
		h.t.Errorf("%q are left on the media server", left)
	}
}

// left are the pipelines of this server's that the media server holds: others may
// use it too.
func (h *hall) left() (ids []kurento.ObjectID) {
	h.t.Helper()
	there, err := h.control.ServerManager().Pipelines(h.t.Context())
	must(h.t, err)
	for _, e := range h.seen("leg.created", func(trace.Event) bool { return true }) {
		if id := kurento.ObjectID(e.Get("endpoint")).Parent(); slices.Contains(there, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestServiceBroadcast has one member seen and heard by 50, each of whom proves
// by the markers that it gets whole what the publisher sent, and a recording.
func TestServiceBroadcast(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		audience := 50
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
		h.over(append(guests[3:], host)...)
		h.clean(false)
		h.plays(row)
		t.Log(h.totals(users[2:]))
	})
}

// TestServicePublisherChanges has a viewer become the publisher: the others see
// it instead, and it them no more.
func TestServicePublisherChanges(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		var guests []*simclient.Client
		users := []string{"host", "heir", "viewer-1", "viewer-2"}
		for i, user := range users {
			c := h.guest(user, 0)
			o := simclient.RoomOptions{}
			if i == 0 {
				o = simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}
			}
			must(t, c.Join(t.Context(), "stage", o))
			guests = append(guests, c)
		}
		h.get(0, 20, users[1:]...)
		must(t, guests[0].SetRole(t.Context(), "heir", signaling.RolePublisher))
		h.hears("heir", "host", "viewer-1", "viewer-2")
		h.over(guests...)
		h.clean(false)
	})
}

// hears waits until each of the users hears and sees somebody.
func (h *hall) hears(of string, users ...string) {
	h.t.Helper()
	for _, user := range users {
		for _, medium := range []string{server.Audio, server.Video} {
			h.await(fmt.Sprintf("%s gets the %s of %s", user, medium, of), func() bool {
				return len(h.seen("media.window", func(e trace.Event) bool {
					return e.Actor == user && e.Get("media") == medium && e.Get("from") == of && e.Number("units") > 0
				})) > 0
			})
		}
	}
}

// TestServiceMediaServerRestarts kills the media server under a broadcast that is
// recorded: the recording fails, everybody is asked to offer anew, and the room
// goes on.
func TestServiceMediaServerRestarts(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		host := h.guest("host", 0)
		must(t, host.Join(t.Context(), "stage", simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		guests, users := []*simclient.Client{host}, []string{"viewer-0", "viewer-1", "viewer-2"}
		for _, user := range users {
			c := h.guest(user, 0)
			must(t, c.Join(t.Context(), "stage", simclient.RoomOptions{}))
			guests = append(guests, c)
		}
		h.get(0, 20, users...)
		must(t, host.Record(t.Context(), signaling.RecordStart))
		told := func(state signaling.RecordingState) func() bool {
			return func() bool {
				return len(h.seen("room.recording", func(e trace.Event) bool { return e.Get("state") == string(state) })) == len(guests)
			}
		}
		h.await("it is recorded", told(signaling.RecordingRuns))
		h.restart()
		killed := h.log.Now()
		h.await("the recording has failed", told(signaling.RecordingFailed))
		h.await("everybody is asked to offer anew", func() bool {
			return len(h.seen("call.negotiate", func(e trace.Event) bool { return e.Get("reason") == string(signaling.ReasonMediaRestarted) })) == len(guests)
		})
		h.get(killed, 60, users...)
		h.over(guests...)
		for _, e := range h.seen("media.total", func(e trace.Event) bool { return slices.Contains(users, e.Actor) }) {
			t.Logf("%s got no %s for %.0f ms", e.Actor, e.Get("media"), e.Number("gap_max_ms"))
		}
		h.clean(false)
	})
}

// TestServiceMediaServerSilent has the media server say nothing to the server, with
// the connection open: everybody is told that the room has ended, and what was in
// it is released when the media server is heard again.
func TestServiceMediaServerSilent(t *testing.T) {
	halls(t, func(t *testing.T, h *hall) {
		host, viewer := h.guest("host", 0), h.guest("viewer", 0)
		must(t, host.Join(t.Context(), "stage", simclient.RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		must(t, viewer.Join(t.Context(), "stage", simclient.RoomOptions{}))
		h.get(0, 20, "viewer")
		cut := h.log.Now()
		h.links["kms"].Cut()
		told := func() []trace.Event {
			return h.seen("room.ended", func(e trace.Event) bool {
				return e.Actor != "server" && e.Get("reason") == string(signaling.ReasonMediaFailed)
			})
		}
		h.await("both are told that the room has ended", func() bool { return len(told()) == 2 })
		t.Logf("told after %v", (told()[1].T - cut).Round(time.Millisecond))
		h.links["kms"].Restore()
		h.await("nothing is left of it", func() bool { return len(h.left()) == 0 })
		h.over()
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
		h.over(guests[:members-1]...)
		h.clean(true)
		h.plays(row)
	})
}

// sees waits until each of the users has read the barcodes of all others and its
// own in one picture, and each twice with another count: they move.
func (h *hall) sees(since time.Duration, users, shown []string) {
	h.t.Helper()
	for _, user := range users {
		found := func(complete bool) []trace.Event {
			return h.seen("media.seen", func(e trace.Event) bool {
				return e.Actor == user && e.T > since && (!h.real || !complete || int(e.Number("pictures")) == len(shown))
			})
		}
		defer func() { // what was seen instead
			if h.t.Failed() {
				for _, e := range found(false) {
					h.t.Logf("%s at %v: %d pictures, one of %s, count %.0f", user, e.T, int(e.Number("pictures")), e.Get("from"), e.Number("count"))
				}
			}
		}()
		h.await(fmt.Sprintf("%s sees %q", user, shown), func() bool {
			if !h.real {
				return len(found(true)) > 0
			}
			return !slices.ContainsFunc(shown, func(of string) bool { return !moves(found(true), of) })
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
