// Package signaling is the wire between client and server: one envelope on the
// IM product's one WebSocket, routed by its type, with the messages, error
// codes and close codes that it carries.
//
// The protocol has levels. Level 0 is the design document's own frames and
// nothing else. Level 1 adds to them and changes none: hello/welcome, request
// ids answered by ack or error, a sequence number on what the server pushes and
// its receipt, resume, callId, and the actions that level 0 has no words for.
// docs/protocol.md describes both.
package signaling

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Version is the protocol version that hello offers and welcome confirms.
const Version = 1

// MaxFrame is the largest frame that either side accepts, in bytes. A Chromium
// offer with every codec is 8 to 16 KiB.
const MaxFrame = 64 << 10

// Type routes a frame to the module that handles it.
type Type string

// The types of frames. Adding a feature means adding a type, nothing else.
const (
	TypeMessage Type = "message"    // an IM message
	TypeRTC     Type = "rtc"        // call signaling; Frame.Action says which
	TypeInvite  Type = "rtc_invite" // an incoming call, server to callee, delivered through IM
	TypeState   Type = "state"      // presence
	TypeHello   Type = "hello"      // level 1: the client's first frame
	TypeWelcome Type = "welcome"    // level 1: the answer to hello
	TypeAck     Type = "ack"        // level 1: the request with this id was done; from a client: pushes were received
	TypeError   Type = "error"      // the request with this id was refused
	TypeTURN    Type = "turn"       // level 1: asks for ICE servers with fresh credentials
	TypeToken   Type = "token"      // level 1: a newer token for the session that is open
	TypeHistory Type = "history"    // level 1: asks for a page of what is over
)

// Action is the verb of an rtc frame.
type Action string

// The actions of rtc frames. Answer is two things, as in the design document:
// without an SDP the callee accepts the call (the server forwards that to the
// caller), with an SDP it is the media server's answer to the receiver's offer.
const (
	ActionCall         Action = "call"         // client: start a call to targetUser
	ActionRinging      Action = "ringing"      // callee's device rings; forwarded to the caller
	ActionAnswer       Action = "answer"       // see above
	ActionOffer        Action = "offer"        // client: SDP offer for the media server
	ActionCandidate    Action = "candidate"    // an ICE candidate, either direction
	ActionJoin         Action = "join"         // client: come into a room, and make it if there is none; into that of a call that rings: accept it
	ActionReject       Action = "reject"       // callee: decline
	ActionBusy         Action = "busy"         // callee's device: it is in a call that the server does not know of
	ActionCancel       Action = "cancel"       // caller: take the call back before it is answered
	ActionLeave        Action = "leave"        // client: leave in whatever state; confirms the end. To a client of level 0: the call has ended
	ActionEnded        Action = "ended"        // server: the call is over, with the reason
	ActionNegotiate    Action = "negotiate"    // server: make a new PeerConnection and offer again
	ActionReconnecting Action = "reconnecting" // server: the other party's connection dropped
	ActionReconnected  Action = "reconnected"  // server: the other party resumed
	ActionJoined       Action = "joined"       // server: somebody came into the room
	ActionLeft         Action = "left"         // server: somebody left the room, or was taken out
	ActionRole         Action = "role"         // client: change a member's role; server: it changed
	ActionKick         Action = "kick"         // client: take a member out of the room
	ActionRecord       Action = "record"       // client: start or stop recording the room
	ActionRecording    Action = "recording"    // server: where a recording of the room stands
)

// Frame is the one envelope. Data stays raw until the handler that knows its
// shape decodes it, so that relaying a 10 kB SDP costs no decoding.
type Frame struct {
	Type   Type            `json:"type"`
	Action Action          `json:"action,omitempty"`
	ID     string          `json:"id,omitempty"`  // level 1: request id, echoed by ack and error
	Seq    uint64          `json:"seq,omitempty"` // level 1: number of a server push within its session, from 1
	Data   json.RawMessage `json:"data,omitempty"`
}

// Kind names a frame for people and logs: its type, and its action if it has one.
func (f Frame) Kind() string {
	if f.Action == "" {
		return string(f.Type)
	}
	return string(f.Type) + "/" + string(f.Action)
}

