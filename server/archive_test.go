package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// withArchive is a world whose server reads its history to clients.
func withArchive(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	h := store.NewMemoryHistory()
	bubble(t, func(c *server.Config) { c.History, c.Archive = h, h.Archive() }, func(t *testing.T, w *world) {
		w.history = h
		test(t, w)
	})
}

// historyPage is a page as a client reads it.
type historyPage struct {
	Items []struct {
		signaling.CallItem
		UserID      string `json:"userId"`
		Role        string `json:"role"`
		JoinedAt    int64  `json:"joinedAt"`
		LeftAt      int64  `json:"leftAt"`
		RecordingID string `json:"recordingId"`
		File        string `json:"file"`
		FileSize    int64  `json:"fileSize"`
		State       string `json:"state"`
	}
	Next string
}

// ids are what the page's items are about.
func (p historyPage) ids() (ids []string) {
	for _, i := range p.Items {
		ids = append(ids, i.CallID+i.UserID+i.RecordingID)
	}
	return ids
}

// ask asks for a page over the WebSocket.
func (c *client) ask(q signaling.HistoryQuery) (page historyPage) {
	c.w.t.Helper()
	f := c.request(signaling.TypeHistory, "", q)
	if f.Type != signaling.TypeAck {
		c.w.t.Fatalf("%s asked for %+v and got %s %s", c.name, q, f.Type, f.Data)
	}
	if err := json.Unmarshal(f.Data, &page); err != nil {
		c.w.t.Fatal(err)
	}
	return page
}

// get asks over HTTP, as a user, "" for nobody.
func (w *world) get(user, path string, into any) (status int) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+token(w.t, user))
	}
	answer := httptest.NewRecorder()
	w.srv.API().ServeHTTP(answer, r)
	if err := json.Unmarshal(answer.Body.Bytes(), into); err != nil {
		w.t.Fatalf("GET %s: %d %s", path, answer.Code, answer.Body)
	}
	return answer.Code
}

// pages reads a list to its end and fails if it is not read in these parts.
func (w *world) pages(what string, parts [][]string, read func(cursor string) historyPage) {
	w.t.Helper()
	cursor := ""
	for i, want := range parts {
		page := read(cursor)
		if !slices.Equal(page.ids(), want) || (page.Next == "") != (i == len(parts)-1) {
			w.t.Errorf("page %d of %s is %q, want %q; the next is %q", i, what, page.ids(), want, page.Next)
		}
		cursor = page.Next
	}
}

func TestHistoryOfCalls(t *testing.T) {
	withArchive(t, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		begun := time.Now()
		time.Sleep(10 * time.Second)
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		for range 3 {
			time.Sleep(time.Second)
			again := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			alice.rtc(signaling.ActionCancel, again)
			bob.rtc(signaling.ActionLeave, again)
		}
		synctest.Wait()
		all := []string{"call-alice-4", "call-alice-3", "call-alice-2", "call-alice-1"}
		for _, who := range []*client{alice, bob} {
			w.pages("calls of "+who.name, [][]string{all[:3], all[3:]}, func(cursor string) historyPage {
				return who.ask(signaling.HistoryQuery{What: signaling.HistoryCalls, Limit: 3, Cursor: cursor})
			})
		}
		w.pages("bob's missed calls", [][]string{all[:3]}, func(cursor string) historyPage {
			return bob.ask(signaling.HistoryQuery{What: signaling.HistoryMissed, Cursor: cursor})
		})
		w.pages("alice's missed calls", [][]string{nil}, func(string) historyPage {
			return alice.ask(signaling.HistoryQuery{What: signaling.HistoryMissed})
		})
		first := alice.ask(signaling.HistoryQuery{What: signaling.HistoryCalls}).Items[3]
		want := signaling.CallItem{CallID: ref.CallID, RoomID: ref.RoomID, Caller: "alice", Callee: "bob", StartedAt: begun.UnixMilli(), AnsweredAt: begun.UnixMilli(),
			EndedAt: begun.Add(10 * time.Second).UnixMilli(), Duration: 10, Reason: signaling.ReasonHangup, Outcome: signaling.OutcomeAccepted}
		if first.CallItem != want {
			t.Errorf("the call is %+v, want %+v", first.CallItem, want)
		}
		w.pages("bob's missed calls over HTTP", [][]string{all[:2], all[2:3]}, func(cursor string) (p historyPage) {
			if status := w.get("bob", "/api/calls?missed=1&limit=2&cursor="+cursor, &p); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			return p
		})
		w.pages("carol's calls over HTTP", [][]string{nil}, func(string) (p historyPage) {
			w.get("carol", "/api/calls", &p)
			return p
		})
	})
}

