package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// mariadb is a MariaDB of the test's own, which may be killed.
type mariadb struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
}

// startMariaDB makes a database server in a folder of the test's and starts it.
func startMariaDB(t *testing.T) *mariadb {
	t.Helper()
	install, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		t.Skip("no MariaDB to be killed: mariadb-install-db is not on the path")
	}
	d := &mariadb{t: t, dir: t.TempDir()}
	out, err := exec.Command(install, "--no-defaults", "--datadir="+d.data(), "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d.addr = ln.Addr().String()
	must(t, ln.Close())
	d.start()
	t.Cleanup(d.kill)
	db, err := sql.Open("mysql", d.dsn())
	must(t, err)
	defer db.Close()
	eventually(t, "MariaDB answers", func() bool { return db.Ping() == nil })
	return d
}

func (d *mariadb) data() string { return filepath.Join(d.dir, "data") }

func (d *mariadb) dsn() string { return "root@tcp(" + d.addr + ")/" }

func (d *mariadb) start() {
	d.t.Helper()
	_, port, err := net.SplitHostPort(d.addr)
	must(d.t, err)
	d.cmd = exec.Command("mariadbd", "--no-defaults", "--user=root", "--datadir="+d.data(), "--bind-address=127.0.0.1", "--port="+port,
		"--socket="+filepath.Join(d.dir, "s"), "--pid-file="+filepath.Join(d.dir, "pid"), "--skip-name-resolve")
	must(d.t, d.cmd.Start())
}

// kill ends the server as if its machine had lost power.
func (d *mariadb) kill() {
	_ = d.cmd.Process.Kill() // it may be dead already
	_ = d.cmd.Wait()
}

// writers write to a store until they are stopped: each has rooms, one after the
// other, and a conversation with one recipient.
type writers struct {
	t       *testing.T
	m       *store.MySQL
	stop    atomic.Bool
	written atomic.Int64
	all     sync.WaitGroup
	rooms   [4]int // by writer
}

func write(t *testing.T, m *store.MySQL) *writers {
	w := &writers{t: t, m: m}
	for n := range w.rooms {
		w.all.Go(func() {
			for !w.stop.Load() && w.room(n, w.rooms[n]) {
				w.rooms[n]++
			}
		})
	}
	return w
}

func user(n int) string         { return fmt.Sprint("user", n) }
func roomID(n, i int) string    { return fmt.Sprintf("r-%d-%d", n, i) }
func messageID(n, i int) string { return fmt.Sprintf("m-%d-%d", n, i) }

// room is all that is written of a room, and a message, of which every other is
// delivered.
func (w *writers) room(n, i int) bool {
	ctx, h := context.Background(), w.m.History()
	begun := time.Now()
	room := server.RoomHistory{RoomID: roomID(n, i), Type: server.Room1v1, Creator: user(n), CreatedAt: begun, CallID: "c"}
	member := server.MemberHistory{RoomID: room.RoomID, UserID: user(n), Role: server.RolePublisher, JoinedAt: begun}
	call := server.CallHistory{CallID: "c-" + room.RoomID, RoomID: room.RoomID, Caller: user(n), Callee: "bob", StartedAt: begun}
	errs := []error{h.RoomStarted(ctx, room), h.MemberJoined(ctx, member), h.CallChanged(ctx, call)}
	l, fresh, err := w.m.Inbox().Put(ctx, "to-"+user(n), signaling.Message{MessageID: messageID(n, i), From: user(n), To: "to-" + user(n), Content: "hello", Timestamp: begun.UnixMilli()})
	errs = append(errs, err)
	if i%2 == 0 {
		errs = append(errs, w.m.Inbox().Delivered(ctx, "to-"+user(n), l.Number))
	}
	member.LeftAt, room.EndedAt, room.Reason, call.EndedAt, call.Outcome = begun.Add(time.Second), begun.Add(time.Second), "hangup", begun.Add(time.Second), "missed"
	errs = append(errs, h.MemberLeft(ctx, member), h.RoomEnded(ctx, room), h.CallChanged(ctx, call))
	w.written.Add(1)
	for _, err := range errs {
		if err != nil {
			w.t.Errorf("room %s: %v", room.RoomID, err)
		}
	}
	return fresh && !w.t.Failed()
}

// more waits until so many rooms more were written.
func (w *writers) more(n int64) {
	w.t.Helper()
	until := w.written.Load() + n
	eventually(w.t, fmt.Sprint(until, " rooms are written"), func() bool { return w.written.Load() >= until || w.t.Failed() })
}

func (w *writers) end() {
	w.stop.Store(true)
	w.all.Wait()
}

