package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Limits of a page of history, from docs/protocol.md. A page has fewer items than
// it may have if they would not fit into a frame.
const (
	defaultPage = 50
	maxPage     = 100
	pageBytes   = signaling.MaxFrame - 16<<10
)

// item is a row as a client gets it.
type item struct {
	data  any
	place Place
}

// handleHistory answers with a page of what is over. Reading waits for the archive,
// so it is done on the session's queue.
func handleHistory(r request) error {
	var q signaling.HistoryQuery
	if err := r.frame.Into(&q); err != nil {
		return err
	}
	if r.srv.cfg.Archive == nil {
		return signaling.Errorf(signaling.CodeUnknownType, "this server keeps no history")
	}
	if err := r.mayWait(); err != nil {
		return err
	}
	r.state.Do(func() {
		page, err := r.srv.page(r.user, q)
		if err != nil {
			r.fail(err)
			return
		}
		r.ack(page)
	})
	return nil
}

// page reads what a user asks for.
func (s *Server) page(user string, q signaling.HistoryQuery) (signaling.HistoryPage, error) {
	ctx, cancel := s.storing()
	defer cancel()
	after, err := placeOf(q)
	if err != nil {
		return signaling.HistoryPage{}, err
	}
	if q.Limit < 0 || q.Limit > maxPage {
		return signaling.HistoryPage{}, signaling.Errorf(signaling.CodeBadData, "limit is more than %d, or negative", maxPage)
	}
	limit := cmp.Or(q.Limit, defaultPage)
	items, err := s.items(ctx, user, q, Page{After: after, Limit: limit + 1}) // one more tells whether there is a next page
	if err != nil {
		return signaling.HistoryPage{}, s.unread(user, q, err)
	}
	return fit(q.What, items, limit)
}

// unread is what a user is told of an archive that cannot be read.
func (s *Server) unread(user string, q signaling.HistoryQuery, err error) error {
	if wire := signaling.AsError(err); wire.Code != signaling.CodeInternal {
		return err
	}
	s.metrics.lost.WithLabelValues("read history").Inc()
	s.log.Error("history.failed", "user", user, "what", string(q.What), "error", err.Error())
	return signaling.Errorf(signaling.CodeInternal, "the history cannot be read now")
}

// items reads rows. Those of a room are for who is or was in it: to all others it
// does not exist.
func (s *Server) items(ctx context.Context, user string, q signaling.HistoryQuery, p Page) ([]item, error) {
	a := s.cfg.Archive
	switch q.What {
	case signaling.HistoryCalls, signaling.HistoryMissed:
		rows, err := a.Calls(ctx, user, q.What == signaling.HistoryMissed, p)
		return itemsOf(rows, callItem), err
	case signaling.HistoryMembers, signaling.HistoryRecordings:
	default:
		return nil, signaling.Errorf(signaling.CodeBadData, "what is not calls, missed, members or recordings")
	}
	if was, err := a.WasMember(ctx, q.RoomID, user); err != nil {
		return nil, err
	} else if !was {
		return nil, signaling.Errorf(signaling.CodeNoSuchRoom, "there is no such room, or the user was not in it")
	}
	p.Of = user
	if q.What == signaling.HistoryMembers {
		rows, err := a.Members(ctx, q.RoomID, p)
		return itemsOf(rows, memberItem), err
	}
	rows, err := a.Recordings(ctx, q.RoomID, p)
	return itemsOf(rows, recordingItem), err
}

func itemsOf[T any](rows []T, of func(T) item) (items []item) {
	for _, r := range rows {
		items = append(items, of(r))
	}
	return items
}

func callItem(c CallHistory) item {
	return item{signaling.CallItem{CallID: c.CallID, RoomID: c.RoomID, Caller: c.Caller, Callee: c.Callee, StartedAt: millis(c.StartedAt),
		RingingAt: millis(c.RingingAt), AnsweredAt: millis(c.AnsweredAt), EndedAt: millis(c.EndedAt), Duration: seconds(c.Duration()),
		Reason: c.Reason, Outcome: c.Outcome}, Place{c.StartedAt, c.CallID}}
}

func memberItem(m MemberHistory) item {
	return item{signaling.MemberItem{UserID: m.UserID, Role: signaling.Role(m.Role), JoinedAt: millis(m.JoinedAt), LeftAt: millis(m.LeftAt),
		Duration: seconds(m.Duration())}, Place{m.JoinedAt, m.UserID}}
}

func recordingItem(r RecordingHistory) item {
	return item{signaling.RecordingItem{RecordingID: r.RecordingID, RoomID: r.RoomID, File: r.File, StartedAt: millis(r.StartedAt),
		EndedAt: millis(r.EndedAt), Duration: seconds(r.Duration()), FileSize: r.FileSize, Participants: append([]string{}, r.Participants...),
		State: signaling.RecordingState(r.Status)}, Place{r.StartedAt, r.File}}
}