func TestHistoryOfRooms(t *testing.T) {
	withArchive(t, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		carol := w.join("carol")
		for n := range 3 {
			err := w.history.RecordingChanged(t.Context(), server.RecordingHistory{RecordingID: fmt.Sprint("rec-", n), RoomID: ref.RoomID, File: fmt.Sprintf("/r/rec-%d.webm", n),
				StartedAt: time.Now(), EndedAt: time.Now().Add(5 * time.Second), FileSize: 7, Participants: []string{"alice"}, Status: "ready"})
			if err != nil {
				t.Fatal(err)
			}
		}
		w.pages("members", [][]string{{"alice"}, {"bob"}}, func(cursor string) historyPage {
			return bob.ask(signaling.HistoryQuery{What: signaling.HistoryMembers, RoomID: ref.RoomID, Limit: 1, Cursor: cursor})
		})
		w.pages("recordings", [][]string{{"rec-0", "rec-1"}, {"rec-2"}}, func(cursor string) (p historyPage) {
			w.get("alice", "/api/rooms/"+ref.RoomID+"/recordings?limit=2&cursor="+cursor, &p)
			return p
		})
		last := alice.ask(signaling.HistoryQuery{What: signaling.HistoryRecordings, RoomID: ref.RoomID}).Items[2]
		if last.File != "/r/rec-2.webm" || last.FileSize != 7 || last.Duration != 5 || last.State != "ready" {
			t.Errorf("the last recording is %+v", last)
		}
		// To others the room does not exist, as one that never was.
		for _, room := range []string{ref.RoomID, "room-x"} {
			for what, path := range map[signaling.HistoryKind]string{signaling.HistoryMembers: "/members", signaling.HistoryRecordings: "/recordings"} {
				carol.isError(signaling.CodeNoSuchRoom, carol.request(signaling.TypeHistory, "", signaling.HistoryQuery{What: what, RoomID: room}))
				var wire signaling.Error
				if status := w.get("carol", "/api/rooms/"+room+path, &wire); status != http.StatusNotFound || wire.Code != signaling.CodeNoSuchRoom {
					t.Errorf("carol got %d %+v", status, wire)
				}
			}
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		synctest.Wait()
		for _, m := range bob.ask(signaling.HistoryQuery{What: signaling.HistoryMembers, RoomID: ref.RoomID}).Items {
			if m.Role != "publisher" || m.JoinedAt == 0 || m.LeftAt != time.Now().UnixMilli() {
				t.Errorf("%s was in the room as %+v", m.UserID, m)
			}
		}
	})
}

func TestHistoryRefusals(t *testing.T) {
	withArchive(t, func(t *testing.T, w *world) {
		alice := w.join("alice")
		for _, user := range []string{"x", "y"} {
			alice.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: user})
		}
		x := w.join("x")
		w.history.CallChanged(t.Context(), server.CallHistory{CallID: "c-2", Callee: "x", StartedAt: time.Now().Add(time.Second), Outcome: signaling.OutcomeMissed})
		next := x.ask(signaling.HistoryQuery{What: signaling.HistoryMissed, Limit: 1}).Next
		for _, q := range []signaling.HistoryQuery{
			{}, {What: "everything"}, {What: signaling.HistoryCalls, Limit: -1}, {What: signaling.HistoryCalls, Limit: 101},
			{What: signaling.HistoryCalls, Cursor: "x"}, {What: signaling.HistoryCalls, Cursor: next}, {What: signaling.HistoryMissed, Cursor: "bWlzc2VkOng6aWQ"},
		} {
			x.isError(signaling.CodeBadData, x.request(signaling.TypeHistory, "", q))
		}
		for path, want := range map[string]int{"/api/calls?limit=x": http.StatusBadRequest, "/api/calls?limit=1000": http.StatusBadRequest, "/api/calls?cursor=x": http.StatusBadRequest} {
			if status := w.get("x", path, &signaling.Error{}); status != want {
				t.Errorf("%s: %d", path, status)
			}
		}
		if status := w.get("", "/api/calls", &signaling.Error{}); status != http.StatusUnauthorized {
			t.Errorf("nobody's calls: %d", status)
		}
	})
}

// sick is an archive that cannot be read.
type sick struct{}

var errSick = errors.New("the database at secret is away")

func (sick) Calls(context.Context, string, bool, server.Page) ([]server.CallHistory, error) {
	return nil, errSick
}

func (sick) Members(context.Context, string, server.Page) ([]server.MemberHistory, error) {
	return nil, errSick
}

func (sick) Recordings(context.Context, string, server.Page) ([]server.RecordingHistory, error) {
	return nil, errSick
}

func (sick) WasMember(context.Context, string, string) (bool, error) { return false, errSick }

func TestHistoryIsAway(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Archive = sick{} }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.isError(signaling.CodeInternal, alice.request(signaling.TypeHistory, "", signaling.HistoryQuery{What: signaling.HistoryCalls}))
		alice.isError(signaling.CodeInternal, alice.request(signaling.TypeHistory, "", signaling.HistoryQuery{What: signaling.HistoryMembers, RoomID: "r"}))
		var wire signaling.Error
		if status := w.get("alice", "/api/calls", &wire); status != http.StatusInternalServerError || strings.Contains(wire.Message, "secret") {
			t.Errorf("status %d, %+v", status, wire)
		}
		if !contains(w.eventLines("history.failed"), "secret") {
			t.Error("the log does not say why")
		}
	})
	bubble(t, func(c *server.Config) { c.Archive = nil }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.isError(signaling.CodeUnknownType, alice.request(signaling.TypeHistory, "", signaling.HistoryQuery{What: signaling.HistoryCalls}))
	})
}

// TestHistoryFits has rows that are many bytes: a page fits into a frame, and
// pages together are all of them.
func TestHistoryFits(t *testing.T) {
	withArchive(t, func(t *testing.T, w *world) {
		long := strings.Repeat("ü", 60)
		for n := range 300 {
			w.history.CallChanged(t.Context(), server.CallHistory{CallID: fmt.Sprintf("%03d%s", n, long), RoomID: long, Caller: "alice", Callee: long + long, StartedAt: time.Now()})
		}
		alice, got := w.join("alice"), 0
		for cursor, n := "", 0; n == 0 || cursor != ""; n++ {
			page := alice.ask(signaling.HistoryQuery{What: signaling.HistoryCalls, Limit: 100, Cursor: cursor})
			cursor, got = page.Next, got+len(page.Items)
			if n > 10 || len(page.Items) == 0 {
				t.Fatalf("page %d has %d items", n, len(page.Items))
			}
		}
		if got != 300 {
			t.Errorf("%d items, want 300", got)
		}
	})
}