// count is the one number that a query returns.
func count(t *testing.T, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// checkRows expects of each writer this many rooms with all that belongs to them,
// and its messages once each and in their order.
func checkRows(t *testing.T, db *sql.DB, n, rooms int) {
	t.Helper()
	for query, want := range map[string]int{
		"SELECT COUNT(*) FROM rooms WHERE creator = ? AND status = 'ended' AND endedTime IS NOT NULL AND JSON_VALUE(metadata, '$.reason') = 'hangup'": rooms,
		"SELECT COUNT(*) FROM rooms WHERE creator = ?":                                                                                      rooms,
		"SELECT COUNT(*) FROM room_members WHERE userId = ? AND duration = 1":                                                               rooms,
		"SELECT COUNT(*) FROM room_members WHERE userId = ?":                                                                                rooms,
		"SELECT COUNT(*) FROM calls WHERE caller = ? AND outcome = 'missed'":                                                                rooms,
		"SELECT COUNT(*) FROM participants p JOIN calls c ON c.callId = p.callId WHERE c.caller = ?":                                        2 * rooms,
		"SELECT COUNT(*) FROM messages WHERE fromUser = ?":                                                                                  rooms,
		"SELECT COUNT(DISTINCT messageId) FROM messages WHERE fromUser = ?":                                                                 rooms,
		"SELECT COUNT(*) FROM messages WHERE fromUser = ? AND deliveredTime IS NOT NULL":                                                    (rooms + 1) / 2,
		"SELECT COUNT(*) FROM messages a JOIN messages b ON a.owner = b.owner AND a.id < b.id AND a.number > b.number WHERE a.fromUser = ?": 0,
	} {
		if got := count(t, db, query, user(n)); got != want {
			t.Errorf("writer %d: %d, want %d: %s", n, got, want, query)
		}
	}
}

// TestServiceMySQLKilledDatabase kills the database under load and starts it again,
// twice: nobody who writes notices, nothing is lost and nothing doubled.
func TestServiceMySQLKilledDatabase(t *testing.T) {
	d := startMariaDB(t)
	dsn := freshDatabase(t, d.dsn())
	m, db := openMySQL(t, dsn, t.TempDir()), look(t, dsn)
	w := write(t, m)
	for range 2 {
		w.more(30)
		d.kill()
		w.more(100)
		checkAway(t, m)
		d.start()
		w.more(30)
	}
	w.end()
	drained(t, m)
	for n, rooms := range w.rooms {
		checkRows(t, db, n, rooms)
	}
}

// checkAway expects that an inbox is right while its database is away.
func checkAway(t *testing.T, m *store.MySQL) {
	t.Helper()
	ctx := t.Context()
	if m.Ping(ctx) == nil {
		t.Error("the database is there")
	}
	if m.Waiting() == 0 {
		t.Error("nothing waits for the database")
	}
	if _, err := m.Archive().Calls(ctx, "alice", false, everything); err == nil {
		t.Error("the archive answers")
	}
	id := fmt.Sprint("away", time.Now().UnixNano())
	l := put(t, m.Inbox(), note("alice", "bob", id))
	if _, fresh, err := m.Inbox().Put(ctx, "bob", note("alice", "bob", id)); err != nil || fresh {
		t.Errorf("a repetition: fresh is %v, %v", fresh, err)
	}
	if got := waiting(t, m.Inbox(), "bob", 0, 10); len(got) != 1 || got[0] != id {
		t.Errorf("%q wait", got)
	}
	must(t, m.Inbox().Delivered(ctx, "bob", l.Number))
	if got := waiting(t, m.Inbox(), "bob", 0, 10); len(got) != 0 {
		t.Errorf("%q wait", got)
	}
}

// TestServiceMySQLKilledWriter kills a process that writes, over and over: the
// next one on the same journal loses nothing that was acknowledged.
func TestServiceMySQLKilledWriter(t *testing.T) {
	if dir := os.Getenv("CALLBENCH_TEST_JOURNAL"); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dsn, dir := serviceDSN(t), t.TempDir()
	begun := 0
	for range 3 {
		begun = killWriter(t, dsn, dir, begun, 120)
	}
	m := openMySQL(t, dsn, dir)
	drained(t, m)
	db := look(t, dsn)
	// The last room of each process may have been cut off anywhere.
	for query, least := range map[string]int{
		"SELECT COUNT(*) FROM rooms WHERE status = 'ended'":    begun - 3,
		"SELECT COUNT(*) FROM room_members WHERE duration = 1": begun - 3,
		"SELECT COUNT(*) FROM calls WHERE outcome = 'missed'":  begun - 3,
		"SELECT COUNT(*) FROM messages":                        begun - 3,
	} {
		if got := count(t, db, query); got < least || got > begun {
			t.Errorf("%d, want %d to %d: %s", got, least, begun, query)
		}
	}
	if n := count(t, db, "SELECT COUNT(*) - COUNT(DISTINCT messageId) FROM messages"); n != 0 {
		t.Errorf("%d messages are doubled", n)
	}
	inTable := count(t, db, "SELECT COUNT(*) FROM messages WHERE deliveredTime IS NULL")
	if got := waiting(t, m.Inbox(), "to-user0", 0, server.MaxUndelivered); len(got) != inTable {
		t.Errorf("%d messages wait, and %d in the database", len(got), inTable)
	}
}

// killWriter has a process write rooms from a number on, kills it when it has
// acknowledged some, and returns the first number that no process has begun.
func killWriter(t *testing.T, dsn, dir string, from, rooms int) int {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestServiceMySQLKilledWriter$", "-test.v")
	child.Env = append(os.Environ(), "CALLBENCH_TEST_JOURNAL="+dir, "CALLBENCH_TEST_DSN="+dsn, fmt.Sprint("CALLBENCH_TEST_FROM=", from))
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	acknowledged := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "wrote ") {
			continue
		}
		if acknowledged++; acknowledged == rooms {
			must(t, child.Process.Kill())
		}
	}
	_ = child.Wait() // it was killed
	if acknowledged < rooms {
		t.Fatalf("the process ended after %d rooms", acknowledged)
	}
	return from + acknowledged + 1
}

// writeUntilKilled is the process that is killed.
func writeUntilKilled(t *testing.T, dir string) {
	m, err := store.OpenMySQL(t.Context(), store.MySQLConfig{DSN: os.Getenv("CALLBENCH_TEST_DSN"), Dir: dir})
	must(t, err)
	w := &writers{t: t, m: m}
	var from int
	_, err = fmt.Sscan(os.Getenv("CALLBENCH_TEST_FROM"), &from)
	must(t, err)
	for i := from; w.room(0, i); i++ {
		fmt.Println("wrote", i)
	}
	t.Fatal("a message was known before it was sent")
}
