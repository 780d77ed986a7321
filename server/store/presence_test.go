package store_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// text is a presence as it is published.
func text(s signaling.State) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// heard is what was published about a user, once that are n: a subscriber hears
// of it a moment later.
func (p place) heard(user string, n int) (got []string) {
	for range 5000 {
		if got = p.told(user); len(got) >= n {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return got
}

// stored fails unless the presence is what is stored, in the hash and as it is
// read.
func (p place) stored(t *testing.T, want signaling.State) {
	t.Helper()
	got, err := p.GetPresence(t.Context(), want.UserID)
	must(t, err)
	if got != want {
		t.Errorf("stored is %+v, want %+v", got, want)
	}
	fields, left := p.hash("user:" + want.UserID + ":presence")
	if left != 0 {
		t.Errorf("the presence goes after %v, and should stay", left)
	}
	wanted := map[string]string{"status": string(want.Status), "lastSeen": strconv.FormatInt(want.LastSeen, 10), "version": strconv.FormatUint(want.Version, 10)}
	if !maps.Equal(fields, wanted) {
		t.Errorf("the hash is %q, want %q", fields, wanted)
	}
}

func testPresence(t *testing.T, p place) {
	ctx, user := t.Context(), p.run+`b"ob`
	p.told(user)
	if got, err := p.GetPresence(ctx, user); err != nil || got != (signaling.State{UserID: user, Status: "offline"}) {
		t.Errorf("a user who was never there is %+v, %v", got, err)
	}
	var want []string
	for i, status := range []signaling.Status{"online", "offline", "online"} {
		state := signaling.State{UserID: user, Status: status, LastSeen: 1_700_000_000_123 + int64(i), Version: uint64(i)}
		version, err := p.PutPresence(ctx, state)
		must(t, err)
		state.Version = uint64(i + 1)
		if version != state.Version {
			t.Errorf("change %d has version %d", i+1, version)
		}
		p.stored(t, state)
		want = append(want, text(state))
	}
	// A store that has lost what it had goes on above what was told.
	state := signaling.State{UserID: user, Status: "offline", LastSeen: 1, Version: 77}
	version, err := p.PutPresence(ctx, state)
	must(t, err)
	if state.Version = 78; version != 78 {
		t.Errorf("above 77 comes %d", version)
	}
	p.stored(t, state)
	want = append(want, text(state))
	if got := p.heard(user, len(want)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// testPresenceRaces has many change one user's presence at once: what is heard
// is in the order of the versions, and what is stored is what was heard last.
func testPresenceRaces(t *testing.T, p place) {
	const writers, changes = 8, 25
	user := p.run + "carol"
	p.told(user)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range changes {
				state := signaling.State{UserID: user, Status: "online", LastSeen: int64(w*changes + i + 1)}
				if _, err := p.PutPresence(t.Context(), state); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := p.heard(user, writers*changes)
	if len(got) != writers*changes {
		t.Fatalf("%d changes were published, want %d", len(got), writers*changes)
	}
	var last signaling.State
	for i, s := range got {
		must(t, json.Unmarshal([]byte(s), &last))
		if last.Version != uint64(i+1) {
			t.Fatalf("version %d was published as change %d", last.Version, i+1)
		}
	}
	p.stored(t, last)
}

// presences collects what is published.
type presences struct {
	mu   sync.Mutex
	told map[string][]string
}

func (p *presences) add(user, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told == nil {
		p.told = make(map[string][]string)
	}
	p.told[user] = append(p.told[user], text)
}

func (p *presences) of(user string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told[user])
}

func memory(*testing.T) place {
	m, heard := &store.Memory{}, &presences{}
	m.Watch(func(user string, s signaling.State) {
		heard.add(user, text(s))
	})
	return place{State: m, keys: m.Keys, hash: m.Hash, told: heard.of, more: func() server.State { return m }}
}

func TestMemory(t *testing.T) { runSuite(t, memory) }
