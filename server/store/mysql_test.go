package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// patience is how long a test waits for a real database before it fails.
const patience = 60 * time.Second

// serviceDSN makes a database of the test's own on the server that the
// environment names.
func serviceDSN(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv("CALLBENCH_MYSQL_DSN")
	if dsn == "" {
		t.Skip("CALLBENCH_MYSQL_DSN names no MySQL or MariaDB, such as root@tcp(127.0.0.1:3306)/")
	}
	return freshDatabase(t, dsn)
}

// freshDatabase makes a database of the test's own.
func freshDatabase(t testing.TB, dsn string) string {
	t.Helper()
	c, err := mysql.ParseDSN(dsn)
	must(t, err)
	c.DBName = ""
	name := "callbench_" + strings.ToLower(rand.Text()[:10])
	db, err := sql.Open("mysql", c.FormatDSN())
	must(t, err)
	_, err = db.Exec("CREATE DATABASE " + name)
	must(t, err)
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name); err != nil {
			t.Error(err)
		}
		must(t, db.Close())
	})
	c.DBName = name
	return c.FormatDSN()
}

// openMySQL opens a store until the test ends.
func openMySQL(t *testing.T, dsn, dir string) *store.MySQL {
	t.Helper()
	m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir, Refresh: 20 * time.Millisecond})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

// look is a connection of the test's own to a store's database.
func look(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	c, err := mysql.ParseDSN(dsn)
	must(t, err)
	c.ParseTime, c.Loc = true, time.UTC
	db, err := sql.Open("mysql", c.FormatDSN())
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// drained waits until the database has everything.
func drained(t *testing.T, m *store.MySQL) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, m.Drained(ctx))
}

func TestServiceMySQLHistory(t *testing.T) {
	dsn := serviceDSN(t)
	m, db := openMySQL(t, dsn, t.TempDir()), look(t, dsn)
	ready := func(t *testing.T) { drained(t, m) }
	runHistorySuite(t, func(t *testing.T) books {
		run := strings.ToLower(rand.Text()[:8]) + "-"
		return books{m.History(), m.Archive(), run, func(t *testing.T) []server.RoomHistory {
			drained(t, m)
			return roomsOf(t, db, run+"alice")
		}, ready}
	})
}

// roomsOf reads the rooms of a creator, in the order in which they started.
func roomsOf(t *testing.T, db *sql.DB, creator string) (rooms []server.RoomHistory) {
	t.Helper()
	rows, err := db.Query("SELECT roomId, roomType, creator, createdTime, endedTime, status, metadata FROM rooms WHERE creator = ? ORDER BY createdTime, id", creator)
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var r server.RoomHistory
		var ended sql.NullTime
		var status string
		var metadata []byte
		must(t, rows.Scan(&r.RoomID, &r.Type, &r.Creator, &r.CreatedAt, &ended, &status, &metadata))
		var m struct{ CallID, Reason string }
		must(t, json.Unmarshal(metadata, &m))
		r.EndedAt, r.CallID, r.Reason = ended.Time, m.CallID, signaling.Reason(m.Reason)
		if status != r.Status() {
			t.Errorf("room %s is %s, and its end is %v", r.RoomID, status, r.EndedAt)
		}
		rooms = append(rooms, r)
	}
	must(t, rows.Err())
	return rooms
}

func TestServiceMySQLInbox(t *testing.T) {
	dsn := serviceDSN(t)
	runInboxSuite(t, func(t *testing.T) server.Inbox { return openMySQL(t, freshDatabase(t, dsn), t.TempDir()).Inbox() })
}

func TestServiceMySQLRelations(t *testing.T) {
	ctx, r := t.Context(), openMySQL(t, serviceDSN(t), t.TempDir()).Relations()
	testRelations(t, r, relationChanges{
		know:     func(u string) { must(t, r.Know(ctx, u)) },
		befriend: func(a, b string) { must(t, r.Befriend(ctx, a, b)) },
		unfriend: func(a, b string) { must(t, r.Unfriend(ctx, a, b)) },
		block:    func(a, b string) { must(t, r.Block(ctx, a, b)) },
		unblock:  func(a, b string) { must(t, r.Unblock(ctx, a, b)) },
	})
}

