package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// needFiles is the capability of a world in which recordings are made.
const needFiles = "files"

// needRooms is the capability of a server that has rooms of several members.
const needRooms = "rooms"

// RoomMember is what a client does in rooms of several members. In those of calls
// it can record.
type RoomMember interface {
	// Join comes into a room, and makes it if kind says of which type and there is none; ""
	// is the room of the ringing call.
	Join(ctx context.Context, room, kind, role string) error
	// Leave goes out of a room; "" is the one that the client is in.
	Leave(ctx context.Context, room string) error
	SetRole(ctx context.Context, user, role string) error
	Kick(ctx context.Context, user string) error
	// Record is "start" or "stop".
	Record(ctx context.Context, what string) error
}

var (
	roomTypes    = []string{"mcu", "broadcast"}
	roles        = []string{string(signaling.RolePublisher), string(signaling.RoleSubscriber)}
	roleField    = FieldSpec{Name: "role", Kind: Text, Help: "what a member does", Values: roles}
	membersField = FieldSpec{Name: "members", Kind: Number, Help: "how many there are then, the client included"}
	userField    = FieldSpec{Name: "user", Kind: Text, Help: "who it is about"}
)

// recordingStates are the states of a recording.
func recordingStates() []string {
	var list []string
	for _, s := range []signaling.RecordingState{signaling.RecordingRequested, signaling.RecordingRuns, signaling.RecordingStopping, signaling.RecordingReady, signaling.RecordingFailed} {
		list = append(list, string(s))
	}
	return list
}

// roomVerbs are the actions in rooms.
var roomVerbs = []Verb{
	{Name: "join", Usage: "[room]", Help: "comes into a room; without one into that of the incoming call, which answers it", Max: 1, target: checkJoin,
		Fields: []FieldSpec{{Name: "type", Kind: Text, Help: "makes the room if there is none", Values: roomTypes}, roleField},
		client: func(ctx context.Context, c Caller, cl Clause) error {
			return c.Join(ctx, arg(cl, 0), cl.Get("type"), cl.Get("role"))
		}},
	{Name: "leave", Usage: "[room]", Help: "goes out of a room; without one out of that which the client is in", Max: 1,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Leave(ctx, arg(cl, 0)) }},
	{Name: "role", Usage: "<user> publisher|subscriber", Help: "gives a member of the room a role; needs rooms", Min: 2, Max: 2, aimed: true, target: checkRole,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.SetRole(ctx, cl.Args[0], cl.Args[1]) }},
	{Name: "kick", Usage: "<user>", Help: "takes a member out of the room; needs rooms", Min: 1, Max: 1, aimed: true, target: checkInRoom,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Kick(ctx, cl.Args[0]) }},
	{Name: "record", Usage: "start|stop", Help: "starts or stops recording the room or the call; needs files", Min: 1, Max: 1, target: checkRecord,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Record(ctx, cl.Args[0]) }},
}

// requires reports whether a scenario that uses something says that it needs it.
func (s *Scenario) requires(need, use string) error {
	if contains(s.Needs, need) {
		return nil
	}
	return fmt.Errorf("%s is not possible in every world; add: need %s", use, need)
}

func checkJoin(s *Scenario, _ Step, c Clause) error {
	if c.Get("type") == "" && c.Get("role") == "" {
		return nil
	}
	if len(c.Args) == 0 {
		return fmt.Errorf("join with type= or role= takes the name of a room")
	}
	return s.requires(needRooms, "join "+c.Args[0])
}

func checkInRoom(s *Scenario, _ Step, c Clause) error { return s.requires(needRooms, c.Verb) }

func checkRecord(s *Scenario, st Step, c Clause) error {
	if err := oneOf(0, signaling.RecordStart, signaling.RecordStop)(s, st, c); err != nil {
		return err
	}
	return s.requires(needFiles, c.Verb)
}

func checkRole(s *Scenario, st Step, c Clause) error {
	if err := oneOf(1, roles...)(s, st, c); err != nil {
		return err
	}
	return s.requires(needRooms, c.Verb)
}

// roomExpectations are what clients see of rooms.
var roomExpectations = []Expectation{
	{Name: "room", Help: "the client is let into a room, or the number of its members changes: what it then is like", parts: roomParts,
		Fields: []FieldSpec{membersField, {Name: "type", Kind: Text, Help: "of a room that it was let into", Values: roomTypes},
			{Name: "role", Kind: Text, Help: "what the client does in it", Values: roles}, {Name: "recording", Kind: Text, Help: "where its recording stands", Values: recordingStates()}}},
	{Name: "joined", Help: "the client is told that somebody came into its room", kind: "room.joined", Fields: []FieldSpec{userField, roleField, membersField}},
	{Name: "left", Help: "the client is told that somebody went out of its room", kind: "room.left",
		Fields: []FieldSpec{userField, membersField, {Name: "reason", Kind: Text, Help: "why", Values: append(reasons(signaling.ActionLeft), reasons(signaling.ActionEnded)...)}}},
	{Name: "role", Help: "the client is told that a member has another role", kind: "room.role", Fields: []FieldSpec{userField, roleField}},
	{Name: "recording", Help: "the client is told where the recording of its room or call stands", kind: "room.recording",
		Fields: []FieldSpec{{Name: "state", Kind: Text, Help: "where", Values: recordingStates()}}},
}

// roomParts wants an event that tells how large the room is.
func roomParts(c Clause) []match {
	isRoom := func(e trace.Event) bool {
		return e.Kind == "room.entered" || e.Kind == "room.joined" || e.Kind == "room.left"
	}
	return []match{{what: "room", near: isRoom, event: func(j *Judge, e trace.Event) bool {
		ofOther := e.Kind != "room.entered" && slices.ContainsFunc(c.Fields, func(f Field) bool { return f.Key != "members" })
		return isRoom(e) && !ofOther && j.fieldsHold(c.Fields, e)
	}}}
}

// recordingExpectation is about the recordings that the world holds.
var recordingExpectation = Expectation{Name: "recording", World: true, Help: "a recording in the history is as described, and so is its file", sees: SightHistory, round: roundRecording,
	Fields: []FieldSpec{{Name: "state", Kind: Text, Help: "where it stands", Values: recordingStates()}, {Name: "duration", Kind: Duration, Help: "how long it is, as its row says"},
		{Name: "size", Kind: Number, Help: "bytes of it, as its row says"}, {Name: "participants", Kind: Text, Help: "who was recorded: users in the order of the alphabet, with commas"},
		{Name: "file", Kind: Text, Help: "whether the media server's file is there, has that size, and can be read to its end", Values: []string{"plays", "broken", "absent"}},
		{Name: "plays", Kind: Duration, Help: "for how long it plays"},
		{Name: "count", Kind: Number, Help: "how many such recordings there are; at least one if absent"}}}

func roundRecording(j *Judge, c Clause, found []trace.Event) bool {
	n := 0
	count, fields := cutCount(c.Fields)
	for i, f := range fields {
		if f.Key == "duration" || f.Key == "plays" {
			fields[i].Value = seconds(f.Value)
		}
		if f.Key == "participants" {
			fields[i].Value = j.s.allOf(f.Value)
		}
	}
	for _, e := range found {
		if e.Get("what") == "recording" && j.fieldsHold(fields, e) {
			n++
		}
	}
	return compare(strconv.Itoa(n), count.Op, count.Value)
}

// comesFrom holds the users whose media an event tells of against the one that is
// wanted: in a room these may be several.
func comesFrom(have, want string) bool { return slices.Contains(strings.Split(have, ","), want) }