// flat holds the fields that the design document also shows beside action.
type flat struct {
	Frame
	RoomID           string         `json:"roomId,omitempty"`
	CallID           string         `json:"callId,omitempty"`
	UserID           string         `json:"userId,omitempty"`
	TargetUser       string         `json:"targetUser,omitempty"`
	SDP              string         `json:"sdp,omitempty"`
	Candidate        string         `json:"candidate,omitempty"`
	SDPMid           string         `json:"sdpMid,omitempty"`
	SDPMLineIndex    *int           `json:"sdpMLineIndex,omitempty"`
	UsernameFragment string         `json:"usernameFragment,omitempty"`
	Candidates       []ICECandidate `json:"candidates,omitempty"`
	RoomType         string         `json:"roomType,omitempty"`
	Role             Role           `json:"role,omitempty"`
	Recording        string         `json:"recording,omitempty"`
}

// Decode reads one frame in either of the design document's spellings: fields
// under data, or beside action. The result always has them under data. The
// error is always an *Error with CodeBadFrame, fit to be sent back.
func Decode(b []byte) (Frame, error) {
	var in flat
	if err := unmarshal(b, &in); err != nil {
		return Frame{}, &Error{Code: CodeBadFrame, Message: "not a JSON object with a type: " + err.Error()}
	}
	f := in.Frame
	if f.Type == "" {
		return f, &Error{Code: CodeBadFrame, Message: "type is missing"}
	}
	if f.Type == TypeRTC && f.Action == "" {
		return f, &Error{Code: CodeBadFrame, Message: "an rtc frame needs an action"}
	}
	if string(f.Data) == "null" { // as some serializers write what is absent
		f.Data = nil
	}
	if len(f.Data) == 0 && f.Type == TypeRTC {
		in.Frame = Frame{}
		data, err := marshal(RTC{RoomID: in.RoomID, CallID: in.CallID, UserID: in.UserID, TargetUser: in.TargetUser, SDP: in.SDP, Candidate: in.Candidate,
			SDPMid: in.SDPMid, SDPMLineIndex: in.SDPMLineIndex, UsernameFragment: in.UsernameFragment, Candidates: in.Candidates,
			RoomType: in.RoomType, Role: in.Role, Recording: in.Recording})
		if err != nil {
			return f, &Error{Code: CodeBadFrame, Message: err.Error()}
		}
		f.Data = data
	}
	return f, nil
}

// Encode renders a frame as it goes on the wire: always the nested spelling.
func Encode(f Frame) ([]byte, error) {
	b, err := marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", f.Kind(), err)
	}
	return b, nil
}

// Render is Encode for a frame that New made: its type and action are this
// package's and its data is JSON already, so that nothing has to be looked at
// again. It needs little stack, which a goroutine that lives for one frame has
// to grow otherwise.
func Render(f Frame) []byte {
	b := make([]byte, 0, len(f.Data)+len(f.ID)+80)
	b = append(append(append(b, `{"type":"`...), f.Type...), '"')
	if f.Action != "" {
		b = append(append(append(b, `,"action":"`...), f.Action...), '"')
	}
	if f.ID != "" {
		b = appendString(append(b, `,"id":`...), f.ID)
	}
	if f.Seq != 0 {
		b = strconv.AppendUint(append(b, `,"seq":`...), f.Seq, 10)
	}
	if len(f.Data) != 0 {
		b = append(append(b, `,"data":`...), f.Data...)
	}
	return append(b, '}')
}

// appendString appends a string as JSON.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := marshal(s)
			if err != nil { // a string always can be encoded
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// New builds a frame around data, which is one of this package's payloads, or
// one that was encoded by New before.
func New(t Type, action Action, data any) (Frame, error) {
	f := Frame{Type: t, Action: action}
	switch data := data.(type) {
	case nil:
		return f, nil
	case json.RawMessage:
		f.Data = data
		return f, nil
	}
	raw, err := marshal(data)
	if err != nil {
		return f, fmt.Errorf("encode %s: %w", f.Kind(), err)
	}
	f.Data = raw
	return f, nil
}

// Into decodes the frame's data into one of this package's payloads. The error
// is an *Error with CodeBadData.
func (f Frame) Into(payload any) error {
	if len(f.Data) == 0 {
		return nil
	}
	if err := unmarshal(f.Data, payload); err != nil {
		return &Error{Code: CodeBadData, Message: f.Kind() + ": " + err.Error()}
	}
	return nil
}
