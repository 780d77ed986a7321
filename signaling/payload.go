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
	FeatureResume = "resume" // resume tokens and replay
	FeatureCallID = "callid" // callId on every rtc frame
	FeatureAck    = "ack"    // request ids answered by ack or error, repeated ids suppressed
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
}

// CallRef names a call and where it stands, so that a resumed client can check
// its own view.
type CallRef struct {
	CallID string `json:"callId"`
	RoomID string `json:"roomId"`
	Peer   string `json:"peer"`
	State  string `json:"state"`
}

// RTC is the data of every rtc frame; each action uses the fields it needs.
type RTC struct {
	RoomID     string `json:"roomId,omitempty"`
	CallID     string `json:"callId,omitempty"` // level 1: one per call attempt
	UserID     string `json:"userId,omitempty"` // server to client only: the party that the frame is about
	TargetUser string `json:"targetUser,omitempty"`

	SDP string `json:"sdp,omitempty"`

	Candidate        string `json:"candidate,omitempty"` // candidate-attribute of RFC 8839; empty means end of candidates
	SDPMid           string `json:"sdpMid,omitempty"`
	SDPMLineIndex    *int   `json:"sdpMLineIndex,omitempty"`
	UsernameFragment string `json:"usernameFragment,omitempty"`

	Reason Reason `json:"reason,omitempty"`
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
	From      string `json:"from"`
	To        string `json:"to"`
	Content   string `json:"content"`
	Timestamp int64  `json:"timestamp"`
}

// State is the data of a presence frame. LastSeen is in Unix milliseconds.
type State struct {
	UserID   string `json:"userId"`
	Status   string `json:"status"` // online or offline
	LastSeen int64  `json:"lastSeen,omitempty"`
}

// Reason says why a call ended or a leg must be negotiated anew.
type Reason string

// The reasons; Reasons is the table that gives each its meaning.
const (
	ReasonHangup      Reason = "hangup"
	ReasonDeclined    Reason = "declined"
	ReasonCancelled   Reason = "cancelled"
	ReasonNoAnswer    Reason = "no_answer"
	ReasonDropped     Reason = "dropped"
	ReasonMediaFailed Reason = "media_failed"
	ReasonDTLSTimeout Reason = "dtls_timeout"
	ReasonICEFailed   Reason = "ice_failed"
)

// ReasonInfo is a row of the table of reasons.
type ReasonInfo struct {
	Reason  Reason
	Of      Action // ended or negotiate
	Meaning string
}

// Reasons is the one table that documentation and checks of reasons come from.
var Reasons = []ReasonInfo{
	{ReasonHangup, ActionEnded, "A party left the answered call."},
	{ReasonDeclined, ActionEnded, "The callee left while it rang."},
	{ReasonCancelled, ActionEnded, "The caller left before the answer."},
	{ReasonNoAnswer, ActionEnded, "The ring timer ran out."},
	{ReasonDropped, ActionEnded, "A party's connection was lost and did not come back in time, or the party said goodbye."},
	{ReasonMediaFailed, ActionEnded, "The media server refused or lost the call."},
	{ReasonDTLSTimeout, ActionNegotiate, "ICE of the leg connected and DTLS did not finish."},
	{ReasonICEFailed, ActionNegotiate, "The client's own ICE failed; it offers anew without being asked."},
}
