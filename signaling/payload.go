package signaling

// Hello is the first frame of a level 1 client. Either Token proves who the
// user is, or Resume names the session to come back to.
type Hello struct {
	Version  int      `json:"version"`
	Token    string   `json:"token,omitempty"`  // JWT; absent when it came in the Authorization header
	Device   string   `json:"device,omitempty"` // stable id of this device of the user
	Features []string `json:"features,omitempty"`
	Resume   string   `json:"resume,omitempty"`  // resume token of the last welcome; each is good once
	LastSeq  uint64   `json:"lastSeq,omitempty"` // highest Frame.Seq that this client has seen
}

// The features that a level 1 server may list in welcome.
const (
	FeatureResume  = "resume"  // resume tokens and replay
	FeatureCallID  = "callid"  // callId on every rtc frame
	FeatureAck     = "ack"     // request ids answered by ack or error, repeated ids suppressed
	FeatureTURN    = "turn"    // ICE servers in welcome, and fresh ones on request
	FeatureRooms   = "rooms"   // rooms of type mcu and broadcast
	FeatureRecord  = "record"  // recording of rooms and calls
	FeatureHistory = "history" // pages of what is over, on request
)

// Welcome answers hello. Durations are in seconds.
type Welcome struct {
	Version      int      `json:"version"`
	Features     []string `json:"features"`
	SessionID    string   `json:"sessionId"`
	UserID       string   `json:"userId"`
	ResumeToken  string   `json:"resumeToken"`    // secret; replaces every earlier one
	Resumed      bool     `json:"resumed"`        // false after a resume: the old session and its calls are gone
	Heartbeat    int      `json:"heartbeat"`      // the server pings this often
	Timeout      int      `json:"timeout"`        // silence that ends the connection
	ResumeWindow int      `json:"resumeWindow"`   // how long a dropped session can be resumed
	Call         *CallRef `json:"call,omitempty"` // the call that the resumed session is in

	TokenTTL   int         `json:"tokenTTL,omitempty"`   // until the token runs out
	ICEServers []ICEServer `json:"iceServers,omitempty"` // for every PeerConnection of this session
	ICETTL     int         `json:"iceTTL,omitempty"`     // until their credentials run out
}

// ICEServer is an RTCIceServer of the W3C's WebRTC.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// TURN is the data of the acknowledgement of a turn request. TTL is in seconds.
type TURN struct {
	ICEServers []ICEServer `json:"iceServers"`
	TTL        int         `json:"ttl,omitempty"`
}

// Token is the data of a token frame.
type Token struct {
	Token string `json:"token"`
}

// TokenTTL is the data of the acknowledgement of a token frame: for how many
// seconds the session's token is good.
type TokenTTL struct {
	TokenTTL int `json:"tokenTTL,omitempty"`
}

// Receipt is the data of an ack frame that a client sends: it has every push up
// to and with this number.
type Receipt struct {
	Seq uint64 `json:"seq"`
}

// CallRef names a call and where it stands, so that a resumed client can check
// its own view.
type CallRef struct {
	CallID   string `json:"callId,omitempty"` // empty for a conference
	RoomID   string `json:"roomId"`
	RoomType string `json:"roomType,omitempty"` // of a conference: mcu or broadcast
	Peer     string `json:"peer,omitempty"`     // in a call
	State    string `json:"state"`
}

// RTC is the data of every rtc frame; each action uses the fields it needs.
type RTC struct {
	RoomID     string `json:"roomId,omitempty"`
	CallID     string `json:"callId,omitempty"` // level 1: one per call attempt
	UserID     string `json:"userId,omitempty"` // from the server: the party that the frame is about; from a client: itself or nothing
	TargetUser string `json:"targetUser,omitempty"`

	SDP string `json:"sdp,omitempty"`

	Candidate        string `json:"candidate,omitempty"` // candidate-attribute of RFC 8839; empty means end of candidates
	SDPMid           string `json:"sdpMid,omitempty"`
	SDPMLineIndex    *int   `json:"sdpMLineIndex,omitempty"`
	UsernameFragment string `json:"usernameFragment,omitempty"`

	Candidates []ICECandidate `json:"candidates,omitempty"` // level 1: several in one frame, instead of the four fields above

	Reason Reason `json:"reason,omitempty"`

	RoomType    string   `json:"roomType,omitempty"`    // of join and its acknowledgement: mcu or broadcast
	Role        Role     `json:"role,omitempty"`        // of the member that the frame is about
	Members     []Member `json:"members,omitempty"`     // of the acknowledgement of join: who is in, the asker too
	Count       int      `json:"count,omitempty"`       // of the acknowledgement of join: how many are in, if Members does not hold them all
	Recording   string   `json:"recording,omitempty"`   // of record: start or stop; of recording and of join's acknowledgement: a RecordingState
	RecordingID string   `json:"recordingId,omitempty"` // of recording
}

