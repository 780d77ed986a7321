package store

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestPage holds docs/redis.md to the keys and fields that are in use.
func TestPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			rows[strings.Trim(cells[1], " `")] = cells[3]
		}
	}
	now := time.UnixMilli(1)
	leg := server.LegRecord{UserID: "u", RoomID: "r", EndpointID: "e", SDPOffer: "o", SDPAnswer: "a", ConnectedAt: now}
	for key, fields := range map[string][]string{
		roomKey("{roomId}"):          roomFields(server.RoomSnapshot{}),
		membersKey("{roomId}"):       nil,
		legKey("{sessionId}"):        legFields(leg),
		sessionKey("{sessionId}"):    sessionFields(server.SessionRecord{}),
		snapshotKey("{roomId}"):      {"snapshot", "", heardTime, ""},
		nodeKey("{node}"):            nil,
		ownerKey("{node}"):           nil,
		takenChannel("{node}"):       nil,
		userKey("{userId}"):          {"roomId", "", "node", "", "sessionId", ""},
		presenceKey("{userId}"):      append(presenceFields(signaling.State{}), presenceVersion, ""),
		statusChannel("{userId}"):    nil,
		revokedTokenKey("{tokenId}"): nil,
		revokedUserKey("{userId}"):   nil,
	} {
		row, ok := rows[key]
		if !ok {
			t.Errorf("the page has no %s", key)
		}
		for i := 0; i < len(fields); i += 2 {
			if !strings.Contains(row, "`"+fields[i]+"`") {
				t.Errorf("the page does not name %s of %s", fields[i], key)
			}
		}
		if fields != nil && strings.Count(row, "`") != len(fields) {
			t.Errorf("the page names other fields of %s than %q", key, fields)
		}
		delete(rows, key)
	}
	delete(rows, "key")
	delete(rows, "---")
	if len(rows) > 0 {
		t.Errorf("the page has keys that nobody uses: %q", rows)
	}
}
