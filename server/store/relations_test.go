package store_test

import (
	"slices"
	"testing"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

// relationChanges is how relations are changed.
type relationChanges struct {
	know                               func(user string)
	befriend, unfriend, block, unblock func(a, b string)
}

func TestMemoryRelations(t *testing.T) {
	var r store.MemoryRelations
	testRelations(t, &r, relationChanges{func(u string) { r.Know(u) }, r.Befriend, r.Unfriend, r.Block, r.Unblock})
}

// testRelations is what all Relations must do.
func testRelations(t *testing.T, r server.Relations, change relationChanges) {
	reaches := func(from, to string, want bool) {
		t.Helper()
		if got := r.Reaches(from, to); got != want {
			t.Errorf("%s reaches %s: %v", from, to, got)
		}
	}
	contacts := func(user string, want ...string) {
		t.Helper()
		if got := r.Contacts(user); !slices.Equal(got, want) {
			t.Errorf("contacts of %s are %q, want %q", user, got, want)
		}
	}
	reaches("alice", "bob", false)
	contacts("alice")
	change.know("bob")
	change.know("bob")
	reaches("alice", "bob", true)
	reaches("bob", "alice", false)
	change.befriend("alice", "carol")
	change.befriend("bob", "alice")
	change.befriend("bob", "alice")
	contacts("alice", "bob", "carol")
	contacts("carol", "alice")
	reaches("bob", "alice", true)
	reaches("bob", "Alice", false)
	change.block("bob", "alice")
	change.block("bob", "alice")
	reaches("alice", "bob", false)
	reaches("bob", "alice", true)
	reaches("carol", "bob", true)
	change.unblock("bob", "alice")
	reaches("alice", "bob", true)
	change.unfriend("carol", "alice")
	contacts("alice", "bob")
	contacts("carol")
	change.unblock("nobody", "alice")
	change.unfriend("nobody", "alice")
}
