package store_test

import (
	"bytes"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	mysqlparser "github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
)

var update = flag.Bool("update", false, "write the generated part of docs/mysql.md")

const mysqlDocs = "../../docs/mysql.md"

// tables describes the tables that the migrations make, as docs/mysql.md does.
func tables(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("migrations/00001_tables.sql")
	must(t, err)
	statements, _, err := mysqlparser.New().Parse(string(text), "", "")
	must(t, err)
	var b strings.Builder
	b.WriteString("| table | columns | unique | other indexes |\n| --- | --- | --- | --- |\n")
	for _, s := range statements {
		if table, ok := s.(*ast.CreateTableStmt); ok {
			other := append(indexes(table, ast.ConstraintIndex, ast.ConstraintKey), laterIndexes(t, table.Table.Name.O)...)
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", table.Table.Name, columns(table),
				strings.Join(indexes(table, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex), "; "), strings.Join(other, "; "))
		}
	}
	return b.String()
}

func columns(table *ast.CreateTableStmt) string {
	var all []string
	for _, c := range table.Cols {
		all = append(all, fmt.Sprintf("`%s`", c.Name.Name))
	}
	return strings.Join(all, ", ")
}

// laterIndexes are those that a later migration adds.
func laterIndexes(t *testing.T, table string) (all []string) {
	t.Helper()
	text, err := os.ReadFile("migrations/00002_open.sql")
	must(t, err)
	for _, found := range regexp.MustCompile(`'CREATE INDEX \w+ ON (\w+) \((.*?)\)'`).FindAllStringSubmatch(string(text), -1) {
		if found[1] == table {
			all = append(all, "`"+found[2]+"`")
		}
	}
	return all
}

func indexes(table *ast.CreateTableStmt, kinds ...ast.ConstraintType) (all []string) {
	for _, c := range table.Constraints {
		for _, k := range kinds {
			if c.Tp != k {
				continue
			}
			var keys []string
			for _, key := range c.Keys {
				keys = append(keys, key.Column.Name.O)
			}
			all = append(all, "`"+strings.Join(keys, ", ")+"`")
		}
	}
	return all
}

// TestMySQLDocs holds docs/mysql.md to the migrations, and those to the design
// document.
func TestMySQLDocs(t *testing.T) {
	want := tables(t)
	docs, err := os.ReadFile(mysqlDocs)
	must(t, err)
	head, rest, begun := bytes.Cut(docs, []byte("<!-- tables:begin -->\n"))
	got, tail, ended := bytes.Cut(rest, []byte("<!-- tables:end -->"))
	if !begun || !ended {
		t.Fatal("docs/mysql.md has no generated part")
	}
	if *update {
		all := fmt.Appendf(nil, "%s<!-- tables:begin -->\n%s<!-- tables:end -->%s", head, want, tail)
		must(t, os.WriteFile(mysqlDocs, all, 0o644))
		return
	}
	same(t, "the tables of docs/mysql.md (go test ./server/store -run TestMySQLDocs -update)", string(got), want)
	for _, designed := range []string{
		"| `rooms` | `id`, `roomId`, `roomType`, `creator`, `createdTime`, `endedTime`, `status`, `metadata` |",
		"| `room_members` | `id`, `roomId`, `userId`, `joinTime`, `leaveTime`, `role`, `duration` |",
		"| `recordings` | `id`, `roomId`, `recordingFile`, `startTime`, `endTime`, `duration`, `fileSize`, `participants`, `status` |",
	} {
		if !strings.Contains(want, designed) {
			t.Errorf("the design document has %s", designed)
		}
	}
}

// TestServiceMySQLIndexes asks the database how it answers the queries of the
// archive: each reads an index in its order, and sorts nothing.
func TestServiceMySQLIndexes(t *testing.T) {
	dsn := serviceDSN(t)
	openMySQL(t, dsn, t.TempDir())
	db := look(t, dsn)
	fill(t, db)
	for name, args := range map[string][]any{
		"sqlCalls": {"u1", at, at, "c", 10}, "sqlMissed": {"u1", at, at, "c", 10}, "sqlMembers": {"r1", at, at, "u", "u1", "u1", 10},
		"sqlRecordings": {"r1", at, at, "f", "u1", "u1", 10}, "sqlWasMember": {"r1", "u1"}, "sqlWaiting": nil,
		"sqlOpenRooms": {at.Add(time.Hour)}, "sqlOpenCalls": {"n", at.Add(time.Hour)},
	} {
		rows, err := db.Query("EXPLAIN "+constants(t)[name], args...)
		must(t, err)
		for rows.Next() {
			plan := readPlan(t, rows)
			if plan["key"] == "" || strings.Contains(plan["Extra"], "filesort") || strings.Contains(plan["Extra"], "temporary") {
				t.Errorf("%s: %v", name, plan)
			}
		}
		must(t, rows.Err())
		must(t, rows.Close())
	}
}

// fill gives the tables rows enough for an index to be worth it.
func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	var calls, participants, members, recordings, messages, rooms []string
	for n := range 3000 {
		at := at.Add(time.Duration(n) * time.Second).UTC().Format("'2006-01-02 15:04:05'")
		user := n % 30
		over, status := at, "ended"
		if n%100 == 0 {
			over, status = "NULL", "active"
		}
		rooms = append(rooms, fmt.Sprintf("('r%d', 'mcu', 'v', %s, %s, '%s', '{}')", n, at, over, status))
		calls = append(calls, fmt.Sprintf("('c%d', 'r', 'u%d', 'v', 'n', %s, %s, 0, '', 'missed')", n, user, at, over))
		participants = append(participants, fmt.Sprintf("('c%d', 'u%d', 'caller', %s, %d)", n, user, at, n/30%2))
		members = append(members, fmt.Sprintf("('r%d', 'u%d', %s, 'publisher', 1)", user, n%7, at))
		recordings = append(recordings, fmt.Sprintf("('r%d', 'f%d', %s, 1, 1, '[]', 'ready')", user, n, at))
		messages = append(messages, fmt.Sprintf("('u%d', %d, 'm%d', 'v', 'u%d', '', %s, %s)", user, n, n, user, at, over))
	}
	for into, rows := range map[string][]string{
		"rooms (roomId, roomType, creator, createdTime, endedTime, status, metadata)":                 rooms,
		"calls (callId, roomId, caller, callee, node, startTime, endTime, duration, reason, outcome)": calls,
		"participants (callId, userId, role, startTime, missed)":                                      participants,
		"room_members (roomId, userId, joinTime, role, duration)":                                     members,
		"recordings (roomId, recordingFile, startTime, duration, fileSize, participants, status)":     recordings,
		"messages (owner, number, messageId, fromUser, toUser, content, sentTime, deliveredTime)":     messages,
	} {
		_, err := db.Exec("INSERT INTO " + into + " VALUES " + strings.Join(rows, ", "))
		must(t, err)
		_, err = db.Exec("ANALYZE TABLE " + strings.Fields(into)[0])
		must(t, err)
	}
}

func readPlan(t *testing.T, rows *sql.Rows) map[string]string {
	t.Helper()
	names, err := rows.Columns()
	must(t, err)
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	must(t, rows.Scan(into...))
	plan := make(map[string]string)
	for i, n := range names {
		plan[n] = values[i].String
	}
	return plan
}
