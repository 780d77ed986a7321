package scenarios

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// Expectation describes what a script can wait for or rule out. The table of
// expectations is also the reference in docs/scenarios.md.
type Expectation struct {
	Name     string
	Usage    string
	Help     string
	Min, Max int
	Fields   []FieldSpec
	World    bool // about the world, not about a client

	sees  string            // what of the system it looks at, besides its clients
	kind  trace.Kind        // the event that fulfils it …
	or    trace.Kind        // … or this one …
	where map[string]string // … with these attributes

	parts func(Clause) []match                     // several events must be seen, one for each part
	round func(*Judge, Clause, []trace.Event) bool // looks at all that one probe found
	now   func(*Judge, Clause) bool                // looks at what the judge knows already
	// instead says what now found that does not hold.
	instead func(*Judge, Clause) string
}

// match says whether an event fulfils one part of an expectation.
type match struct {
	what  string // for the message, such as "video"
	event func(*Judge, trace.Event) bool
	near  func(trace.Event) bool              // an event of the right sort, for the message; nil if there is none
	have  func(j *Judge, actor string) string // what there is instead, for the message; nil if events say it
	after bool                                // the parts before it must have been fulfilled
}

var (
	fromField = FieldSpec{Name: "from", Kind: Text, Help: "who it comes from"}
	outcomes  = []string{string(signaling.OutcomeAccepted), string(signaling.OutcomeDeclined), string(signaling.OutcomeCancelled),
		string(signaling.OutcomeMissed), string(signaling.OutcomeBusy), string(signaling.OutcomeFailed)}
)

// Expectations is the table of expectations.
var Expectations = slices.Concat(callExpectations, roomExpectations, clientExpectations, worldExpectations)

// callExpectations are what clients see of calls.
var callExpectations = []Expectation{
	{Name: "incoming", Help: "the invitation to a call arrives", kind: "call.incoming", Fields: []FieldSpec{fromField}},
	{Name: "ringing", Help: "the caller learns that the callee rings", kind: "call.ringing"},
	{Name: "accepted", Help: "the call was answered", kind: "call.accepted"},
	{Name: "connected", Help: "ICE and DTLS are up; says nothing about media", kind: "call.connected", Fields: []FieldSpec{{Name: "same", Kind: Text, Help: `"call": the call that the client was in before`}}},
	{Name: "media", Usage: "[audio,video]", Help: "marked media of the other party, or of a member of the room, arrives, proven since the last action", Max: 1,
		Fields: []FieldSpec{fromField, {Name: "same", Kind: Text, Help: `"call": the call that the client was in before`}}, parts: mediaParts},
	pictureExpectation,
	{Name: "silent", Usage: "[audio|video]", Help: "media stops arriving", Max: 1, parts: silentParts},
	{Name: "received", Help: "what has arrived in the call so far, counted by markers: clients tell it every second, and the first to do so from now on counts", parts: receivedParts,
		Fields: []FieldSpec{{Name: "audio", Kind: Number, Help: "audio packets"}, {Name: "video", Kind: Number, Help: "video frames"}, {Name: "lost", Kind: Number, Help: "units lost, both kinds together"},
			{Name: "wrong", Kind: Number, Help: "units of wrong origin"}, {Name: "duplicated", Kind: Number, Help: "units that came twice"}}},
	{Name: "reconnecting", Help: "the client found its connection dead and dials again", kind: "session.reconnecting", Fields: []FieldSpec{{Name: "cause", Kind: Text, Help: "why"}}},
	{Name: "resumed", Help: "the client has its session back", kind: "session.resumed"},
	{Name: "peer-reconnecting", Help: "the client is told that the other party's connection dropped", kind: "call.reconnecting"},
	{Name: "peer-reconnected", Help: "the client is told that the other party is back", kind: "call.reconnected"},
	{Name: "negotiate", Help: "the server, or the client's own ICE, asks for a new leg", kind: "call.negotiate", Fields: []FieldSpec{{Name: "reason", Kind: Text, Help: "why", Values: reasons(signaling.ActionNegotiate)}}},
	pairExpectation,
	{Name: "ended", Help: "the call is over, or the client's time in its room", kind: "call.ended", or: "room.ended", Fields: []FieldSpec{{Name: "reason", Kind: Text, Help: "why", Values: reasons(signaling.ActionEnded)}, {Name: "by", Kind: Text, Help: "who left"}}},
	{Name: "hangup", Help: "the call is over because a party left it", kind: "call.ended", where: map[string]string{"reason": "hangup"}},
}

