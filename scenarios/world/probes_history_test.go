package world

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/scenarios"
)

// foreignTables are the design's tables as another server may have made them: times
// are milliseconds, what is not needed is NULL, and calls are about something else.
var foreignTables = []string{
	"CREATE TABLE rooms (id BIGINT AUTO_INCREMENT PRIMARY KEY, roomId VARCHAR(64), roomType VARCHAR(16), creator VARCHAR(64), createdTime BIGINT, endedTime BIGINT NULL, status VARCHAR(16), metadata TEXT NULL)",
	"CREATE TABLE room_members (id BIGINT AUTO_INCREMENT PRIMARY KEY, roomId VARCHAR(64), userId VARCHAR(64), joinTime BIGINT, leaveTime BIGINT NULL, role VARCHAR(16), duration INT)",
	"CREATE TABLE recordings (id BIGINT AUTO_INCREMENT PRIMARY KEY, roomId VARCHAR(64), recordingFile VARCHAR(128), startTime BIGINT, endTime BIGINT NULL, duration INT, fileSize BIGINT NULL, participants TEXT NULL, status VARCHAR(16))",
	"CREATE TABLE calls (id BIGINT AUTO_INCREMENT PRIMARY KEY, support_case VARCHAR(64))",
}

// foreignDatabase makes them in a database of the test's own.
func foreignDatabase(t *testing.T) (db *sql.DB, dsn string) {
	t.Helper()
	dsn = os.Getenv("CALLBENCH_MYSQL_DSN")
	if dsn == "" {
		t.Skip("CALLBENCH_MYSQL_DSN names no MySQL or MariaDB, such as root@tcp(127.0.0.1:3306)/")
	}
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c.DBName = ""
	admin, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	name := "callbench_" + strings.ToLower(rand.Text()[:10])
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	c.DBName = name
	db, err = sql.Open("mysql", c.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		if _, err := admin.Exec("DROP DATABASE " + name); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	for _, table := range foreignTables {
		if _, err := db.Exec(table); err != nil {
			t.Fatal(err)
		}
	}
	return db, c.FormatDSN()
}

// TestServiceHistoryProbe reads the tables of another server: rows of the scenario's
// users that came since it began, and what of them should have ended.
func TestServiceHistoryProbe(t *testing.T) {
	db, dsn := foreignDatabase(t)
	do := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli()
	room := func(id, creator string, ended any, members ...string) {
		do("INSERT INTO rooms (roomId, roomType, creator, createdTime, endedTime, status) VALUES (?, '1v1', ?, ?, ?, 'x')", id, creator, began, ended)
		for i, m := range members {
			do("INSERT INTO room_members (roomId, userId, joinTime, leaveTime, role) VALUES (?, ?, ?, ?, 'publisher')", id, m, began+int64(i)*100, ended)
		}
	}
	room("before", "alice", nil, "alice", "bob")
	p, err := openHistoryProbe(t.Context(), dsn, map[string]bool{"alice": true, "bob": true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	room("over", "alice", began+3500, "alice", "bob")
	room("foreign", "eve", nil, "eve")
	room("joined", "eve", nil, "eve", "bob")
	do("INSERT INTO room_members (roomId, userId, joinTime, role) VALUES ('over', 'late', ?, 'subscriber')", began+200)
	do("INSERT INTO recordings (roomId, recordingFile, startTime, status) VALUES ('over', 'over/r1.webm', ?, 'recording')", began+300)
	found, err := p.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		line := f.What
		for _, key := range []string{"where", "id", "room", "status", "users", "members", "duration", "answered", "state"} {
			if v := attr(f, key); v != "" {
				line += " " + key + "=" + v
			}
		}
		got = append(got, line)
	}
	want := []string{
		"left where=member id=late of over",
		"left where=recording id=r1",
		"recording room=over status=active duration=0 state=recording",
		"room room=over status=ended users=alice,bob,late members=3 duration=3.5 answered=yes",
		"left where=room id=joined",
		"room room=joined status=active users=eve,bob members=2 duration=0 answered=yes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What the address of a part says that is secret is in no error and in no report.
func TestProbesKeepSecrets(t *testing.T) {
	const secret = "do-not-tell"
	p := Probes{Redis: "redis://me:" + secret + "@127.0.0.1:1/0", MySQL: "me:" + secret + "@tcp(127.0.0.1:1)/calls", KMS: "ws://127.0.0.1:1/kurento?key=" + secret, Metrics: "http://127.0.0.1:1/metrics?key=" + secret}
	for name, is := range p.parts() {
		if strings.Contains(is, secret) || !strings.Contains(is, "127.0.0.1:1") {
			t.Errorf("%s is %q in reports", name, is)
		}
	}
	for _, one := range []Probes{{Redis: p.Redis}, {Redis: "redis://me:" + secret + "@127.0.0.1:x/0"}, {MySQL: p.MySQL}, {MySQL: "me:" + secret + "@tcp(127.0.0.1:1"}, {Metrics: p.Metrics}} {
		all, err := openProbes(t.Context(), one, &scenarios.Scenario{})
		if err == nil {
			t.Errorf("%+v: %v is taken", one, all)
		} else if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%v", err)
		}
	}
}
