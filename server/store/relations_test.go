package store_test

import (
	"slices"
	"testing"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

var _ server.Relations = (*store.MemoryRelations)(nil)

func TestMemoryRelations(t *testing.T) {
	var r store.MemoryRelations
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
	r.Know("bob")
	reaches("alice", "bob", true)
	reaches("bob", "alice", false)
	r.Befriend("alice", "carol")
	r.Befriend("bob", "alice")
	contacts("alice", "bob", "carol")
	contacts("carol", "alice")
	reaches("bob", "alice", true)
	r.Block("bob", "alice")
	reaches("alice", "bob", false)
	reaches("bob", "alice", true)
	reaches("carol", "bob", true)
	r.Unblock("bob", "alice")
	reaches("alice", "bob", true)
	r.Unfriend("carol", "alice")
	contacts("alice", "bob")
	contacts("carol")
	r.Unblock("nobody", "alice")
	r.Unfriend("nobody", "alice")
}
