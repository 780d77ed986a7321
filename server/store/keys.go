package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// The keys and fields of the design document. Times are Unix milliseconds, as
// on the wire.

func sessionKey(id string) string      { return "ws:session:" + id }
func legKey(id string) string          { return "rtc:session:" + id }
func roomKey(id string) string         { return "rtc:room:" + id + ":state" }
func membersKey(id string) string      { return "rtc:room:" + id + ":members" }
func snapshotKey(id string) string     { return "rtc:room:" + id + ":snapshot" }
func userKey(user string) string       { return "rtc:user:" + user }
func nodeKey(node string) string       { return "rtc:node:" + node + ":rooms" }
func ownerKey(node string) string      { return "node:" + node + ":owner" }
func takenChannel(node string) string  { return "node:" + node + ":taken" }
func presenceKey(user string) string   { return "user:" + user + ":presence" }
func statusChannel(user string) string { return "user:" + user + ":status" }

// Fields of a room that change while it lasts. The last is the snapshot's.
const (
	mediaStarted  = "mediaStarted"
	recordingPath = "recordingPath"
	heardTime     = "heardTime"
)

func sessionFields(r server.SessionRecord) []string {
	return []string{"userId", r.UserID, "connectionTime", millis(r.ConnectedAt), "lastHeartbeat", millis(r.HeartbeatAt),
		"device", r.Device, "level", strconv.Itoa(r.Level), "resumeToken", r.Secret, "resumeTokenBefore", r.Before,
		"tokenExpires", millisOrNone(r.Expires), "tokenId", r.TokenID, "tokenIssued", millisOrNone(r.Issued),
		"lastSeq", strconv.FormatUint(r.Received, 10), "node", r.Node}
}

// readSession is the session that these fields are of.
func readSession(id string, fields map[string]string) (server.SessionRecord, error) {
	r := server.SessionRecord{SessionID: id, UserID: fields["userId"], Device: fields["device"], Secret: fields["resumeToken"], Before: fields["resumeTokenBefore"],
		TokenID: fields["tokenId"], Node: fields["node"]}
	var bad [6]error
	r.ConnectedAt, bad[0] = readMillis(fields["connectionTime"])
	r.HeartbeatAt, bad[1] = readMillis(fields["lastHeartbeat"])
	r.Level, bad[2] = strconv.Atoi(fields["level"])
	r.Received, bad[3] = strconv.ParseUint(fields["lastSeq"], 10, 64)
	r.Expires, bad[4] = readMillis(fields["tokenExpires"])
	r.Issued, bad[5] = readMillis(fields["tokenIssued"])
	if err := errors.Join(bad[:]...); err != nil {
		return r, fmt.Errorf("%s: %w", sessionKey(id), err)
	}
	return r, nil
}

func roomFields(r server.RoomSnapshot) []string {
	return append([]string{"roomType", string(r.Type), "createdTime", millis(r.CreatedAt)}, mediaFields(r.Media)...)
}

// mediaFields are the fields of a room that change.
func mediaFields(r server.RoomMedia) []string {
	return []string{mediaStarted, strconv.FormatBool(r.Started), recordingPath, r.RecordingPath}
}

// legFields leaves out what is empty, so that a later record adds to an earlier.
func legFields(l server.LegRecord) []string {
	fields := []string{"userId", l.UserID, "roomId", l.RoomID}
	for _, f := range [][2]string{{"endpointId", l.EndpointID}, {"sdpOffer", l.SDPOffer}, {"sdpAnswer", l.SDPAnswer}} {
		if f[1] != "" {
			fields = append(fields, f[0], f[1])
		}
	}
	if !l.ConnectedAt.IsZero() {
		fields = append(fields, "connectedTime", millis(l.ConnectedAt))
	}
	return fields
}

// readLeg is the leg that these fields are of; ok is false if there are none.
func readLeg(sessionID string, fields map[string]string) (l server.LegRecord, ok bool) {
	if len(fields) == 0 {
		return l, false
	}
	l = server.LegRecord{SessionID: sessionID, UserID: fields["userId"], RoomID: fields["roomId"], EndpointID: fields["endpointId"],
		SDPOffer: fields["sdpOffer"], SDPAnswer: fields["sdpAnswer"]}
	at, err := readMillis(fields["connectedTime"])
	l.ConnectedAt = at
	return l, err == nil
}

// readRoom is the room that this snapshot is of. Of its members those are there
// that members names, with the roles that it gives: a leave writes only that. What
// changes of media is in the state, and when it was heard of beside the snapshot. A room without a snapshot is one of which only the ids are known.
func readRoom(node, id, snapshot, heard string, members, state map[string]string) (server.RoomSnapshot, error) {
	s := server.RoomSnapshot{RoomRecord: server.RoomRecord{RoomID: id}, Node: node}
	if snapshot != "" {
		if err := json.Unmarshal([]byte(snapshot), &s); err != nil {
			return s, fmt.Errorf("%s: %w", snapshotKey(id), err)
		}
	}
	if at, err := readMillis(heard); err == nil && at.After(s.HeardAt) {
		s.HeardAt = at
	}
	if state != nil {
		s.Media = server.RoomMedia{RoomID: id, Started: state[mediaStarted] == "true", RecordingPath: state[recordingPath]}
	}
	for i, m := range s.Members {
		role, in := members[m.UserID]
		if in {
			s.Members[i].Role = server.Role(role)
		}
		s.Members[i].Left = m.Left || !in && !m.JoinedAt.IsZero()
	}
	return s, nil
}

// Fields of a presence.
const (
	presenceStatus   = "status"
	presenceLastSeen = "lastSeen"
	presenceVersion  = "version"
)

// presenceFields are all but the version, which the store gives.
func presenceFields(p signaling.State) []string {
	return []string{presenceStatus, string(p.Status), presenceLastSeen, strconv.FormatInt(p.LastSeen, 10)}
}

// readPresence is the presence that these fields are of; without any the user
// was never there.
func readPresence(user string, fields map[string]string) (signaling.State, error) {
	p := signaling.State{UserID: user, Status: signaling.Offline}
	if len(fields) == 0 {
		return p, nil
	}
	p.Status = signaling.Status(fields[presenceStatus])
	var bad [2]error
	p.LastSeen, bad[0] = strconv.ParseInt(fields[presenceLastSeen], 10, 64)
	p.Version, bad[1] = strconv.ParseUint(fields[presenceVersion], 10, 64)
	if err := errors.Join(bad[:]...); err != nil {
		return p, fmt.Errorf("%s: %w", presenceKey(user), err)
	}
	return p, nil
}

// readMillis reads what millis wrote; the zero time is empty.
func readMillis(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return time.UnixMilli(ms), err
}

// millisOrNone is empty for the zero time.
func millisOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return millis(t)
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
