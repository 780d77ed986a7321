package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// friends are relations in which everybody of these knows everybody.
func friends(users ...string) *store.MemoryRelations {
	r := &store.MemoryRelations{}
	for i, a := range users {
		for _, b := range users[:i] {
			r.Befriend(a, b)
		}
	}
	return r
}

func among(r *store.MemoryRelations) func(*server.Config) {
	return func(c *server.Config) { c.Relations = r }
}

// sees fails unless these are the presences that the client was pushed, each as
// in "bob online 1".
func (c *client) sees(want ...string) {
	c.w.t.Helper()
	if got := c.presences(); !slices.Equal(got, want) {
		c.w.t.Errorf("%s sees %q, want %q", c.name, got, want)
	}
}

// presences are those that the client was told.
func (c *client) presences() (told []string) {
	c.w.t.Helper()
	for _, f := range c.got("state") {
		told = append(told, presence(c.w.t, f))
	}
	return told
}

func presence(t testing.TB, f signaling.Frame) string {
	t.Helper()
	var s signaling.State
	if err := f.Into(&s); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %d", s.UserID, s.Status, s.Version)
}

// asks fails unless that is the answer.
func (c *client) asks(user, want string) signaling.State {
	c.w.t.Helper()
	f := c.request(signaling.TypeState, "", signaling.State{UserID: user})
	var s signaling.State
	if err := f.Into(&s); err != nil {
		c.w.t.Fatal(err)
	}
	if got := presence(c.w.t, f); f.Type != signaling.TypeAck || got != want {
		c.w.t.Errorf("%s asks for %s and is told %s %s, want %s", c.name, user, f.Kind(), got, want)
	}
	return s
}

// sets changes the client's own status.
func (c *client) sets(status signaling.Status, want string) {
	c.w.t.Helper()
	f := c.request(signaling.TypeState, "", signaling.State{Status: status})
	if got := presence(c.w.t, f); f.Type != signaling.TypeAck || got != want {
		c.w.t.Errorf("%s sets %s and is told %s %s, want %s", c.name, status, f.Kind(), f.Data, want)
	}
}

// TestContactsSee pushes who comes and goes to contacts and to nobody else.
func TestContactsSee(t *testing.T) {
	people := friends("alice", "bob")
	people.Know("carol")
	bubble(t, among(people), func(t *testing.T, w *world) {
		alice, phone, carol := w.join("alice"), w.join("alice"), w.join("carol")
		alice.sees()
		bob := w.join("bob")
		bob.sees("alice online 1")
		second := w.join("bob")
		second.sees("alice online 1")
		bob.drop()
		time.Sleep(10 * time.Minute)
		alice.sees("bob online 1")
		second.drop()
		time.Sleep(59 * time.Second)
		alice.sees("bob online 1") // a detached session keeps its user online
		time.Sleep(time.Second)
		gone := time.Now()
		alice.sees("bob online 1", "bob offline 2")
		phone.sees("bob online 1", "bob offline 2")
		carol.sees()
		if s := carol.asks("bob", "bob offline 2"); s.LastSeen != gone.UnixMilli() {
			t.Errorf("bob was last seen at %d, want %d", s.LastSeen, gone.UnixMilli())
		}
		w.join("alice").sees() // who is not there is not told of
		w.join("bob")
		alice.sees("bob online 1", "bob offline 2", "bob online 3")
	})
}

// TestStoredBeforePresence gives a new session its messages first.
func TestStoredBeforePresence(t *testing.T) {
	bubble(t, among(friends("alice", "bob")), func(t *testing.T, w *world) {
		w.join("alice").writes("bob", "1")
		if got := w.join("bob").pushes(); !slices.Equal(got, []string{"message", "state"}) {
			t.Errorf("bob was pushed %q", got)
		}
	})
}

// TestQuickChanges come in order, and all places agree on them. A client that is
// slower is told the later one of two that wait for it.
func TestQuickChanges(t *testing.T) {
	bubble(t, among(friends("alice", "bob")), func(t *testing.T, w *world) {
		var channel []string
		w.state.Watch(func(user string, s signaling.State) {
			if user == "bob" {
				channel = append(channel, fmt.Sprintf("bob %s %d", s.Status, s.Version))
			}
		})
		alice, bob := w.join("alice"), w.join("bob")
		want := []string{"bob online 1"}
		for i := range 20 {
			status := []signaling.Status{signaling.Offline, signaling.Online}[i%2]
			bob.sendID(fmt.Sprint("x", i), signaling.TypeState, "", signaling.State{UserID: "bob", Status: status})
			want = append(want, fmt.Sprintf("bob %s %d", status, i+2))
		}
		synctest.Wait()
		told := alice.presences()
		last := -1
		for _, line := range told {
			at := slices.Index(want, line)
			if at <= last {
				t.Errorf("alice sees %q", told)
			}
			last = at
		}
		if last != len(want)-1 {
			t.Errorf("the last that alice sees is not the last that there was: %q", told)
		}
		if !slices.Equal(channel, want) {
			t.Errorf("the channel told %q, want %q", channel, want)
		}
		if fields, _ := w.state.Hash("user:bob:presence"); fields["version"] != "21" || fields["status"] != "online" {
			t.Errorf("stored is %q", fields)
		}
	})
}

