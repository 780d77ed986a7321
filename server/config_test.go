package server_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

func TestConfig(t *testing.T) {
	good := server.Config{Auth: server.JWT(secret), Media: newFakeMedia(&journal{}), State: &store.Memory{}, History: store.NewMemoryHistory()}
	for name, spoil := range map[string]func(*server.Config){
		"no auth":                   func(c *server.Config) { c.Auth = nil },
		"no media":                  func(c *server.Config) { c.Media = nil },
		"no state":                  func(c *server.Config) { c.State = nil },
		"no history":                func(c *server.Config) { c.History = nil },
		"negative time-out":         func(c *server.Config) { c.RingTimeout = -1 },
		"negative limit":            func(c *server.Config) { c.MaxQueue = -1 },
		"time-out before heartbeat": func(c *server.Config) { c.Timeout = 30 * time.Second },
	} {
		bad := good
		spoil(&bad)
		if _, err := server.New(bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	s, err := server.New(good)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
}

// TestRunFails returns what the listener failed with, with everything closed.
func TestRunFails(t *testing.T) {
	s, err := server.New(server.Config{Auth: server.JWT(secret), Media: newFakeMedia(&journal{}), State: &store.Memory{}, History: store.NewMemoryHistory()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), brokenListener{}); !errors.Is(err, errBroken) {
		t.Errorf("Run returned %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenListener struct{}

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }

// brokenState and brokenHistory fail, or never answer.
type brokenState struct {
	server.State
	hang bool
}

func (s brokenState) fail(ctx context.Context) error {
	if s.hang {
		<-ctx.Done()
	}
	return errBroken
}

func (s brokenState) PutSession(ctx context.Context, _ server.SessionRecord) error {
	return s.fail(ctx)
}
func (s brokenState) DropSession(ctx context.Context, _ string) error { return s.fail(ctx) }
func (s brokenState) PutPresence(ctx context.Context, _ signaling.State) (uint64, error) {
	return 0, s.fail(ctx)
}
func (s brokenState) GetPresence(ctx context.Context, _ string) (signaling.State, error) {
	return signaling.State{}, s.fail(ctx)
}
func (s brokenState) OpenRoom(ctx context.Context, _ server.RoomSnapshot, _ server.MemberRecord, _ server.LegRecord) error {
	return s.fail(ctx)
}
func (s brokenState) JoinRoom(ctx context.Context, _ server.RoomSnapshot, _ server.MemberRecord, _ server.LegRecord) error {
	return s.fail(ctx)
}
func (s brokenState) KeepRoom(ctx context.Context, _ server.RoomSnapshot, _ server.MemberRecord, _ server.LegRecord) error {
	return s.fail(ctx)
}
func (s brokenState) CheckLeg(ctx context.Context, _ string, _ server.MemberRecord, _ ...string) error {
	return s.fail(ctx)
}
func (s brokenState) PutRole(ctx context.Context, _ server.RoomSnapshot, _ server.MemberRecord) error {
	return s.fail(ctx)
}
func (s brokenState) SaveRoom(ctx context.Context, _ server.RoomSnapshot, _ ...string) error {
	return s.fail(ctx)
}
func (s brokenState) Rooms(ctx context.Context, _ string) ([]server.RoomSnapshot, error) {
	return nil, s.fail(ctx)
}
func (s brokenState) GetSession(ctx context.Context, _ string) (server.SessionRecord, bool, error) {
	return server.SessionRecord{}, false, s.fail(ctx)
}
func (s brokenState) MendRoom(ctx context.Context, _ server.RoomSnapshot) error  { return s.fail(ctx) }
func (s brokenState) LeaveRoom(ctx context.Context, _ server.MemberRecord) error { return s.fail(ctx) }
func (s brokenState) CloseRoom(ctx context.Context, _ server.RoomSnapshot) error { return s.fail(ctx) }
func (s brokenState) SaveLeg(ctx context.Context, _ server.LegRecord) error      { return s.fail(ctx) }
func (s brokenState) PutRoomMedia(ctx context.Context, _ server.RoomMedia) error { return s.fail(ctx) }
func (s brokenState) LegConnected(ctx context.Context, _ server.LegRecord) error { return s.fail(ctx) }

// TestStateFails has calls without Redis: slower when it hangs, but whole.
func TestStateFails(t *testing.T) {
	for _, hang := range []bool{false, true} {
		tune := func(c *server.Config) { c.State = brokenState{hang: hang} }
		bubble(t, tune, func(t *testing.T, w *world) {
			alice, bob, ref := connected(w)
			alice.rtc(signaling.ActionLeave, ref)
			bob.rtc(signaling.ActionLeave, ref)
			failed := strings.Join(w.eventLines("state.failed"), "")
			for _, operation := range []string{"put session", "put presence", "open room", "join room", "end room", "leave room", "close room"} {
				if !strings.Contains(failed, operation) {
					t.Errorf("the log does not tell that %q failed", operation)
				}
			}
		})
	}
}

func TestPresence(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.state.Watch(func(user string, s signaling.State) { w.journal.add("presence %s %s", user, s.Status) })
		first, second := w.join("alice"), w.join("alice")
		first.drop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.journal.count("presence"); n != 1 {
			t.Errorf("presence was told %d times while alice was online", n)
		}
		second.drop()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.journal.inOrder(t, "presence alice online", "presence alice offline")
	})
}

// TestNewestDeviceRings prefers a session that is connected.
func TestNewestDeviceRings(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, phone, laptop := w.join("alice"), w.join("bob"), w.join("bob")
		laptop.drop()
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if n := len(phone.got("rtc_invite")); n != 1 {
			t.Errorf("the phone was invited %d times", n)
		}
		phone.rtc(signaling.ActionAnswer, ref)
		phone.rtc(signaling.ActionLeave, ref)
	})
}

// TestAnswerAtTheLastInstant may go either way, and must go one way.
func TestAnswerAtTheLastInstant(t *testing.T) {
	for range 20 {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice, bob, ref := dialed(w)
			time.Sleep(time.Minute)
			id := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
			f, _ := bob.answer(id)
			if f.Type == signaling.TypeAck {
				time.Sleep(time.Minute)
				if n := len(alice.got("rtc/ended")); n != 0 {
					t.Error("an answered call had no answer")
				}
				return
			}
			bob.isError(signaling.CodeBadState, f)
			if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonNoAnswer {
				t.Errorf("alice was told %+v", d)
			}
		})
	}
}
