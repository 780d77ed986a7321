package simclient

import (
	"log/slog"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// level0 is the design document's frames and nothing else: no hello, no ids, no
// answers, no numbers. What level 1 learns from an answer it takes for granted:
// a request counts as done when it was written.
//
// An error frame does not say what it is about. It is put down to the last
// request that may be refused with its code and was not yet: of two requests
// on their way at once the wrong one may be blamed first, but then the other
// error blames the other one. A blamed call ends if it is not answered yet, a
// blamed answer ends its call, a blamed offer awaits no answer any more. For
// everything else it is only logged.
type level0 struct {
	c      *Client
	silent bool       // the server did not answer hello, and may still do
	recent []*request // that were sent, the oldest first
}

// rememberedRequests is how many requests an error may still be about. A leg's
// candidates are most of them.
const rememberedRequests = 64

func (l *level0) number() int { return 0 }

// opened says that the user is online. The request for the socket has shown who
// that is, but a server that knows both levels waits a second for a hello, and
// nobody can be reached until it knows that none comes.
func (l *level0) opened(sock *socket, _ string) {
	f, err := signaling.New(signaling.TypeState, "", signaling.State{Status: signaling.Online})
	if err != nil {
		l.c.failure(nil, "say who is there", err)
		return
	}
	l.c.write(sock, f, false)
	l.ask(sock)
}

// ask asks for a pong, which is the nearest thing to a welcome: the server has
// then read what was said before.
func (l *level0) ask(sock *socket) {
	l.recent = nil
	l.c.link.state = linkGreeting
	l.c.link.timer = l.c.after(l.c.cfg.Reconnect.Attempt, func() { sock.kill(causePong) })
	sock.ping()
}

// alive begins the session.
func (l *level0) alive() {
	l.c.link.timer.stop()
	l.c.link.state = linkUp
	l.c.beginSession(session{user: l.c.cfg.User})
}

// welcomed takes the answer to a hello that was given up on: the server speaks
// level 1. If this side has not said anything yet so does it now, else on the
// next connection.
func (l *level0) welcomed(f signaling.Frame) {
	c := l.c
	switch {
	case !l.silent:
		var w signaling.Welcome
		_ = f.Into(&w)
		c.violation(nil, violationWelcome, slog.String("session", w.SessionID))
	case c.link.state == linkGreeting:
		c.link.level = &level1{c: c}
		c.link.level.welcomed(f)
	default:
		c.link.level = &level1{c: c}
		c.link.sock.kill(causeLate)
	}
}

// refusal of a token that the server does not like: it waited for a hello with
// a better one.
func (l *level0) refusal(info signaling.ErrorInfo) signaling.Code {
	if info.Code == signaling.CodeHelloRequired {
		return signaling.CodeUnauthorized
	}
	return info.Code
}

// lost ends the session with its socket.
func (l *level0) lost(code int, cause string) {
	if info, _ := signaling.OfClose(code); l.refusal(info) == signaling.CodeUnauthorized {
		l.c.giveUp(string(signaling.CodeUnauthorized))
		return
	}
	l.c.reconnect(code, cause)
	if l.c.session.begun {
		l.c.endSession(reasonDropped)
	}
}

// request writes the frames that level 0 has for it, if there are any.
func (l *level0) request(r *request, t signaling.Type, action signaling.Action, data any) {
	c := l.c
	frames, err := words0(t, action, data)
	if err != nil || len(frames) == 0 {
		r.done(signaling.Frame{}, err)
		return
	}
	c.requests.pending = append(c.requests.pending, r)
	r.frame = frames[0]
	l.recent = append(l.recent, r)
	if len(l.recent) > rememberedRequests {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	for i, f := range frames {
		then := func() {}
		if i == len(frames)-1 {
			then = func() { c.q.Do(func() { l.written(r) }) }
		}
		c.writeThen(c.link.sock, f, false, then)
	}
}

// written may come after Close, which waits only for what was begun before.
func (l *level0) written(r *request) {
	if l.c.requests.remove(r) && l.c.link.state != linkClosed {
		r.done(signaling.Frame{}, nil)
	}
}

// answered takes an error frame; there is no ack.
func (l *level0) answered(f signaling.Frame) {
	c := l.c
	if f.Type != signaling.TypeError {
		c.violation(c.call, violationUnknownType, slog.String("type", string(f.Type)), slog.String("action", string(f.Action)))
		return
	}
	r := l.blame(errorOf(f).Code)
	e := c.refused(f, r)
	switch {
	case r == nil:
	case c.requests.remove(r):
		r.done(f, e)
	case r.late != nil:
		r.late(e)
	}
}

// blame finds what an error can be about.
func (l *level0) blame(code signaling.Code) *request {
	for i, r := range slices.Backward(l.recent) {
		if mayGet(r.frame, code) {
			l.recent = slices.Delete(l.recent, i, i+1)
			return r
		}
	}
	return nil
}

// mayGet tells whether a frame can be refused with this code.
func mayGet(f signaling.Frame, code signaling.Code) bool {
	switch code {
	case signaling.CodeBadFrame, signaling.CodeUnknownType, signaling.CodeUnknownAction, signaling.CodeTooLarge:
		return false // of what this client sends as it should
	case signaling.CodeInvalidCandidate:
		return f.Action == signaling.ActionCandidate
	case signaling.CodeInvalidSDP, signaling.CodeCodecUnsupported:
		return f.Action == signaling.ActionOffer
	case signaling.CodeBusy:
		return f.Action == signaling.ActionCall
	case signaling.CodeUserUnavailable:
		return f.Action == signaling.ActionCall || f.Type != signaling.TypeRTC
	case signaling.CodeMediaFailed:
		return f.Type == signaling.TypeRTC && f.Action != signaling.ActionLeave && f.Action != signaling.ActionCandidate
	case signaling.CodeNoSuchCall, signaling.CodeBadState:
		return f.Type == signaling.TypeRTC
	default:
		return true
	}
}

// words0 says a request in the words of level 0. There may be none, because
// level 0 does not say such a thing, or an ErrLevel if somebody asked for it.
func words0(t signaling.Type, action signaling.Action, data any) ([]signaling.Frame, error) {
	switch d := data.(type) {
	case signaling.RTC:
		return rtc0(t, action, d)
	case signaling.Message:
		d.MessageID = ""
		data = d
	case signaling.Token, signaling.HistoryQuery:
		return nil, ErrLevel
	}
	f, err := signaling.New(t, action, data)
	return []signaling.Frame{f}, err
}

func rtc0(t signaling.Type, action signaling.Action, d signaling.RTC) ([]signaling.Frame, error) {
	switch action {
	case signaling.ActionCandidate:
		return candidates0(t, d)
	case signaling.ActionReject, signaling.ActionBusy, signaling.ActionCancel:
		action = signaling.ActionLeave
	case signaling.ActionRinging:
		return nil, ErrLevel
	}
	d.CallID = ""
	f, err := signaling.New(t, action, d)
	return []signaling.Frame{f}, err
}

// candidates0 gives every candidate a frame of its own. That there are no more
// is not said.
func candidates0(t signaling.Type, d signaling.RTC) (frames []signaling.Frame, err error) {
	for _, candidate := range d.Batch() {
		if candidate.Candidate == "" {
			continue
		}
		f, err := signaling.New(t, signaling.ActionCandidate, signaling.RTC{RoomID: d.RoomID,
			Candidate: candidate.Candidate, SDPMLineIndex: candidate.SDPMLineIndex})
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// inOrder is true: pushes have no numbers. The first one says as much as a pong.
func (l *level0) inOrder(f signaling.Frame) bool {
	if l.c.link.state == linkGreeting && f.Type != signaling.TypeWelcome && f.Type != signaling.TypeError {
		l.alive()
	}
	return true
}

// onRTC names a call whose room is not known yet, and takes a leave for the end.
func (l *level0) onRTC(action signaling.Action, rtc signaling.RTC) {
	c := l.c
	k := c.call
	if k == nil || !l.means(k, action, rtc) {
		l.stray(action, rtc)
		return
	}
	if k.room == "" {
		k.room = rtc.RoomID
	}
	switch {
	case k.in != nil:
		action, rtc = l.ofRoom(action, rtc)
	case action == signaling.ActionLeave:
		action, rtc.Reason = signaling.ActionEnded, k.reason0(rtc.UserID)
	}
	c.pushed(k, action, rtc)
}

// ofRoom says in the words of level 1 what level 0 says of a room of several: who
// comes and goes. A leave of nobody else's is the end for this side.
func (l *level0) ofRoom(action signaling.Action, rtc signaling.RTC) (signaling.Action, signaling.RTC) {
	switch {
	case action == signaling.ActionJoin:
		action = signaling.ActionJoined
	case action != signaling.ActionLeave:
	case rtc.UserID == "" || rtc.UserID == l.c.cfg.User:
		action, rtc.Reason = signaling.ActionEnded, signaling.ReasonDropped
	default:
		action, rtc.Reason = signaling.ActionLeft, signaling.ReasonLeft
	}
	return action, rtc
}

// means tells whether a frame is about this call. Only its answer and its end can
// be the first to name its room, and neither if it is of somebody else.
func (l *level0) means(k *call, action signaling.Action, rtc signaling.RTC) bool {
	switch {
	case rtc.RoomID == "" || rtc.RoomID == k.room:
		return true
	case k.room != "" || l.c.ended(rtc.RoomID) != nil:
		return false
	default:
		return (action == signaling.ActionAnswer || action == signaling.ActionLeave) && (rtc.UserID == "" || rtc.UserID == k.peer)
	}
}

// stray takes a push about a call that is not the current one. It may have
// crossed the end of one, and be the first to name that one's room. The end of a
// call that an error frame ended before is confirmed: the server waits for that.
func (l *level0) stray(action signaling.Action, rtc signaling.RTC) {
	e := l.c.ended(rtc.RoomID)
	if e == nil {
		e = l.c.ended("")
	}
	if e != nil {
		e.name = rtc.RoomID
		if e.owed && action == signaling.ActionLeave {
			e.owed = false
			k := &call{room: rtc.RoomID}
			l.c.tell(k, signaling.ActionLeave, k.ref())
		}
		return
	}
	l.c.violation(nil, violationUnknownCall, slog.String("call", rtc.RoomID), slog.String("action", string(action)))
}

// reason0 is why a call ended, as far as who left, and when, tells. If nobody
// did, the server ended it, and before the answer that is mostly its ring timer.
func (k *call) reason0(by string) signaling.Reason {
	switch {
	case k.answered && by != "":
		return signaling.ReasonHangup
	case k.answered:
		return signaling.ReasonDropped
	case by == "":
		return signaling.ReasonNoAnswer
	case k.outgoing == (by == k.peer):
		return signaling.ReasonDeclined
	default:
		return signaling.ReasonCancelled
	}
}

// mediaLost leaves: a leg cannot be made anew.
func (l *level0) mediaLost(k *call) {
	k.left = string(signaling.ReasonMediaFailed)
	l.c.leaveBecause(k, signaling.ActionLeave, func(error) {})
}

var _ level = (*level0)(nil)
var _ level = (*level1)(nil)