// TestHidden is a user that others see as offline and that can be called.
func TestHidden(t *testing.T) {
	bubble(t, among(friends("alice", "bob")), func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		bob.sets(signaling.Online, "bob online 1") // as it is
		bob.sets(signaling.Offline, "bob offline 2")
		bob.sets(signaling.Offline, "bob offline 2")
		alice.sees("bob online 1", "bob offline 2")
		alice.asks("bob", "bob offline 2")
		w.join("alice").sees()
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		bob.leave()
		alice.sees("bob online 1", "bob offline 2") // nobody is told that it was there
		again := w.join("bob")
		alice.sees("bob online 1", "bob offline 2", "bob online 3")
		again.sets(signaling.Offline, "bob offline 4")
		again.sets(signaling.Online, "bob online 5")
		alice.asks("bob", "bob online 5")
	})
}

func TestAskPresence(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		if s := alice.asks("bob", "bob offline 0"); s.LastSeen != 0 {
			t.Errorf("who was never there was last seen at %d", s.LastSeen)
		}
		bob := w.join("bob")
		alice.asks("bob", "bob online 1")
		alice.asks("alice", "alice online 1")
		alice.sees()
		bob.leave()
		alice.asks("bob", "bob offline 2")
		for text, code := range map[string]signaling.Code{
			`{"userId":"bob","status":"online"}`:            signaling.CodeForbidden,
			`{"status":"busy"}`:                             signaling.CodeBadData,
			`{"lastSeen":7}`:                                signaling.CodeBadData,
			`{"userId":"` + strings.Repeat("x", 129) + `"}`: signaling.CodeBadData,
			`{"userId":7}`:                                  signaling.CodeBadData,
		} {
			before := len(alice.got("error"))
			alice.sendRaw(`{"type":"state","data":` + text + `}`)
			errors := alice.got("error")
			if len(errors) != before+1 {
				t.Fatalf("%s was not refused", text)
			}
			alice.isError(code, errors[before])
		}
	})
}

// TestLevel0Presence has the same without versions.
func TestLevel0Presence(t *testing.T) {
	bubble(t, among(friends("alice", "bob")), func(t *testing.T, w *world) {
		bob := w.join("bob")
		bob.writes("alice", "first")
		alice := w.join0("alice")
		alice.say(`{"type":"state","data":{"userId":"bob"}}`)
		alice.say(`{"type":"state","data":{"status":"offline"}}`)
		online := `{"type":"state","data":{"userId":"bob","status":"online","lastSeen":946684800000}}`
		stored := `{"type":"message","data":{"from":"bob","to":"alice","content":"first","timestamp":946684800000}}`
		if got := alice.heard(); !slices.Equal(got, []string{stored, online, online}) {
			t.Errorf("alice was sent %q", got)
		}
		bob.sees("alice online 1", "alice offline 2")
		if got := w.join0("alice").heard(); !slices.Equal(got, []string{online}) { // what was written has arrived
			t.Errorf("and then %q", got)
		}
	})
}

// TestBlockedSeesNothing tells a contact nothing of who blocks it.
func TestBlockedSeesNothing(t *testing.T) {
	people := friends("alice", "bob")
	people.Block("bob", "alice")
	bubble(t, among(people), func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		bob.sees("alice online 1")
		w.join("alice").sees()
		bob.leave()
		alice.sees()
	})
}

// TestTogether comes at the same instant as its contact: each hears of the
// other once.
func TestTogether(t *testing.T) {
	for range 20 {
		bubble(t, among(friends("alice", "bob")), func(t *testing.T, w *world) {
			clients := map[string]*client{"alice": w.dial("alice", nil), "bob": w.dial("bob", nil)}
			for name, c := range clients {
				c.send(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, name)})
			}
			synctest.Wait()
			clients["alice"].sees("bob online 1")
			clients["bob"].sees("alice online 1")
		})
	}
}

// TestPresenceNotStored is told without a version.
func TestPresenceNotStored(t *testing.T) {
	for _, hang := range []bool{false, true} {
		tune := func(c *server.Config) {
			c.State, c.Relations = brokenState{hang: hang}, friends("alice", "bob")
		}
		bubble(t, tune, func(t *testing.T, w *world) {
			alice, bob := w.join("alice"), w.join("bob")
			time.Sleep(time.Minute)
			alice.sees("bob online 0")
			bob.leave()
			time.Sleep(time.Minute)
			alice.sees("bob online 0", "bob offline 0")
			alice.isError(signaling.CodeInternal, alice.request(signaling.TypeState, "", signaling.State{UserID: "bob"}))
		})
	}
}