// clientExpectations are what else clients see.
var clientExpectations = []Expectation{
	pageExpectation,
	{Name: "message", Usage: `["text" …]`, Help: "an IM message arrives: one with this text, or any; several texts are messages that arrive in this order", Max: 10, parts: messageParts,
		Fields: []FieldSpec{fromField, {Name: "to", Kind: Text, Help: "who it is for"}, {Name: "outcome", Kind: Text, Help: "what became of the call that it tells of", Values: outcomes},
			{Name: "duration", Kind: Duration, Help: "how long that call was, from the answer to the end"}}},
	{Name: "presence", Usage: "<user>", Help: "the client learns a user's presence", Min: 1, Max: 1, parts: presenceParts,
		Fields: []FieldSpec{{Name: "status", Kind: Text, Help: "which", Values: []string{string(signaling.Online), string(signaling.Offline)}},
			{Name: "last_seen", Kind: Number, Help: "when the user was last there, in Unix milliseconds"}, {Name: "version", Kind: Number, Help: "of the user's presence"}}},
	{Name: "error", Help: "a frame of the client was refused", kind: "error", Fields: []FieldSpec{{Name: "code", Kind: Text, Help: "error code", Values: codes()}}},
	{Name: "event", Usage: "<kind>", Help: "any event of the trace by its kind; fields are its attributes. Besides clients, server, kms, turn, redis, history and push have events", Min: 1, Max: 1, parts: eventParts},
}

// worldExpectations are about the system's own parts, and the run as a whole.
var worldExpectations = []Expectation{
	{Name: "history", World: true, Usage: "[1v1|mcu|broadcast]", Help: "a room in the history is as described", Max: 1, sees: SightHistory, round: roundHistory,
		Fields: []FieldSpec{{Name: "status", Kind: Text, Help: "where it stands", Values: []string{"active", "ended"}}, {Name: "members", Kind: Number, Help: "how many ever joined"}, {Name: "reason", Kind: Text, Help: "why it ended", Values: append(reasons(signaling.ActionEnded), reasons(signaling.ActionLeft)...)}, {Name: "answered", Kind: Text, Help: "whether the callee came into the room", Values: []string{"yes", "no"}},
			{Name: "duration", Kind: Duration, Help: "how long the room was there"}, {Name: "count", Kind: Number, Help: "how many such rooms there are; at least one if absent"}}},
	{Name: "redis", World: true, Usage: `"key"`, Help: "there is a key; * in it stands for anything", Min: 1, Max: 1, sees: SightRedis, round: roundRedis,
		Fields: []FieldSpec{{Name: "count", Kind: Number, Help: "how many such keys there are; at least one if absent"}, {Name: "field", Kind: Text, Help: "a field of the hash that is there and not empty"},
			{Name: "value", Kind: Text, Help: "what it holds"}, {Name: "ttl", Kind: Duration, Help: "how long the key has left"}}},
	{Name: "clean", World: true, Help: "nothing of a call is left: see below", round: roundClean},
	recordingExpectation,
	turnExpectation,
	{Name: "steps", World: true, Help: "the 34 steps of the design's 1v1 call were seen in their order, in the run's first call: see below", sees: SightEvents, now: func(j *Judge, _ Clause) bool { return j.steps.missing() == "" },
		instead: func(j *Judge, _ Clause) string { return j.steps.missing() }},
	{Name: "span", World: true, Usage: "<from>..<to>", Help: "the time between two instants named with as: when an action began, when an expectation was fulfilled",
		Min: 1, Max: 1, Fields: []FieldSpec{{Name: "took", Kind: Duration, Help: "length of the span"}}, now: spanTook, instead: spanIs},
}

func findExpectation(name string, world bool) *Expectation {
	for i := range Expectations {
		if Expectations[i].Name == name && Expectations[i].World == world {
			return &Expectations[i]
		}
	}
	return nil
}

func expectationNames(world bool) []string {
	var names []string
	for _, e := range Expectations {
		if e.World == world {
			names = append(names, e.Name)
		}
	}
	return names
}

// matches lists the events that fulfil a clause for one client.
func (x *Expectation) matches(c Clause) []match {
	if x.parts != nil {
		return x.parts(c)
	}
	return []match{{what: x.Name, event: func(j *Judge, e trace.Event) bool {
		if e.Kind != x.kind && (x.or == "" || e.Kind != x.or) {
			return false
		}
		for k, v := range x.where {
			if e.Get(k) != v {
				return false
			}
		}
		return j.fieldsHold(c.Fields, e)
	}, near: func(e trace.Event) bool { return e.Kind == x.kind || x.or != "" && e.Kind == x.or }}}
}

