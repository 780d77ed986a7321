package world

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// historyProbe reads the design's tables in a database that others use as well.
type historyProbe struct {
	db    *sql.DB
	ours  map[string]bool // users
	after int64           // the last room that was there in the beginning
	call  int64           // the same of calls; negative if there is no such table with our columns: the design does not have it
}

// MySQL's errors ER_NO_SUCH_TABLE and ER_BAD_FIELD_ERROR.
const (
	noSuchTable  = 1146
	noSuchColumn = 1054
)

// errDSN keeps to itself what the DSN was, in which there may be a password.
var errDSN = errors.New("the address of MySQL is not as user:password@tcp(HOST:PORT)/database")

func openHistoryProbe(ctx context.Context, dsn string, ours map[string]bool) (*historyProbe, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil || c.DBName == "" {
		return nil, errDSN
	}
	c.ParseTime, c.Timeout, c.ReadTimeout, c.Logger = true, lookLimit, lookLimit, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, errDSN
	}
	p := &historyProbe{db: sql.OpenDB(connector), ours: ours}
	if err := p.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM rooms").Scan(&p.after); err != nil {
		return nil, errors.Join(fmt.Errorf("read the table rooms: %w", err), p.db.Close())
	}
	if err := p.openCalls(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("read the table calls: %w", err), p.db.Close())
	}
	return p, nil
}

// openCalls finds the last call that was there in the beginning. A table that is not
// there, or whose columns are another product's, is looked at no more.
func (p *historyProbe) openCalls(ctx context.Context) error {
	err := p.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM calls").Scan(&p.call)
	if err == nil {
		_, err = p.calls(ctx)
	}
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && (refused.Number == noSuchTable || refused.Number == noSuchColumn) {
		p.call, err = -1, nil
	}
	return err
}

// mysqlAddress is where MySQL is, without user and password.
func mysqlAddress(dsn string) string {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "an address that cannot be read"
	}
	return c.Addr + "/" + c.DBName
}

// look finds the rooms that were made since the beginning and that a user of the
// scenario made or was in, with their members and recordings.
func (p *historyProbe) look(ctx context.Context) (found []scenarios.Finding, err error) {
	rooms, err := p.rooms(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rooms {
		all, err := p.members(ctx, r.RoomID)
		if err != nil {
			return nil, err
		}
		members := membersOf(r, all)
		if !p.concerns(r, members) {
			continue
		}
		found = append(found, behind(r, members)...)
		recordings, err := p.recordings(ctx, r)
		if err != nil {
			return nil, err
		}
		found = append(append(found, recordings...), inHistory(r, members))
	}
	if p.call < 0 {
		return found, nil
	}
	calls, err := p.calls(ctx)
	return append(found, callRows(calls)...), err
}

// calls reads the rows of calls of the scenario's users.
func (p *historyProbe) calls(ctx context.Context) (ours []server.CallHistory, err error) {
	const query = "SELECT callId, roomId, caller, callee, startTime, answerTime, endTime, reason, outcome FROM calls WHERE id > ? ORDER BY startTime, id"
	all, err := read(ctx, p.db, query, []any{p.call}, func(row *sql.Rows) (c server.CallHistory, err error) {
		var start, answer, end instant
		err = row.Scan(&c.CallID, &c.RoomID, &c.Caller, &c.Callee, &start, &answer, &end, &c.Reason, &c.Outcome)
		c.StartedAt, c.AnsweredAt, c.EndedAt = start.Time, answer.Time, end.Time
		return c, err
	})
	for _, c := range all {
		if p.ours[c.Caller] || p.ours[c.Callee] {
			ours = append(ours, c)
		}
	}
	return ours, err
}

func (p *historyProbe) concerns(r server.RoomHistory, members []server.MemberHistory) bool {
	return p.ours[r.Creator] || slices.ContainsFunc(members, func(m server.MemberHistory) bool { return p.ours[m.UserID] })
}

// rooms reads the rows of rooms, the oldest first.
func (p *historyProbe) rooms(ctx context.Context) ([]server.RoomHistory, error) {
	const query = "SELECT roomId, roomType, creator, createdTime, endedTime, metadata FROM rooms WHERE id > ? ORDER BY createdTime, id"
	return read(ctx, p.db, query, []any{p.after}, func(row *sql.Rows) (r server.RoomHistory, err error) {
		var created, ended instant
		var metadata sql.NullString
		err = row.Scan(&r.RoomID, &r.Type, &r.Creator, &created, &ended, &metadata)
		r.CreatedAt, r.EndedAt = created.Time, ended.Time
		var of struct {
			CallID string           `json:"callId"`
			Reason signaling.Reason `json:"reason"`
		}
		if json.Unmarshal([]byte(metadata.String), &of) == nil { // what is in it is every server's own
			r.CallID, r.Reason = of.CallID, of.Reason
		}
		return r, err
	})
}

func (p *historyProbe) members(ctx context.Context, room string) ([]server.MemberHistory, error) {
	const query = "SELECT userId, role, joinTime, leaveTime FROM room_members WHERE roomId = ? ORDER BY joinTime, id"
	return read(ctx, p.db, query, []any{room}, func(row *sql.Rows) (m server.MemberHistory, err error) {
		var joined, left instant
		err = row.Scan(&m.UserID, &m.Role, &joined, &left)
		m.RoomID, m.JoinedAt, m.LeftAt = room, joined.Time, left.Time
		return m, err
	})
}

// recordings describes a room's recordings. Where their files are is not looked at.
func (p *historyProbe) recordings(ctx context.Context, r server.RoomHistory) (found []scenarios.Finding, err error) {
	const query = "SELECT recordingFile, startTime, endTime, fileSize, participants, status FROM recordings WHERE roomId = ? ORDER BY startTime, id"
	rows, err := read(ctx, p.db, query, []any{r.RoomID}, func(row *sql.Rows) (h server.RecordingHistory, err error) {
		var begin, end instant
		var size sql.NullInt64
		var participants sql.NullString
		err = row.Scan(&h.File, &begin, &end, &size, &participants, &h.Status)
		h.RoomID, h.StartedAt, h.EndedAt, h.FileSize = r.RoomID, begin.Time, end.Time, size.Int64
		h.RecordingID = strings.TrimSuffix(path.Base(h.File), path.Ext(h.File))
		if json.Unmarshal([]byte(participants.String), &h.Participants) != nil {
			h.Participants = nil
		}
		return h, err
	})
	for _, row := range rows {
		if row.StartedAt.Before(r.CreatedAt) || !r.EndedAt.IsZero() && row.StartedAt.After(r.EndedAt) {
			continue // of another room of that name
		}
		found = append(found, recordingFindings(r, row)...)
	}
	return found, err
}

func (p *historyProbe) close() error { return p.db.Close() }

// read reads all rows of a query.
func read[T any](ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) (T, error)) (all []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// instant is a time as servers write them: a DATETIME or TIMESTAMP in UTC, or
// milliseconds since 1970. NULL and 0 are no time.
type instant struct{ time.Time }

// Scan implements sql.Scanner.
func (t *instant) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = v
	case int64:
		t.Time = time.Time{}
		if v != 0 {
			t.Time = time.UnixMilli(v)
		}
	case []byte:
		ms, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return fmt.Errorf("%q is neither a time nor a number of milliseconds", v)
		}
		return t.Scan(ms)
	default:
		return fmt.Errorf("a %T is no time", value)
	}
	return nil
}
