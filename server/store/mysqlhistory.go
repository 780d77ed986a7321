package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/callbench/callbench/server"
)

// history is a server.History whose rows go to the outbox.
type history struct{ outbox *outbox }

// RoomStarted implements server.History.
func (h history) RoomStarted(ctx context.Context, r server.RoomHistory) error {
	return h.outbox.write(ctx, entry{Room: &r})
}

// RoomEnded implements server.History.
func (h history) RoomEnded(ctx context.Context, r server.RoomHistory) error {
	return h.outbox.write(ctx, entry{Room: &r})
}

// MemberJoined implements server.History.
func (h history) MemberJoined(ctx context.Context, m server.MemberHistory) error {
	return h.outbox.write(ctx, entry{Member: &m})
}

// MemberLeft implements server.History.
func (h history) MemberLeft(ctx context.Context, m server.MemberHistory) error {
	return h.outbox.write(ctx, entry{Member: &m})
}

// CallChanged implements server.History.
func (h history) CallChanged(ctx context.Context, c server.CallHistory) error {
	return h.outbox.write(ctx, entry{Call: &c})
}

// RecordingChanged implements server.History.
func (h history) RecordingChanged(ctx context.Context, r server.RecordingHistory) error {
	if r.StartedAt.IsZero() {
		r.StartedAt = time.Now() // the row has a place in the list from now on
	}
	return h.outbox.write(ctx, entry{Recording: &r})
}

// The statements that entries become. What is NULL or empty is not known, and
// changes nothing that is. VALUES() is what MySQL and MariaDB both understand.
const (
	sqlRoom = `INSERT INTO rooms (roomId, roomType, creator, createdTime, endedTime, status, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE metadata = IF(VALUES(endedTime) IS NULL, metadata, VALUES(metadata)),
		status = IF(VALUES(endedTime) IS NULL, status, VALUES(status)), endedTime = COALESCE(VALUES(endedTime), endedTime)`
	sqlMember = `INSERT INTO room_members (roomId, userId, joinTime, leaveTime, role, duration) VALUES (?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE role = IF(VALUES(leaveTime) IS NULL, role, VALUES(role)),
		duration = IF(VALUES(leaveTime) IS NULL, duration, VALUES(duration)), leaveTime = COALESCE(VALUES(leaveTime), leaveTime)`
	sqlCall = `INSERT INTO calls (callId, roomId, caller, callee, node, startTime, ringTime, answerTime, endTime, duration, reason, outcome)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE roomId = IF(VALUES(roomId) = '', roomId, VALUES(roomId)), node = IF(VALUES(node) = '', node, VALUES(node)),
		ringTime = COALESCE(VALUES(ringTime), ringTime), answerTime = COALESCE(VALUES(answerTime), answerTime),
		endTime = COALESCE(VALUES(endTime), endTime), duration = IF(VALUES(duration) = 0, duration, VALUES(duration)),
		reason = IF(VALUES(reason) = '', reason, VALUES(reason)), outcome = IF(VALUES(outcome) = '', outcome, VALUES(outcome))`
	sqlParticipant = `INSERT INTO participants (callId, userId, role, startTime, missed) VALUES (?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE missed = GREATEST(missed, VALUES(missed))`
	sqlRecording = `INSERT INTO recordings (roomId, recordingFile, startTime, endTime, duration, fileSize, participants, status)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE startTime = VALUES(startTime), endTime = COALESCE(VALUES(endTime), endTime),
		duration = IF(VALUES(endTime) IS NULL, duration, VALUES(duration)), fileSize = IF(VALUES(fileSize) = 0, fileSize, VALUES(fileSize)),
		participants = IF(JSON_LENGTH(VALUES(participants)) = 0, participants, VALUES(participants)), status = IF(VALUES(status) = '', status, VALUES(status))`
	sqlLetter = `INSERT INTO messages (owner, number, messageId, fromUser, toUser, content, callLog, sentTime, deliveredTime) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE deliveredTime = COALESCE(deliveredTime, VALUES(deliveredTime))`
	sqlDelivered = `UPDATE messages SET deliveredTime = ? WHERE owner = ? AND number IN (?) AND deliveredTime IS NULL`
)

// applier writes entries of the outbox to the database.
type applier struct{ *tables }

// apply writes entries in one transaction.
func (a applier) apply(ctx context.Context, entries []entry) (err error) {
	if err := a.there(); err != nil {
		return err
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the connection is lost, or this cannot fail
		}
	}()
	var letters []*ownedLetter
	for _, e := range entries {
		if e.Letter != nil {
			letters = append(letters, e.Letter)
			continue
		}
		if err := a.record(ctx, tx, e); err != nil {
			return judged(e.String(), err)
		}
	}
	if err := insertLetters(ctx, tx, letters); err != nil {
		return judged("messages", err)
	}
	// A letter is delivered after it came, if in the same transaction.
	for _, e := range entries {
		if e.Delivered == nil {
			continue
		}
		if err := deliver(ctx, tx, *e.Delivered); err != nil {
			return judged(e.String(), err)
		}
	}
	if err := tx.Commit(); err != nil {
		return judged("transaction", err)
	}
	return nil
}

