package store

import (
	"strconv"
	"time"

	"github.com/callbench/callbench/server"
)

// The keys and fields of the design document. Times are Unix milliseconds, as
// on the wire.

func sessionKey(id string) string      { return "ws:session:" + id }
func legKey(id string) string          { return "rtc:session:" + id }
func roomKey(id string) string         { return "rtc:room:" + id + ":state" }
func membersKey(id string) string      { return "rtc:room:" + id + ":members" }
func statusChannel(user string) string { return "user:" + user + ":status" }

const mediaStarted = "mediaStarted"

func sessionFields(r server.SessionRecord) []string {
	return []string{"userId", r.UserID, "connectionTime", millis(r.ConnectedAt), "lastHeartbeat", millis(r.HeartbeatAt)}
}

func roomFields(r server.RoomRecord) []string {
	return []string{"roomType", string(r.Type), "createdTime", millis(r.CreatedAt), mediaStarted, "false", "recordingPath", ""}
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

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