// fieldsHold compares a clause's fields with an event's attributes.
func (j *Judge) fieldsHold(fields []Field, e trace.Event) bool {
	for _, f := range fields {
		if f.Key == "same" {
			if call := j.callBefore[e.Actor]; call == "" || e.Get("call") != call {
				return false
			}
			continue
		}
		if f.Key == "from" || f.Key == "to" || f.Key == "by" || f.Key == "user" {
			f.Value = j.s.user(f.Value)
		}
		if f.Key == "from" && f.Op == "=" && comesFrom(e.Get(f.Key), f.Value) {
			continue
		}
		if !e.Has(f.Key) || !compare(e.Get(f.Key), f.Op, f.Value) {
			return false
		}
	}
	return true
}

// compare holds a value against a limit: as numbers or durations where both
// are, else as text, of which only equality can be asked.
func compare(have, op, want string) bool {
	h, err1 := number(have)
	w, err2 := number(want)
	if err1 != nil || err2 != nil {
		return op == "=" && have == want
	}
	switch op {
	case ">=":
		return h >= w
	case "<=":
		return h <= w
	case ">":
		return h > w
	case "<":
		return h < w
	default:
		return h == w
	}
}

func number(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func mediaKinds(c Clause) []string {
	if len(c.Args) == 0 {
		return []string{"audio", "video"}
	}
	return strings.Split(c.Args[0], ",")
}

// mediaParts wants, for each kind, a unit that was proven to come from the other
// party after the last action began: the start of a flow, or a counting window
// that lies behind it as a whole.
func mediaParts(c Clause) []match {
	var parts []match
	for _, kind := range mediaKinds(c) {
		parts = append(parts, match{what: "media " + kind, event: func(j *Judge, e trace.Event) bool {
			if e.Get("media") != kind || !j.fieldsHold(c.Fields, e) {
				return false
			}
			switch e.Kind {
			case kindFlow:
				return e.Get("state") == "flowing"
			case kindWindow:
				return e.Number("units") > 0 && e.T-windowLength(e) >= j.actionAt
			}
			return false
		}})
	}
	return parts
}

func silentParts(c Clause) []match {
	var parts []match
	for _, kind := range mediaKinds(c) {
		parts = append(parts, match{what: "silent " + kind, event: func(_ *Judge, e trace.Event) bool {
			return e.Kind == kindFlow && e.Get("media") == kind && e.Get("state") == "silent"
		}})
	}
	return parts
}

// receivedParts holds the sums of all windows of the client's call against the
// limits, whenever a window ends from now on: a window that ended before does
// not know what was lost since, and would let any lost<= pass.
func receivedParts(c Clause) []match {
	return []match{{what: "received", event: func(j *Judge, e trace.Event) bool {
		if e.Kind != kindWindow || !j.fresh(e) {
			return false
		}
		have := j.received(e.Actor, e.Get("call"))
		return !slices.ContainsFunc(c.Fields, func(f Field) bool {
			return !compare(strconv.FormatInt(have[f.Key], 10), f.Op, f.Value)
		})
	}, have: func(j *Judge, actor string) string {
		have := j.received(actor, j.callNow[actor])
		var parts []string
		for _, f := range c.Fields {
			parts = append(parts, fmt.Sprintf("%s=%d", f.Key, have[f.Key]))
		}
		return "received " + strings.Join(parts, " ")
	}}}
}

// fresh reports whether a window tells of the time until the open expectation
// began: one that ended later, or any of a call that is over, whose windows are
// all there.
func (j *Judge) fresh(e trace.Event) bool {
	if j.open == nil || e.T >= j.open.begin {
		return true
	}
	return slices.ContainsFunc(j.events, func(s seen) bool {
		return s.Kind == "call.ended" && s.Actor == e.Actor && s.Get("call") == e.Get("call")
	})
}

// received is what a client has received in a call so far.
func (j *Judge) received(client, call string) map[string]int64 {
	audio, video := j.media.sum(client, call, "audio"), j.media.sum(client, call, "video")
	return map[string]int64{"audio": audio.Units, "video": video.Units, "lost": audio.Lost + video.Lost,
		"wrong": audio.Wrong + video.Wrong, "duplicated": audio.Duplicated + video.Duplicated}
}

func eventParts(c Clause) []match {
	return []match{{what: "event " + c.Args[0], event: func(j *Judge, e trace.Event) bool {
		return string(e.Kind) == c.Args[0] && j.fieldsHold(c.Fields, e)
	}}}
}

// messageParts wants a message with each text, in their order, or any message
// if no text is given.
func messageParts(c Clause) []match {
	fields := slices.Clone(c.Fields)
	for i, f := range fields {
		if f.Key == "duration" {
			fields[i].Value = seconds(f.Value)
		}
	}
	isMessage := func(e trace.Event) bool { return e.Kind == "im.message" }
	if len(c.Args) == 0 {
		return []match{{what: "message", near: isMessage, event: func(j *Judge, e trace.Event) bool { return isMessage(e) && j.fieldsHold(fields, e) }}}
	}
	var parts []match
	for i, text := range c.Args {
		parts = append(parts, match{what: fmt.Sprintf("message %q", text), near: isMessage, after: i > 0, event: func(j *Judge, e trace.Event) bool {
			return isMessage(e) && e.Get("text") == text && j.fieldsHold(fields, e)
		}})
	}
	return parts
}

// seconds is a duration's length in seconds, as the wire has it.
func seconds(duration string) string {
	d, err := parseDuration(duration)
	if err != nil {
		return duration
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

func presenceParts(c Clause) []match {
	return []match{{what: "presence", event: func(j *Judge, e trace.Event) bool {
		return e.Kind == "presence.state" && e.Get("user") == j.s.user(c.Args[0]) && j.fieldsHold(c.Fields, e)
	}, near: func(e trace.Event) bool { return e.Kind == "presence.state" }}}
}

// cutCount takes count out of the fields; without one there must be at least
// one.
func cutCount(fields []Field) (count Field, rest []Field) {
	count = Field{Key: "count", Op: ">=", Value: "1"}
	for _, f := range fields {
		if f.Key == "count" {
			count = f
		} else {
			rest = append(rest, f)
		}
	}
	return count, rest
}

func roundHistory(j *Judge, c Clause, found []trace.Event) bool {
	rooms := 0
	count, fields := cutCount(c.Fields)
	for i, f := range fields {
		if f.Key == "duration" {
			fields[i].Value = seconds(f.Value)
		}
	}
	for _, e := range found {
		if e.Get("what") == "room" && (len(c.Args) == 0 || e.Get("type") == c.Args[0]) && j.fieldsHold(fields, e) {
			rooms++
		}
	}
	return compare(strconv.Itoa(rooms), count.Op, count.Value)
}

func roundRedis(j *Judge, c Clause, found []trace.Event) bool {
	keys := 0
	count, fields := cutCount(c.Fields)
	for _, e := range found {
		if e.Get("what") != "key" {
			continue
		}
		if ok, err := path.Match(j.s.key(c.Args[0]), e.Get("key")); err == nil && ok && j.keyHolds(fields, e) {
			keys++
		}
	}
	return compare(strconv.Itoa(keys), count.Op, count.Value)
}

// keyHolds compares a Redis key with what is asked of it.
func (j *Judge) keyHolds(fields []Field, e trace.Event) bool {
	field := ""
	for _, f := range fields {
		if f.Key == "field" {
			field = j.s.account(f.Value)
		}
	}
	for _, f := range fields {
		switch f.Key {
		case "field":
			if e.Get("field."+field) == "" {
				return false
			}
		case "value":
			if e.Get("field."+field) != f.Value {
				return false
			}
		case "ttl":
			if !compare(e.Get("ttl"), f.Op, seconds(f.Value)) {
				return false
			}
		}
	}
	return true
}

func spanTook(j *Judge, c Clause) bool {
	from, to, _ := strings.Cut(c.Args[0], "..")
	a, okA := j.instants[from]
	b, okB := j.instants[to]
	if !okA || !okB {
		return false
	}
	for _, f := range c.Fields {
		limit, err := parseDuration(f.Value)
		if err != nil || !compare(strconv.FormatInt(int64(b-a), 10), f.Op, strconv.FormatInt(int64(limit), 10)) {
			return false
		}
	}
	return true
}

func spanIs(j *Judge, c Clause) string {
	from, to, _ := strings.Cut(c.Args[0], "..")
	return fmt.Sprintf("it took %v", j.instants[to]-j.instants[from])
}