// judged says of an error whether it will be the same next time: the database
// refuses the data (SQLSTATE classes 22 and 23, and MySQL's 1366), not the moment.
func judged(what string, err error) error {
	var refusal *mysql.MySQLError
	if errors.As(err, &refusal) {
		class := string(refusal.SQLState[:2])
		if class == "22" || class == "23" || refusal.Number == 1366 {
			return fmt.Errorf("write %s: %w: %w", what, errRefused, err)
		}
	}
	return fmt.Errorf("write %s: %w", what, err)
}

// record writes an entry of the history.
func (a applier) record(ctx context.Context, tx *sql.Tx, e entry) error {
	switch {
	case e.Room != nil:
		return writeRoom(ctx, tx, *e.Room)
	case e.Member != nil:
		return writeMember(ctx, tx, *e.Member)
	case e.Call != nil:
		return writeCall(ctx, tx, *e.Call)
	case e.Recording != nil:
		return writeRecording(ctx, tx, *e.Recording)
	case e.Sweep != nil:
		return e.Sweep.do(ctx, tx)
	}
	return nil
}

func writeMember(ctx context.Context, tx *sql.Tx, m server.MemberHistory) error {
	return exec(ctx, tx, sqlMember, m.RoomID, m.UserID, at3(m.JoinedAt), at3(m.LeftAt), string(m.Role), wholeSeconds(m.Duration()))
}

func writeRecording(ctx context.Context, tx *sql.Tx, r server.RecordingHistory) error {
	names, err := json.Marshal(append([]string{}, r.Participants...))
	if err != nil {
		return err
	}
	return exec(ctx, tx, sqlRecording, r.RoomID, r.File, at3(r.StartedAt), at3(r.EndedAt), wholeSeconds(r.Duration()), r.FileSize, string(names), r.Status)
}

// roomMetadata is what rooms.metadata holds.
type roomMetadata struct {
	CallID string `json:"callId,omitempty"`
	Reason string `json:"reason,omitempty"`
	Node   string `json:"node,omitempty"`
}

func writeRoom(ctx context.Context, tx *sql.Tx, r server.RoomHistory) error {
	metadata, err := json.Marshal(roomMetadata{r.CallID, string(r.Reason), r.Node})
	if err != nil {
		return err
	}
	return exec(ctx, tx, sqlRoom, r.RoomID, string(r.Type), r.Creator, at3(r.CreatedAt), at3(r.EndedAt), r.Status(), string(metadata))
}

func writeCall(ctx context.Context, tx *sql.Tx, c server.CallHistory) error {
	err := exec(ctx, tx, sqlCall, c.CallID, c.RoomID, c.Caller, c.Callee, c.Node, at3(c.StartedAt), at3(c.RingingAt), at3(c.AnsweredAt), at3(c.EndedAt),
		wholeSeconds(c.Duration()), string(c.Reason), string(c.Outcome))
	if err == nil {
		err = exec(ctx, tx, sqlParticipant, c.CallID, c.Callee, "callee", at3(c.StartedAt), c.Missed())
	}
	if err != nil || c.RoomID == "" || c.Caller == c.Callee { // the callee's alone, or one user's
		return err
	}
	return exec(ctx, tx, sqlParticipant, c.CallID, c.Caller, "caller", at3(c.StartedAt), false)
}

// insertLetters adds all of them with one statement.
func insertLetters(ctx context.Context, tx *sql.Tx, letters []*ownedLetter) error {
	if len(letters) == 0 {
		return nil
	}
	const row = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
	args := make([]any, 0, 9*len(letters))
	for _, l := range letters {
		m := l.Message
		var log any
		if m.Call != nil {
			text, err := json.Marshal(m.Call)
			if err != nil {
				return err
			}
			log = string(text)
		}
		args = append(args, l.Owner, l.Number, m.MessageID, m.From, m.To, m.Content, log, time.UnixMilli(m.Timestamp).UTC(), at3(l.deliveredAt))
	}
	return exec(ctx, tx, strings.Replace(sqlLetter, row, row+strings.Repeat(", "+row, len(letters)-1), 1), args...)
}

func deliver(ctx context.Context, tx *sql.Tx, d deliveredLetters) error {
	args := []any{at3(d.At), d.Owner}
	for _, n := range slices.Sorted(slices.Values(d.Numbers)) { // one order of locks
		args = append(args, n)
	}
	return exec(ctx, tx, strings.Replace(sqlDelivered, "IN (?)", "IN (?"+strings.Repeat(", ?", len(d.Numbers)-1)+")", 1), args...)
}

func exec(ctx context.Context, tx *sql.Tx, statement string, args ...any) error {
	_, err := tx.ExecContext(ctx, statement, args...)
	return err
}

// at3 is a time as the tables hold it: UTC, to the millisecond, which databases
// would otherwise round each in its own way; NULL if it is zero.
func at3(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func wholeSeconds(d time.Duration) int64 { return int64(max(0, d) / time.Second) }
