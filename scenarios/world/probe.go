package world

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
)

// Probe implements scenarios.World.
func (y *system) Probe(ctx context.Context) ([]scenarios.Finding, error) {
	found, err := y.mediaObjects(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range y.redis.Keys() {
		if scenarios.Left(k) {
			found = append(found, left("redis", k))
		}
		found = append(found, y.key(k))
	}
	relayed, err := y.turn.relayed()
	if err != nil {
		return nil, err
	}
	found = append(found, relayed...)
	for _, r := range y.history.Rooms() {
		members := membersOf(r, y.history.Members(r.RoomID))
		found = append(found, behind(r, members)...)
		recordings, err := y.recordings(ctx, r)
		if err != nil {
			return nil, err
		}
		found = append(append(found, recordings...), inHistory(r, members))
	}
	return append(found, callRows(y.history.Calls())...), nil
}

// behind finds what should have ended: a room, or a member of one that has.
func behind(r server.RoomHistory, members []server.MemberHistory) (found []scenarios.Finding) {
	if r.EndedAt.IsZero() {
		return []scenarios.Finding{left("room", r.RoomID)}
	}
	for _, m := range members {
		if m.LeftAt.IsZero() {
			found = append(found, left("member", m.UserID+" of "+r.RoomID))
		}
	}
	return found
}

// membersOf are the members of one of the rooms of a name.
func membersOf(r server.RoomHistory, all []server.MemberHistory) []server.MemberHistory {
	return slices.DeleteFunc(all, func(m server.MemberHistory) bool {
		return m.JoinedAt.Before(r.CreatedAt) || !r.EndedAt.IsZero() && m.JoinedAt.After(r.EndedAt)
	})
}

func left(where, id string) scenarios.Finding {
	return scenarios.Finding{What: "left", Attrs: []trace.Attr{trace.String("where", where), trace.String("id", id)}}
}

// longest is how much of a field's value a finding tells. Of an SDP it tells
// that it is there.
const longest = 200

// key describes a key of the world's Redis.
func (y *system) key(name string) scenarios.Finding {
	k := held{name: name, ttl: y.redis.TTL(name), fields: map[string]string{}}
	if y.redis.Type(name) == "hash" {
		fields, err := y.redis.HKeys(name)
		if err != nil { // it has gone this moment
			fields = nil
		}
		for _, f := range fields {
			k.fields[f] = y.redis.HGet(name, f)
		}
	}
	return keyFinding(k)
}

// inHistory describes a room: how long it was there in seconds, too.
func inHistory(r server.RoomHistory, members []server.MemberHistory) scenarios.Finding {
	var users, stays []string
	answered := "no"
	for _, m := range members {
		stays = append(stays, stay(r, m))
		if !slices.Contains(users, m.UserID) {
			users = append(users, m.UserID)
		}
		if m.UserID != r.Creator {
			answered = "yes"
		}
	}
	length := time.Duration(0)
	if !r.EndedAt.IsZero() {
		length = r.EndedAt.Sub(r.CreatedAt)
	}
	return scenarios.Finding{What: "room", Attrs: []trace.Attr{trace.String("type", string(r.Type)), trace.String("status", r.Status()),
		trace.Int("members", len(members)), trace.String("reason", string(r.Reason)), trace.String("room", r.RoomID), trace.String("call", r.CallID),
		trace.String("creator", r.Creator), trace.String("users", strings.Join(users, ",")), trace.String("answered", answered),
		trace.String("stays", strings.Join(stays, " ")), trace.Float("duration", length.Round(time.Millisecond).Seconds())}}
}

// callRows describes the rows of calls, and says how many there are.
func callRows(rows []server.CallHistory) []scenarios.Finding {
	found := []scenarios.Finding{{What: "calls", Attrs: []trace.Attr{trace.Int("count", len(rows))}}}
	for _, r := range rows {
		status := "active"
		if !r.EndedAt.IsZero() {
			status = "ended"
		}
		found = append(found, scenarios.Finding{What: "call", Attrs: []trace.Attr{trace.String("call", r.CallID), trace.String("room", r.RoomID),
			trace.String("caller", r.Caller), trace.String("callee", r.Callee), trace.String("status", status), trace.String("reason", string(r.Reason)),
			trace.String("outcome", string(r.Outcome)), trace.Float("duration", r.Duration().Truncate(time.Millisecond).Seconds())}})
	}
	return found
}

// stay is when a member came and left, in milliseconds since the room was made:
// user=joined-left, or user=joined as long as it is there.
func stay(r server.RoomHistory, m server.MemberHistory) string {
	s := fmt.Sprintf("%s=%d", m.UserID, m.JoinedAt.Sub(r.CreatedAt).Round(time.Millisecond).Milliseconds())
	if !m.LeftAt.IsZero() {
		s += fmt.Sprintf("-%d", m.LeftAt.Sub(r.CreatedAt).Round(time.Millisecond).Milliseconds())
	}
	return s
}

// recorded is a history whose rows are events of the trace as well.
type recorded struct {
	server.History
	log *trace.Log
}

// tell writes an event if the row was written.
func (r recorded) tell(err error, kind trace.Kind, attrs ...trace.Attr) error {
	if err == nil {
		r.log.Add("history", kind, attrs...)
	}
	return err
}

// RoomStarted implements server.History.
func (r recorded) RoomStarted(ctx context.Context, row server.RoomHistory) error {
	return r.tell(r.History.RoomStarted(ctx, row), "history.room.started", trace.String("room", row.RoomID), trace.String("call", row.CallID), trace.String("creator", row.Creator))
}

// RoomEnded implements server.History.
func (r recorded) RoomEnded(ctx context.Context, row server.RoomHistory) error {
	return r.tell(r.History.RoomEnded(ctx, row), "history.room.ended", trace.String("room", row.RoomID), trace.String("call", row.CallID), trace.String("reason", string(row.Reason)))
}

// MemberJoined implements server.History.
func (r recorded) MemberJoined(ctx context.Context, row server.MemberHistory) error {
	return r.tell(r.History.MemberJoined(ctx, row), "history.member.joined", trace.String("room", row.RoomID), trace.String("user", row.UserID))
}

// MemberLeft implements server.History.
func (r recorded) MemberLeft(ctx context.Context, row server.MemberHistory) error {
	return r.tell(r.History.MemberLeft(ctx, row), "history.member.left", trace.String("room", row.RoomID), trace.String("user", row.UserID),
		trace.Duration("duration_ms", row.Duration()))
}

// CallChanged implements server.History.
func (r recorded) CallChanged(ctx context.Context, row server.CallHistory) error {
	return r.tell(r.History.CallChanged(ctx, row), "history.call", trace.String("call", row.CallID), trace.String("room", row.RoomID),
		trace.String("reason", string(row.Reason)), trace.String("outcome", string(row.Outcome)))
}

// RecordingChanged implements server.History.
func (r recorded) RecordingChanged(ctx context.Context, row server.RecordingHistory) error {
	return r.tell(r.History.RecordingChanged(ctx, row), "history.recording", trace.String("room", row.RoomID), trace.String("recording", row.RecordingID), trace.String("state", row.Status))
}