// millis is a time on the wire, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fit makes a page of the items that are few enough, and small enough for a frame.
func fit(what signaling.HistoryKind, items []item, limit int) (signaling.HistoryPage, error) {
	page := signaling.HistoryPage{Items: []any{}}
	bytes := 0
	for i, it := range items {
		text, err := json.Marshal(it.data)
		if err != nil {
			return page, err
		}
		if bytes += len(text); i == limit || i > 0 && bytes > pageBytes {
			page.Next = cursor(what, items[i-1].place)
			return page, nil
		}
		page.Items = append(page.Items, json.RawMessage(text))
	}
	return page, nil
}

// cursor names a place in a list to whoever asks for what is behind it.
func cursor(what signaling.HistoryKind, p Place) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(what) + ":" + strconv.FormatInt(p.At.UnixMilli(), 10) + ":" + p.ID))
}

// placeOf is the place that a query's cursor names.
func placeOf(q signaling.HistoryQuery) (Place, error) {
	if q.Cursor == "" {
		return Place{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	what, rest, _ := strings.Cut(string(text), ":")
	at, id, ok := strings.Cut(rest, ":")
	ms, bad := strconv.ParseInt(at, 10, 64)
	if err != nil || bad != nil || !ok || what != string(q.What) || ms < 0 || ms >= maxMillis {
		return Place{}, signaling.Errorf(signaling.CodeBadData, "cursor is none of a page of %s", q.What)
	}
	return Place{time.UnixMilli(ms), id}, nil
}

// maxMillis is the end of the year 9998: what comes later is no time of a row.
const maxMillis = 253370764800000

// API serves the history to clients that are not connected, such as a web page or
// the product's own backend, with the user's token in the header Authorization:
// GET /api/calls, /api/rooms/{roomId}/members and /api/rooms/{roomId}/recordings.
// There is none without Config.Archive.
func (s *Server) API() http.Handler {
	mux := http.NewServeMux()
	if s.cfg.Archive == nil {
		return mux
	}
	mux.HandleFunc("GET /api/calls", func(w http.ResponseWriter, r *http.Request) {
		what := signaling.HistoryCalls
		if r.FormValue("missed") == "1" {
			what = signaling.HistoryMissed
		}
		s.serveHistory(w, r, what)
	})
	mux.HandleFunc("GET /api/rooms/{roomId}/members", func(w http.ResponseWriter, r *http.Request) {
		s.serveHistory(w, r, signaling.HistoryMembers)
	})
	mux.HandleFunc("GET /api/rooms/{roomId}/recordings", func(w http.ResponseWriter, r *http.Request) {
		s.serveHistory(w, r, signaling.HistoryRecordings)
	})
	return mux
}

// serveHistory answers a request for a page.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request, what signaling.HistoryKind) {
	w.Header().Set("Cache-Control", "no-store")
	page, err := s.requested(r, what)
	if err != nil {
		wire := signaling.AsError(err)
		s.metrics.refuse(wire.Code)
		if wire.Code == signaling.CodeUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		writeJSON(w, httpStatus(wire.Code), wire)
		return
	}
	writeJSON(w, http.StatusOK, page)
}

// requested reads the page that a request asks for.
func (s *Server) requested(r *http.Request, what signaling.HistoryKind) (page signaling.HistoryPage, err error) {
	if s.isClosed() {
		return page, signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	who, err := s.identify(bearer(r))
	if err != nil {
		return page, s.refuseLate(r, refusal(err, "the token is missing or not valid"))
	}
	limit, err := strconv.Atoi(cmp.Or(r.FormValue("limit"), "0"))
	if err != nil {
		return page, signaling.Errorf(signaling.CodeBadData, "limit is not a number")
	}
	return s.page(who.User, signaling.HistoryQuery{What: what, RoomID: r.PathValue("roomId"), Cursor: r.FormValue("cursor"), Limit: limit})
}

// refuseLate returns why a request is refused when the address that shows bad tokens
// has waited for it.
func (s *Server) refuseLate(r *http.Request, wire *signaling.Error) error {
	if wire.Code != signaling.CodeUnauthorized {
		return wire
	}
	if d := s.penalty(s.clientAddr(r)); d > 0 {
		wait := time.NewTimer(d)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
		case <-s.life.Done():
		}
	}
	return wire
}

// httpStatus is the status of an answer that says this.
func httpStatus(c signaling.Code) int {
	switch c {
	case signaling.CodeUnauthorized:
		return http.StatusUnauthorized
	case signaling.CodeNoSuchRoom:
		return http.StatusNotFound
	case signaling.CodeBadData:
		return http.StatusBadRequest
	case signaling.CodeGoingAway:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func writeJSON(w http.ResponseWriter, status int, data any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(data) // the client is gone
}