// Member is a user in a room.
type Member struct {
	UserID string `json:"userId"`
	Role   Role   `json:"role"`
}

// Role is what a member does in a room.
type Role string

// The roles of members.
const (
	RolePublisher  Role = "publisher"  // sends, and receives too if the room has something to hear
	RoleSubscriber Role = "subscriber" // only receives
)

// What a record request asks for.
const (
	RecordStart = "start"
	RecordStop  = "stop"
)

// RecordingState is where a recording stands.
type RecordingState string

// The states of a recording. It ends as ready or failed.
const (
	RecordingRequested RecordingState = "requested" // everything is made; media is waited for
	RecordingRuns      RecordingState = "recording" // every kind of media flows into the file
	RecordingStopping  RecordingState = "stopping"  // the file is being completed
	RecordingReady     RecordingState = "ready"     // the file is complete
	RecordingFailed    RecordingState = "failed"    // there is no file, or a part of one
)

// ICECandidate is an RTCIceCandidateInit of the W3C's WebRTC.
type ICECandidate struct {
	Candidate        string `json:"candidate"`
	SDPMid           string `json:"sdpMid,omitempty"`
	SDPMLineIndex    *int   `json:"sdpMLineIndex,omitempty"`
	UsernameFragment string `json:"usernameFragment,omitempty"`
}

// Batch lists the candidates of a candidate frame, in order: those of
// Candidates, or else the single one.
func (r *RTC) Batch() []ICECandidate {
	if len(r.Candidates) > 0 {
		return r.Candidates
	}
	return []ICECandidate{{r.Candidate, r.SDPMid, r.SDPMLineIndex, r.UsernameFragment}}
}

// Invite is the data of rtc_invite.
type Invite struct {
	RoomID string `json:"roomId"`
	CallID string `json:"callId,omitempty"`
	From   string `json:"from"`
	Expire int    `json:"expire"` // seconds that the callee may ring
}

// Message is the data of an IM message. Timestamp is in Unix milliseconds and
// set by the server, as is From.
type Message struct {
	MessageID string   `json:"messageId,omitempty"` // level 1: the same for every delivery of one message
	From      string   `json:"from"`
	To        string   `json:"to"`
	Content   string   `json:"content"`
	Timestamp int64    `json:"timestamp"`
	Call      *CallLog `json:"call,omitempty"` // level 1: what became of a call, if the message tells that
}

// HistoryQuery is the data of a history request. Its acknowledgement's data is a
// HistoryPage.
type HistoryQuery struct {
	What   HistoryKind `json:"what"`
	RoomID string      `json:"roomId,omitempty"` // of members and recordings
	Cursor string      `json:"cursor,omitempty"` // Next of the page before; empty for the first
	Limit  int         `json:"limit,omitempty"`  // items at most; 0 is the server's default
}

// HistoryKind is what a history request asks for.
type HistoryKind string

// What can be asked for.
const (
	HistoryCalls      HistoryKind = "calls"      // the user's calls, the newest first
	HistoryMissed     HistoryKind = "missed"     // those of them that it missed
	HistoryMembers    HistoryKind = "members"    // who was in a room of the user's
	HistoryRecordings HistoryKind = "recordings" // what was recorded of a room of the user's
)