// TestServiceMySQLRelationsOfOthers has the tables changed by somebody else.
func TestServiceMySQLRelationsOfOthers(t *testing.T) {
	dsn := serviceDSN(t)
	r, db := openMySQL(t, dsn, t.TempDir()).Relations(), look(t, dsn)
	_, err := db.Exec("INSERT INTO users (userId, createdTime) VALUES ('alice', NOW(3)), ('bob', NOW(3))")
	must(t, err)
	_, err = db.Exec("INSERT INTO contacts (userId, contactId) VALUES ('alice', 'bob')")
	must(t, err)
	eventually(t, "alice is bob's contact", func() bool {
		got := r.Contacts("bob")
		return r.Reaches("alice", "bob") && len(got) == 1 && got[0] == "alice"
	})
	_, err = db.Exec("INSERT INTO blocks (userId, blockedId) VALUES ('bob', 'alice')")
	must(t, err)
	eventually(t, "bob blocks alice", func() bool { return !r.Reaches("alice", "bob") })
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.After(patience); !so(); {
		select {
		case <-deadline:
			t.Fatalf("it never came that %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestServiceMySQLAgain opens one database and journal over and over, and by two at
// the same time.
func TestServiceMySQLAgain(t *testing.T) {
	dsn, dir := serviceDSN(t), t.TempDir()
	for n := range 3 {
		m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir})
		must(t, err)
		must(t, m.History().RoomStarted(t.Context(), server.RoomHistory{RoomID: string(rune('a' + n)), Type: server.Room1v1, Creator: "alice", CreatedAt: at}))
		_, err = store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second one with the same journal: %v", err)
		}
		must(t, m.Close())
	}
	if got := roomsOf(t, look(t, dsn), "alice"); len(got) != 3 {
		t.Errorf("rooms are %+v", got)
	}
	done := make(chan error)
	fresh := freshDatabase(t, dsn)
	for range 2 { // both make the tables
		go func() {
			m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: fresh, Dir: t.TempDir()})
			if err == nil {
				err = m.Close()
			}
			done <- err
		}()
	}
	for range 2 {
		must(t, <-done)
	}
}

// TestServiceMySQLInboxAgain goes on with letters and what was sent: with the
// journal, and without it.
func TestServiceMySQLInboxAgain(t *testing.T) {
	dsn, dir := serviceDSN(t), t.TempDir()
	call, first := note("alice", "bob", "call"), note("alice", "bob", "1")
	call.Timestamp, first.Timestamp = time.Now().UnixMilli(), time.Now().UnixMilli() // of a database that much is remembered
	call.Call = &signaling.CallLog{CallID: "c", RoomID: "r", Outcome: signaling.OutcomeAccepted, Duration: 65}
	m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir})
	must(t, err)
	one, two := put(t, m.Inbox(), first), put(t, m.Inbox(), call)
	copied, _, err := m.Inbox().Put(t.Context(), "alice", call)
	must(t, err)
	must(t, m.Inbox().Delivered(t.Context(), "bob", one.Number))
	last := two
	for n, dir := range []string{dir, t.TempDir()} {
		must(t, m.Close())
		m, err = store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: dir})
		must(t, err)
		letters, err := m.Inbox().Undelivered(t.Context(), "bob", 0, 10)
		must(t, err)
		same(t, "bob's letters", letters[:1], []server.Letter{two})
		letters, err = m.Inbox().Undelivered(t.Context(), "alice", 0, 10)
		must(t, err)
		same(t, "alice's letters", letters, []server.Letter{copied})
		if l, fresh, err := m.Inbox().Put(t.Context(), "bob", first); err != nil || fresh || l.Message.To != "bob" {
			t.Errorf("the repetition: %+v, fresh is %v, %v", l, fresh, err)
		}
		next := put(t, m.Inbox(), note("carol", "bob", string(rune('a'+n))))
		if next.Number <= last.Number {
			t.Errorf("number %d after %d", next.Number, last.Number)
		}
		last = next
	}
	must(t, m.Close())
	var waiting, all int
	must(t, look(t, dsn).QueryRow("SELECT COUNT(*), SUM(deliveredTime IS NULL) FROM messages").Scan(&all, &waiting))
	if all != 5 || waiting != 4 {
		t.Errorf("%d messages are in the table, %d of them not delivered", all, waiting)
	}
}

// TestServiceMySQLRefusal has the database refuse one write: it is set aside, and
// what comes behind it is not held up.
func TestServiceMySQLRefusal(t *testing.T) {
	m := openMySQL(t, serviceDSN(t), t.TempDir())
	long := server.CallHistory{CallID: strings.Repeat("x", 200), Caller: "alice", Callee: "bob", StartedAt: at}
	good := server.CallHistory{CallID: "c", RoomID: "r", Caller: "alice", Callee: "bob", StartedAt: at}
	must(t, m.History().CallChanged(t.Context(), long))
	must(t, m.History().CallChanged(t.Context(), good))
	drained(t, m)
	calls, err := m.Archive().Calls(t.Context(), "alice", false, everything)
	must(t, err)
	same(t, "calls", calls, []server.CallHistory{good})
}

func TestMySQLMistakes(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                            "names no database",
		"nonsense":                    "user:password@tcp(host:port)/database",
		"root@tcp(127.0.0.1:1)/":      "names no database",
		"root@tcp(127.0.0.1:1)/calls": "connect to MySQL",
	} {
		_, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: dsn, Dir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DSN %q: %v", dsn, err)
		}
	}
}
