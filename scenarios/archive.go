package scenarios

import (
	"context"
	"fmt"
	"slices"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// needHistory is the capability of a server that clients can ask for what is over.
const needHistory = "history"

// Archivist is what a client asks of the past.
type Archivist interface {
	// AskHistory asks for a page of what is over. An empty query asks for the page
	// behind the last one.
	AskHistory(ctx context.Context, q signaling.HistoryQuery) error
}

var historyKinds = []string{string(signaling.HistoryCalls), string(signaling.HistoryMissed), string(signaling.HistoryMembers), string(signaling.HistoryRecordings)}

var historyVerb = Verb{Name: "history", Usage: "calls|missed|members|recordings|more", Min: 1, Max: 1, target: checkHistory, client: askHistory,
	Help:   "asks the server for the user's calls, those that it missed, or who was in a room and what was recorded there; more asks for the next page of the same; needs history",
	Fields: []FieldSpec{{Name: "room", Kind: Text, Help: "of members and recordings"}, {Name: "limit", Kind: Number, Help: "how long a page is at most"}}}

func askHistory(ctx context.Context, c Caller, cl Clause) error {
	if cl.Args[0] == "more" {
		return c.AskHistory(ctx, signaling.HistoryQuery{})
	}
	q := signaling.HistoryQuery{What: signaling.HistoryKind(cl.Args[0]), RoomID: cl.Get("room")}
	if limit := cl.Get("limit"); limit != "" {
		n, err := number(limit)
		if err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		q.Limit = int(n)
	}
	return c.AskHistory(ctx, q)
}

func checkHistory(s *Scenario, st Step, c Clause) error {
	if err := oneOf(0, append(slices.Clone(historyKinds), "more")...)(s, st, c); err != nil {
		return err
	}
	return s.requires(needHistory, "history "+c.Args[0])
}

var pageExpectation = Expectation{Name: "history", Usage: "[calls|missed|members|recordings]", Max: 1, parts: pageParts,
	Help: "the client has got a page of history, and one of its items is as described",
	Fields: []FieldSpec{{Name: "count", Kind: Number, Help: "how many items the page has"}, {Name: "more", Kind: Text, Help: "whether there is another page", Values: []string{"true", "false"}},
		{Name: "caller", Kind: Text, Help: "of a call"}, {Name: "callee", Kind: Text, Help: "of a call"}, {Name: "outcome", Kind: Text, Help: "what became of a call", Values: outcomes},
		{Name: "reason", Kind: Text, Help: "why a call ended", Values: reasons(signaling.ActionEnded)}, {Name: "user", Kind: Text, Help: "a member"}, roleField,
		{Name: "state", Kind: Text, Help: "of a recording", Values: recordingStates()}, {Name: "duration", Kind: Duration, Help: "of a call, a stay or a recording"}}}

// checkPage wants an expectation of a client's to be about a kind of history.
func checkPage(c Clause, world bool) error {
	if world || len(c.Args) == 0 {
		return nil
	}
	return oneOf(0, historyKinds...)(nil, Step{}, c)
}

// pageFields are about the page; all others are about one item.
var pageFields = []string{"count", "more"}

// wireNames are the fields that the wire calls otherwise.
var wireNames = map[string]string{"user": "userId"}

// pageParts wants a page, and an item in it if there are fields about one.
func pageParts(c Clause) []match {
	var page, item []Field
	for _, f := range c.Fields {
		switch {
		case contains(pageFields, f.Key):
			page = append(page, f)
		default:
			if f.Key == "duration" {
				f.Value = seconds(f.Value)
			}
			item = append(item, f)
		}
	}
	part := func(what string, kind trace.Kind, holds func(*Judge, trace.Event) bool) match {
		is := func(e trace.Event) bool {
			return e.Kind == kind && (len(c.Args) == 0 || e.Get("what") == c.Args[0])
		}
		return match{what: what, near: is, event: func(j *Judge, e trace.Event) bool { return is(e) && holds(j, e) }}
	}
	parts := []match{part("history", "history.page", func(j *Judge, e trace.Event) bool { return j.fieldsHold(page, e) })}
	if len(item) > 0 {
		parts = append(parts, part("item of history", "history.item", func(j *Judge, e trace.Event) bool { return j.itemHolds(item, e) }))
	}
	return parts
}

// itemHolds compares an item with what is asked of it; users are named as in the
// script.
func (j *Judge) itemHolds(fields []Field, e trace.Event) bool {
	for _, f := range fields {
		key := f.Key
		if name := wireNames[key]; name != "" {
			key = name
		}
		if f.Key == "user" || f.Key == "caller" || f.Key == "callee" {
			f.Value = j.s.user(f.Value)
		}
		if !e.Has(key) || !compare(e.Get(key), f.Op, f.Value) {
			return false
		}
	}
	return true
}
