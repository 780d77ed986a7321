package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// sweep is an entry of the outbox that ends what a node left open.
type sweep struct {
	Node string              `json:"node"`
	At   time.Time           `json:"at"`   // what began later is not meant
	End  time.Time           `json:"end"`  // when it ended, as far as is known
	Kept []server.RoomRecord `json:"kept"` // rooms that go on
}

// Sweep implements server.Sweeper. What is written already and not in the database
// yet is there when it is swept.
func (m *MySQL) Sweep(ctx context.Context, node string, kept []server.RoomRecord) error {
	at := time.Now()
	end := m.lastAlive
	if end.IsZero() {
		end = at
	}
	return m.outbox.write(ctx, entry{Sweep: &sweep{node, at, end, kept}})
}

// The statements of a sweep.
const (
	sqlOpenRooms = `SELECT roomId, roomType, creator, createdTime, metadata FROM rooms WHERE status = 'active' AND createdTime <= ?`
	sqlOpenCalls = `SELECT callId, roomId, caller, callee, node, startTime, ringTime, answerTime FROM calls
		WHERE node = ? AND endTime IS NULL AND startTime <= ?`
	sqlOpenMembers    = `SELECT roomId, userId, role, joinTime FROM room_members WHERE roomId = ? AND leaveTime IS NULL AND joinTime >= ? AND joinTime <= ?`
	sqlOpenRecordings = `SELECT roomId, recordingFile, startTime FROM recordings
		WHERE roomId = ? AND startTime >= ? AND startTime <= ? AND endTime IS NULL`
)

// do ends all of it. What has ended is no longer open, so that a repetition changes
// nothing.
func (s sweep) do(ctx context.Context, tx *sql.Tx) error {
	rooms, err := read(ctx, tx, "open rooms", scanOpenRoom, sqlOpenRooms, at3(s.At))
	if err != nil {
		return err
	}
	for _, r := range rooms {
		if r.Node != s.Node || s.keeps(r.RoomID, r.CreatedAt) {
			continue
		}
		if err := s.endRoom(ctx, tx, r); err != nil {
			return fmt.Errorf("end room %s: %w", r.RoomID, err)
		}
	}
	return s.endCalls(ctx, tx)
}

// keeps reports whether a room goes on. One that began at no time is any of the name.
func (s sweep) keeps(roomID string, created time.Time) bool {
	for _, k := range s.Kept {
		if k.RoomID == roomID && (created.IsZero() || k.CreatedAt.UnixMilli() == created.UnixMilli()) {
			return true
		}
	}
	return false
}

func scanOpenRoom(scan func(...any) error) (r server.RoomHistory, err error) {
	var metadata []byte
	if err := scan(&r.RoomID, &r.Type, &r.Creator, &r.CreatedAt, &metadata); err != nil {
		return r, err
	}
	var m roomMetadata
	if err := json.Unmarshal(metadata, &m); err != nil {
		return r, fmt.Errorf("metadata of room %s: %w", r.RoomID, err)
	}
	r.CallID, r.Node = m.CallID, m.Node
	return r, nil
}

// endRoom ends a room with who is in it and what is recorded of it.
func (s sweep) endRoom(ctx context.Context, tx *sql.Tx, r server.RoomHistory) error {
	until := s.At // the next meeting of the name, if that goes on
	for _, k := range s.Kept {
		if k.RoomID == r.RoomID && k.CreatedAt.After(r.CreatedAt) && k.CreatedAt.Before(until) {
			until = k.CreatedAt.Add(-time.Millisecond)
		}
	}
	last := s.ended(r.CreatedAt)
	members, err := read(ctx, tx, "open members", func(scan func(...any) error) (m server.MemberHistory, err error) {
		return m, scan(&m.RoomID, &m.UserID, &m.Role, &m.JoinedAt)
	}, sqlOpenMembers, r.RoomID, at3(r.CreatedAt), at3(until))
	if err != nil {
		return err
	}
	for _, m := range members {
		m.LeftAt = s.ended(m.JoinedAt)
		last = later(last, m.LeftAt, true)
		if err := writeMember(ctx, tx, m); err != nil {
			return err
		}
	}
	recordings, err := read(ctx, tx, "open recordings", func(scan func(...any) error) (f server.RecordingHistory, err error) {
		return f, scan(&f.RoomID, &f.File, &f.StartedAt)
	}, sqlOpenRecordings, r.RoomID, at3(r.CreatedAt), at3(until))
	if err != nil {
		return err
	}
	for _, f := range recordings {
		f.EndedAt, f.Status = s.ended(f.StartedAt), string(signaling.RecordingFailed)
		if err := writeRecording(ctx, tx, f); err != nil {
			return err
		}
	}
	r.EndedAt, r.Reason = last, signaling.ReasonDropped
	return writeRoom(ctx, tx, r)
}

// ended is when something ended that began then: not before that.
func (s sweep) ended(began time.Time) time.Time {
	if s.End.Before(began) {
		return began
	}
	return s.End
}

// endCalls ends calls whose rooms do not go on.
func (s sweep) endCalls(ctx context.Context, tx *sql.Tx) error {
	calls, err := read(ctx, tx, "open calls", func(scan func(...any) error) (c server.CallHistory, err error) {
		var ringing, answered sql.NullTime
		err = scan(&c.CallID, &c.RoomID, &c.Caller, &c.Callee, &c.Node, &c.StartedAt, &ringing, &answered)
		c.RingingAt, c.AnsweredAt = ringing.Time, answered.Time
		return c, err
	}, sqlOpenCalls, s.Node, at3(s.At))
	if err != nil {
		return err
	}
	for _, c := range calls {
		if s.keeps(c.RoomID, time.Time{}) {
			continue
		}
		c.Reason, c.Outcome, c.EndedAt = signaling.ReasonDropped, signaling.OutcomeMissed, s.ended(c.StartedAt)
		if !c.AnsweredAt.IsZero() {
			c.Outcome, c.EndedAt = signaling.OutcomeAccepted, s.ended(c.AnsweredAt)
		}
		if err := writeCall(ctx, tx, c); err != nil {
			return fmt.Errorf("end call %s: %w", c.CallID, err)
		}
	}
	return nil
}

// aliveFile is a file in the journal's folder that is as old as the server's last
// sign of life, which it gives every alivePause.
const (
	aliveFile  = "alive"
	alivePause = 2 * time.Second
)

// wasAlive is when a server last gave a sign of life in this folder, zero if none
// ever did.
func wasAlive(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, aliveFile))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// live gives a sign of life.
func live(dir string) error {
	name, now := filepath.Join(dir, aliveFile), time.Now()
	if os.Chtimes(name, now, now) == nil {
		return nil
	}
	return os.WriteFile(name, nil, 0o600)
}
