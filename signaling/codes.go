package signaling

import (
	"errors"
	"fmt"
)

// Code is a machine-readable error code of the protocol.
type Code string

// The error codes. Errors is the table that gives each its meaning.
const (
	CodeBadFrame         Code = "bad_frame"
	CodeUnknownType      Code = "unknown_type"
	CodeUnknownAction    Code = "unknown_action"
	CodeBadData          Code = "bad_data"
	CodeTooLarge         Code = "too_large"
	CodeHelloRequired    Code = "hello_required"
	CodeUnauthorized     Code = "unauthorized"
	CodeTokenExpired     Code = "token_expired"
	CodeRevoked          Code = "revoked"
	CodeForbidden        Code = "forbidden"
	CodeVersion          Code = "version_unsupported"
	CodeSuperseded       Code = "superseded"
	CodeSessionTimeout   Code = "session_timeout"
	CodeSlowConsumer     Code = "slow_consumer"
	CodeGoingAway        Code = "going_away"
	CodeBusy             Code = "busy"
	CodeUserUnavailable  Code = "user_unavailable"
	CodeNoSuchCall       Code = "no_such_call"
	CodeBadState         Code = "bad_state"
	CodeInvalidSDP       Code = "invalid_sdp"
	CodeCodecUnsupported Code = "codec_unsupported"
	CodeInvalidCandidate Code = "invalid_candidate"
	CodeMediaFailed      Code = "media_failed"
	CodeLimitExceeded    Code = "limit_exceeded"
	CodeNoSuchRoom       Code = "no_such_room"
	CodeRoomFull         Code = "room_full"
	CodeOverloaded       Code = "overloaded"
	CodeInternal         Code = "internal"
)

// Retry says what a client should do after its connection was closed.
type Retry string

// What a client does after a close.
const (
	RetryResume Retry = "resume" // dial again and resume the session
	RetryFresh  Retry = "fresh"  // dial again with a new hello
	RetryNever  Retry = "never"
)

// ErrorInfo is a row of the error table. Close is the WebSocket close code that
// follows the error, or 0 when the connection stays open.
type ErrorInfo struct {
	Code    Code
	Meaning string
	Close   int
	Retry   Retry // of the close; empty when Close is 0
}

// Errors is the one table that error frames, close codes and documentation
// come from.
var Errors = []ErrorInfo{
	{CodeBadFrame, "The frame is not a JSON object with a known envelope.", 0, ""},
	{CodeUnknownType, "No module handles this type.", 0, ""},
	{CodeUnknownAction, "The rtc module knows no such action.", 0, ""},
	{CodeBadData, "The frame's data lacks a field or has one of the wrong kind.", 0, ""},
	{CodeTooLarge, "The frame is longer than the limit.", 1009, RetryResume},
	{CodeHelloRequired, "No hello came in time, or another frame came first.", 4400, RetryFresh},
	{CodeUnauthorized, "The token is missing, wrong or expired.", 4401, RetryNever},
	{CodeTokenExpired, "The token ran out and no newer one came.", 4410, RetryResume},
	{CodeRevoked, "The token was taken back. The session is over.", 4403, RetryNever},
	{CodeForbidden, "The frame speaks for another user, or the user may not do this.", 0, ""},
	{CodeVersion, "The server does not speak this protocol version.", 4406, RetryNever},
	{CodeSuperseded, "The session was resumed on another connection, or its device began a new one.", 4409, RetryNever},
	{CodeSessionTimeout, "Nothing was heard from the client for too long.", 4408, RetryResume},
	{CodeSlowConsumer, "The client does not read what it is sent.", 4429, RetryResume},
	{CodeGoingAway, "The server shuts down.", 1012, RetryResume},
	{CodeBusy, "One of the two is in a call already.", 0, ""},
	{CodeUserUnavailable, "The user is unknown, offline or does not want to be reached: which of them is not told.", 0, ""},
	{CodeNoSuchCall, "There is no such call, or the user is not in it.", 0, ""},
	{CodeBadState, "The call is in a state that does not allow this.", 0, ""},
	{CodeInvalidSDP, "The SDP cannot be parsed or is not acceptable.", 0, ""},
	{CodeCodecUnsupported, "The offer lacks the room's video codec.", 0, ""},
	{CodeInvalidCandidate, "The ICE candidate cannot be parsed or is not acceptable.", 0, ""},
	{CodeMediaFailed, "The media server refused or is gone.", 0, ""},
	{CodeLimitExceeded, "A limit of the server is reached; the message says which. Only a connection that is itself too many, or sends far too much, is closed.", 4430, RetryResume},
	{CodeNoSuchRoom, "There is no such room, and the request does not say of which type to make one.", 0, ""},
	{CodeRoomFull, "No more members may come into the room.", 0, ""},
	{CodeOverloaded, "The media server is near its limit; the request may be repeated after retryAfter seconds.", 0, ""},
	{CodeInternal, "The server failed; its log says more.", 0, ""},
}

// Error is an error on the wire: the data of an error frame.
type Error struct {
	Code       Code   `json:"code"`
	Message    string `json:"message"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds, of CodeOverloaded
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Errorf makes an *Error.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// AsError finds the wire error in err, or makes an internal one that hides the
// cause from the client.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "internal error"}
}

// Info is the table's row of a code; unknown codes get CodeInternal's.
func (c Code) Info() ErrorInfo {
	for _, e := range Errors {
		if e.Code == c {
			return e
		}
	}
	return CodeInternal.Info()
}

// OfClose is the row whose close code this is. ok is false for codes that the
// table does not have, such as 1006; the sensible reaction to those is to resume.
func OfClose(closeCode int) (info ErrorInfo, ok bool) {
	for _, e := range Errors {
		if e.Close == closeCode && closeCode != 0 {
			return e, true
		}
	}
	return ErrorInfo{}, false
}
