package store

import (
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
func presenceKey(user string) string   { return "user:" + user + ":presence" }
func statusChannel(user string) string { return "user:" + user + ":status" }

// Fields of a room that change while it lasts.
const (
	mediaStarted  = "mediaStarted"
	recordingPath = "recordingPath"
)

func sessionFields(r server.SessionRecord) []string {
	return []string{"userId", r.UserID, "connectionTime", millis(r.ConnectedAt), "lastHeartbeat", millis(r.HeartbeatAt)}
}

func roomFields(r server.RoomRecord) []string {
	return []string{"roomType", string(r.Type), "createdTime", millis(r.CreatedAt), mediaStarted, "false", recordingPath, ""}
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

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
