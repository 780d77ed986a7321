package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/callbench/callbench/server"
)

// archive is a server.Archive that reads the tables.
type archive struct{ *tables }

// The queries. Each has an index that it reads in its order and stops. Two times of a
// name are of one meeting if no room of that name began between them.
const (
	sqlCalls = `SELECT c.callId, c.roomId, c.caller, c.callee, c.node, c.startTime, c.ringTime, c.answerTime, c.endTime, c.reason, c.outcome
		FROM participants p JOIN calls c ON c.callId = p.callId
		WHERE p.userId = ? AND p.startTime <= ? AND (p.startTime < ? OR p.callId < ?)
		ORDER BY p.startTime DESC, p.callId DESC LIMIT ?`
	sqlMissed = `SELECT c.callId, c.roomId, c.caller, c.callee, c.node, c.startTime, c.ringTime, c.answerTime, c.endTime, c.reason, c.outcome
		FROM participants p JOIN calls c ON c.callId = p.callId
		WHERE p.userId = ? AND p.missed = 1 AND p.startTime <= ? AND (p.startTime < ? OR p.callId < ?)
		ORDER BY p.startTime DESC, p.callId DESC LIMIT ?`
	sqlMembers = `SELECT m.roomId, m.userId, m.role, m.joinTime, m.leaveTime FROM room_members m
		WHERE m.roomId = ? AND m.joinTime >= ? AND (m.joinTime > ? OR m.userId > ?) AND (? = '' OR EXISTS (
			SELECT 1 FROM room_members me WHERE me.roomId = m.roomId AND me.userId = ? AND NOT EXISTS (
				SELECT 1 FROM rooms r WHERE r.roomId = m.roomId
					AND r.createdTime > LEAST(me.joinTime, m.joinTime) AND r.createdTime <= GREATEST(me.joinTime, m.joinTime))))
		ORDER BY m.joinTime, m.userId LIMIT ?`
	sqlRecordings = `SELECT f.roomId, f.recordingFile, f.startTime, f.endTime, f.fileSize, f.participants, f.status FROM recordings f
		WHERE f.roomId = ? AND f.startTime >= ? AND (f.startTime > ? OR f.recordingFile > ?) AND (? = '' OR EXISTS (
			SELECT 1 FROM room_members me WHERE me.roomId = f.roomId AND me.userId = ? AND NOT EXISTS (
				SELECT 1 FROM rooms r WHERE r.roomId = f.roomId
					AND r.createdTime > LEAST(me.joinTime, f.startTime) AND r.createdTime <= GREATEST(me.joinTime, f.startTime))))
		ORDER BY f.startTime, f.recordingFile LIMIT ?`
	sqlWasMember = `SELECT COUNT(*) FROM room_members WHERE roomId = ? AND userId = ?`
)

// Times before and after all others.
var (
	never   = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	earlier = time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Calls implements server.Archive.
func (a archive) Calls(ctx context.Context, user string, missedOnly bool, p server.Page) ([]server.CallHistory, error) {
	query := sqlCalls
	if missedOnly {
		query = sqlMissed
	}
	from := p.After.At
	if (p.After == server.Place{}) {
		from = never
	}
	return readMade(ctx, a.tables, "calls", func(scan func(...any) error) (c server.CallHistory, err error) {
		var ringing, answered, ended sql.NullTime
		err = scan(&c.CallID, &c.RoomID, &c.Caller, &c.Callee, &c.Node, &c.StartedAt, &ringing, &answered, &ended, &c.Reason, &c.Outcome)
		c.RingingAt, c.AnsweredAt, c.EndedAt = ringing.Time, answered.Time, ended.Time
		return c, err
	}, query, user, at3(from), at3(from), p.After.ID, p.Limit)
}

// Members implements server.Archive.
func (a archive) Members(ctx context.Context, roomID string, p server.Page) ([]server.MemberHistory, error) {
	return readMade(ctx, a.tables, "members", func(scan func(...any) error) (m server.MemberHistory, err error) {
		var left sql.NullTime
		err = scan(&m.RoomID, &m.UserID, &m.Role, &m.JoinedAt, &left)
		m.LeftAt = left.Time
		return m, err
	}, sqlMembers, roomID, behind(p), behind(p), p.After.ID, p.Of, p.Of, p.Limit)
}

// Recordings implements server.Archive. The id of a recording is the name of its
// file.
func (a archive) Recordings(ctx context.Context, roomID string, p server.Page) ([]server.RecordingHistory, error) {
	return readMade(ctx, a.tables, "recordings", func(scan func(...any) error) (r server.RecordingHistory, err error) {
		var ended sql.NullTime
		var names []byte
		if err := scan(&r.RoomID, &r.File, &r.StartedAt, &ended, &r.FileSize, &names, &r.Status); err != nil {
			return r, err
		}
		r.EndedAt = ended.Time
		file := path.Base(r.File)
		r.RecordingID = strings.TrimSuffix(file, path.Ext(file))
		if err := json.Unmarshal(names, &r.Participants); err != nil {
			return r, fmt.Errorf("participants of %s: %w", r.File, err)
		}
		if len(r.Participants) == 0 {
			r.Participants = nil
		}
		return r, nil
	}, sqlRecordings, roomID, behind(p), behind(p), p.After.ID, p.Of, p.Of, p.Limit)
}

// behind is the time that a page in ascending order begins at.
func behind(p server.Page) any {
	if (p.After == server.Place{}) {
		return at3(earlier)
	}
	return at3(p.After.At)
}

// WasMember implements server.Archive.
func (a archive) WasMember(ctx context.Context, roomID, user string) (bool, error) {
	if err := a.there(); err != nil {
		return false, err
	}
	var n int
	if err := a.db.QueryRowContext(ctx, sqlWasMember, roomID, user).Scan(&n); err != nil {
		return false, fmt.Errorf("read members: %w", err)
	}
	return n > 0, nil
}

// readMade is read, once the tables are made.
func readMade[T any](ctx context.Context, t *tables, what string, row func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	if err := t.there(); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return read(ctx, t.db, what, row, query, args...)
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// read runs a query and reads its rows.
func read[T any](ctx context.Context, db querier, what string, row func(scan func(...any) error) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	for rows.Next() {
		one, err := row(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return all, nil
}
