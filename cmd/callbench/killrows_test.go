package main

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// rows are what MySQL must have of a call that both sides have seen: the call
// itself with its end and the reason that they were told, its room, two members
// who have left, and two who took part.
var rows = map[string]string{
	"call":         "SELECT COUNT(*) = 1 FROM calls WHERE callId = ? AND endTime IS NOT NULL AND reason = ?",
	"room":         "SELECT COUNT(*) = 1 FROM rooms JOIN calls USING (roomId) WHERE callId = ? AND status = 'ended' AND ? <> ''",
	"members":      "SELECT COUNT(DISTINCT userId) = 2 FROM room_members JOIN calls USING (roomId) WHERE callId = ? AND leaveTime IS NOT NULL AND ? <> ''",
	"participants": "SELECT COUNT(*) = 2 FROM participants WHERE callId = ? AND ? <> ''",
}

// lostRows returns what MySQL lacks of these calls, which are over, or has of them
// more than once, when the server has had time to write it.
func lostRows(t *testing.T, db *sql.DB, reasons map[string]string) (lost []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_ = wait(ctx, "everything is in MySQL", func() bool {
		lost = nil
		for call, reason := range reasons {
			for what, query := range rows {
				var there bool
				if err := db.QueryRow(query, call, reason).Scan(&there); err != nil || !there {
					lost = append(lost, fmt.Sprint(what, " of ", call, " ", reason))
				}
			}
		}
		return len(lost) == 0
	})
	return lost
}