// HistoryPage is a page of what was asked for. Its items are CallItem, MemberItem or
// RecordingItem. Times are in Unix milliseconds, 0 for what has not happened.
type HistoryPage struct {
	Items []any  `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; empty on the last
}

// CallItem is a call of the user's. Duration is in seconds.
type CallItem struct {
	CallID     string  `json:"callId"`
	RoomID     string  `json:"roomId,omitempty"`
	Caller     string  `json:"caller"`
	Callee     string  `json:"callee"`
	StartedAt  int64   `json:"startedAt"`
	RingingAt  int64   `json:"ringingAt,omitempty"`
	AnsweredAt int64   `json:"answeredAt,omitempty"`
	EndedAt    int64   `json:"endedAt,omitempty"`
	Duration   int     `json:"duration,omitempty"`
	Reason     Reason  `json:"reason,omitempty"`
	Outcome    Outcome `json:"outcome,omitempty"`
}

// MemberItem is a stay of a user in a room. Duration is in seconds.
type MemberItem struct {
	UserID   string `json:"userId"`
	Role     Role   `json:"role"`
	JoinedAt int64  `json:"joinedAt"`
	LeftAt   int64  `json:"leftAt,omitempty"`
	Duration int    `json:"duration,omitempty"`
}

// RecordingItem is a recording of a room. Duration is in seconds, FileSize in bytes.
type RecordingItem struct {
	RecordingID  string         `json:"recordingId"`
	RoomID       string         `json:"roomId"`
	File         string         `json:"file"`
	StartedAt    int64          `json:"startedAt,omitempty"`
	EndedAt      int64          `json:"endedAt,omitempty"`
	Duration     int            `json:"duration,omitempty"`
	FileSize     int64          `json:"fileSize,omitempty"`
	Participants []string       `json:"participants"`
	State        RecordingState `json:"state"`
}

// CallLog is what a conversation keeps of a call.
type CallLog struct {
	CallID   string  `json:"callId"`
	RoomID   string  `json:"roomId,omitempty"`
	Outcome  Outcome `json:"outcome"`
	Duration int     `json:"duration,omitempty"` // seconds from the answer to the end
}

// Outcome is what became of a call.
type Outcome string

// The outcomes of calls.
const (
	OutcomeAccepted  Outcome = "accepted"  // it was answered; Duration says how long it was
	OutcomeDeclined  Outcome = "declined"  // the callee did not want it
	OutcomeCancelled Outcome = "cancelled" // the caller took it back, or was lost, before the answer
	OutcomeMissed    Outcome = "missed"    // nobody answered, or the callee could not be reached
	OutcomeBusy      Outcome = "busy"      // the callee's device was in another call
	OutcomeFailed    Outcome = "failed"    // the media server failed before the answer
)

// State is the data of a presence frame. LastSeen is in Unix milliseconds.
type State struct {
	UserID   string `json:"userId,omitempty"`
	Status   Status `json:"status,omitempty"`
	LastSeen int64  `json:"lastSeen,omitempty"`
	Version  uint64 `json:"version,omitempty"` // level 1: grows with each change of this user's presence
}

// Status is a user's presence.
type Status string

// The presence of a user.
const (
	Online  Status = "online"
	Offline Status = "offline"
)

// Reason says why a call ended or a leg must be negotiated anew.
type Reason string

// The reasons; Reasons is the table that gives each its meaning.
const (
	ReasonHangup      Reason = "hangup"
	ReasonDeclined    Reason = "declined"
	ReasonCancelled   Reason = "cancelled"
	ReasonBusy        Reason = "busy"
	ReasonNoAnswer    Reason = "no_answer"
	ReasonDropped     Reason = "dropped"
	ReasonMediaFailed Reason = "media_failed"
	ReasonDTLSTimeout Reason = "dtls_timeout"
	ReasonICEFailed   Reason = "ice_failed"

	ReasonAnsweredElsewhere Reason = "answered_elsewhere"
	ReasonDeclinedElsewhere Reason = "declined_elsewhere"
	ReasonKicked            Reason = "kicked"
	ReasonLeft              Reason = "left"
	ReasonMediaRestarted    Reason = "media_restarted"
	ReasonRoleChanged       Reason = "role_changed"
)

// ReasonInfo is a row of the table of reasons.
type ReasonInfo struct {
	Reason  Reason
	Of      Action // ended, left or negotiate
	Meaning string
}

// Reasons is the one table that documentation and checks of reasons come from.
var Reasons = []ReasonInfo{
	{ReasonHangup, ActionEnded, "A party left the answered call."},
	{ReasonDeclined, ActionEnded, "The callee rejected the call, or left while it rang."},
	{ReasonCancelled, ActionEnded, "The caller cancelled, or left before the answer."},
	{ReasonBusy, ActionEnded, "The callee's device said that it is in another call."},
	{ReasonNoAnswer, ActionEnded, "The ring timer ran out."},
	{ReasonDropped, ActionEnded, "A party's connection was lost and did not come back in time, or the party said goodbye."},
	{ReasonMediaFailed, ActionEnded, "The media server refused or lost the call."},
	{ReasonDTLSTimeout, ActionNegotiate, "ICE of the leg connected and DTLS did not finish."},
	{ReasonICEFailed, ActionNegotiate, "The client's own ICE failed; it offers anew without being asked."},
	{ReasonAnsweredElsewhere, ActionEnded, "Another device of the callee answered."},
	{ReasonDeclinedElsewhere, ActionEnded, "Another device of the callee declined."},
	{ReasonKicked, ActionEnded, "The room's creator took the member out."},
	{ReasonLeft, ActionLeft, "The member left the room."},
	{ReasonMediaRestarted, ActionNegotiate, "The media server lost the leg, or restarted."},
	{ReasonRoleChanged, ActionNegotiate, "The member's role changed, and with it what it sends."},
}
