package store_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

// TestServiceMySQLAwayAtStart opens journals while their database is away: what they
// know is served, and what is written waits. The database comes back empty, and all
// of them find their tables in it.
func TestServiceMySQLAwayAtStart(t *testing.T) {
	d := startMariaDB(t)
	admin, err := sql.Open("mysql", d.dsn())
	must(t, err)
	defer admin.Close()
	_, err = admin.Exec("CREATE DATABASE calls")
	must(t, err)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	ctx := t.Context()
	for i, dir := range dirs {
		m, err := store.OpenMySQL(ctx, store.MySQLConfig{DSN: d.dsn() + "calls", Dir: dir})
		must(t, err)
		must(t, m.Relations().Befriend(ctx, "alice", "bob"))
		must(t, m.Relations().Block(ctx, "bob", "carol"))
		put(t, m.Inbox(), note("alice", dirs[i], "before"))
		drained(t, m)
		must(t, m.Close())
	}
	_, err = admin.Exec("DROP DATABASE calls") // as one of an earlier version, which lacks what this one needs
	must(t, err)
	_, err = admin.Exec("CREATE DATABASE calls")
	must(t, err)
	d.kill()

	_, err = store.OpenMySQL(ctx, store.MySQLConfig{DSN: d.dsn() + "calls", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "connect to MySQL") || !strings.Contains(err.Error(), "first start") {
		t.Errorf("a first start without a database: %v", err)
	}
	var all []*store.MySQL
	for _, dir := range dirs {
		m, err := store.OpenMySQL(ctx, store.MySQLConfig{DSN: d.dsn() + "calls", Dir: dir, Refresh: 20 * time.Millisecond, Users: []string{"dave", "bob"}})
		must(t, err)
		t.Cleanup(func() { must(t, m.Close()) })
		all = append(all, m)
		r := m.Relations()
		if !r.Reaches("alice", "bob") || r.Reaches("carol", "bob") || !slices.Equal(r.Contacts("bob"), []string{"alice", "dave"}) || r.Reaches("bob", "eve") {
			t.Error("who knows whom is not known")
		}
		if got := waiting(t, m.Inbox(), dir, 0, 10); len(got) != 1 || got[0] != "before" {
			t.Errorf("%q wait", got)
		}
		must(t, m.History().RoomStarted(ctx, server.RoomHistory{RoomID: dir, Type: server.Room1v1, Creator: "alice", CreatedAt: at}))
		checkAway(t, m)
		if err := m.Ping(ctx); err == nil || !strings.Contains(err.Error(), "MySQL has been away since the start") {
			t.Errorf("ping: %v", err)
		}
	}
	d.start()
	for i, m := range all {
		drained(t, m)
		must(t, m.Ping(ctx))
		eventually(t, "the tables say who knows whom", func() bool { return !m.Relations().Reaches("bob", "alice") && m.Relations().Reaches("bob", "dave") })
		if _, err := m.Archive().Calls(ctx, "alice", false, everything); err != nil {
			t.Errorf("history: %v", err)
		}
		if got := waiting(t, m.Inbox(), dirs[i], 0, 10); len(got) != 1 || got[0] != "before" {
			t.Errorf("%q wait", got)
		}
	}
	db := look(t, d.dsn()+"calls")
	if n := count(t, db, "SELECT COUNT(*) FROM goose_db_version WHERE version_id = 1"); n != 1 {
		t.Errorf("the first migration was done %d times", n)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM rooms"); n != len(dirs) {
		t.Errorf("%d rooms", n)
	}
}

// TestServiceMySQLRefusesAtStart has a database that is there and does not let
// anybody in: that is a mistake to be told, journal or not.
func TestServiceMySQLRefusesAtStart(t *testing.T) {
	dsn, dir := serviceDSN(t), t.TempDir()
	m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir})
	must(t, err)
	must(t, m.Close())
	_, err = store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: "nobody:wrong@" + dsn[strings.Index(dsn, "@")+1:], Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "Access denied") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong password: %v", err)
	}
}
