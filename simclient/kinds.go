package simclient

// The kinds of events that a client logs, with their attributes. Each event of
// a call has call, its id or at level 0 its room, as well; durations are in milliseconds. Kinds marked
// with * are logged at debug level, all others at info level.
const (
	eventWSOpen   = "ws.open"   // attempt, took_ms: from dialing to the upgrade
	eventWSClosed = "ws.closed" // code, cause; 1006: there was no close frame

	eventWelcome      = "session.welcome"      // session, resumed, level; at level 0, where nobody says welcome: the socket is open
	eventFallback     = "session.fallback"     // reason: the server does not know hello, the session is one of level 0
	eventReconnecting = "session.reconnecting" // session, cause
	eventRetry        = "session.retry"        // attempt, error: an attempt failed
	eventResumed      = "session.resumed"      // session, attempts, replayed, gap_ms
	eventEnded        = "session.ended"        // session, reason, receipts

	eventTokenRefreshed = "token.refreshed" // ttl in seconds

	eventBackground = "app.background"
	eventForeground = "app.foreground"
	eventSleep      = "app.sleep" // for_ms: the whole machine
	eventWake       = "app.wake"
	eventCrashed    = "app.crashed"

	eventSent      = "signal.sent"      // * type, action, request, size, repeated
	eventReceived  = "signal.received"  // * type, action, seq, request, room, code, reason, user, size
	eventDuplicate = "signal.duplicate" // type, action, seq: a push that was seen before

	eventOutgoing         = "call.outgoing"     // room, to
	eventIncoming         = "call.incoming"     // room, from
	eventRinging          = "call.ringing"      // user: the callee's device rings
	eventAccepted         = "call.accepted"     // user
	eventConnected        = "call.connected"    // leg
	eventPeerReconnecting = "call.reconnecting" // user: the other party's connection dropped
	eventPeerReconnected  = "call.reconnected"  // user
	eventNegotiate        = "call.negotiate"    // reason, from, leg: the server or the client wants a new leg
	eventCallEnded        = "call.ended"        // reason, by, level

	// In a room of several members call is the room's name. call.connected,
	// call.negotiate and the like are of rooms, too.
	eventEntered   = "room.entered"   // type, role, members, who, recording: the client is in; members is how many are, itself included, who is who with which role
	eventJoined    = "room.joined"    // user, role, members: somebody else came
	eventLeft      = "room.left"      // user, reason, members
	eventRole      = "room.role"      // user, role
	eventRecording = "room.recording" // state, recording; of calls too
	eventRoomEnded = "room.ended"     // reason, by, level: the client is out, or the room is over

	eventMessage       = "im.message"     // from, to, message, text; of a call's: outcome, duration in seconds
	eventMessageSent   = "im.sent"        // to, message: the server has it
	eventMessageAgain  = "im.duplicate"   // from, to, message: it was delivered before
	eventPresence      = "presence.state" // user, status, last_seen in Unix milliseconds, version
	eventPresenceStale = "presence.stale" // the same, and known: the newer version that is known

	eventHistoryItem = "history.item" // what, and what the item says, under the names of the wire
	eventHistory     = "history.page" // what, count, more: so many items came, and there are more

	eventICE        = "ice.state"          // state, leg
	eventDTLS       = "dtls.state"         // state, leg
	eventPC         = "pc.state"           // state, leg
	eventGathered   = "ice.gathered"       // candidates, relay, leg: there are no more; relay are those of TURN servers
	eventICEServers = "ice.servers"        // servers, ttl_ms: fresh credentials came
	eventPair       = "ice.pair"           // local_type, remote_type, protocol, leg
	eventTrickled   = "candidate.sent"     // * n, type, written, leg: in how many lines; type "end" says that there are no more
	eventTrickle    = "candidate.received" // * n, type, leg; ignored if it is not used, and why

	eventFlow        = "media.flow"         // media, state, from, gap_ms
	eventWrongOrigin = "media.wrong_origin" // media, track, from_hash, call_hash: once for each such track
	eventUnmarked    = "media.unmarked"     // media: once
	eventSeen        = "media.seen"         // media, from, from_hash, call_hash, track, count, x, y, width, height, pictures: a barcode in a picture of so many
	eventMuted       = "media.muted"        // media, muted
	eventWindow      = "media.window"       // media, from, and the counts of the last second
	eventMediaTotal  = "media.total"        // media, from, and the counts of the whole call
	eventMediaSent   = "media.sent"         // media, codec, units, packets, bytes

	eventError     = "error"              // code, message, request: the server refused something
	eventFailure   = "client.failure"     // doing, error: something failed on this side
	eventViolation = "protocol.violation" // what, and what shows it
)

// What a server did that the protocol does not allow: the attribute what of
// protocol.violation.
const (
	violationSeqGap        = "seq_gap"          // seq, expected: a push is missing
	violationNoSeq         = "seq_missing"      // type, action: a push without a number
	violationBadFrame      = "bad_frame"        // error, size
	violationUnknownType   = "unknown_type"     // type, action
	violationUnknownID     = "unknown_request"  // request: an answer to nothing
	violationUnknownCall   = "unknown_call"     // action
	violationEndedTwice    = "ended_twice"      // reason
	violationAcceptedTwice = "accepted_twice"   // user
	violationSecondCall    = "second_call"      // room
	violationNoRoom        = "not_in_a_room"    // action: of rooms only, and the client is in a call
	violationBusyInvite    = "invited_in_call"  // room, from
	violationCallLost      = "call_lost"        // the resumed session has no such call, and nothing said that it ended
	violationAnswer        = "unasked_answer"   // an SDP answer without an offer
	violationOtherCall     = "call_id_changed"  // to
	violationWelcome       = "unasked_welcome"  // session
	violationSession       = "session_replaced" // session: resumed, but it is another one
)
