package server

import (
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// The levels of a session. This file is all that knows what level 0 can say:
// the rest of the server speaks level 1 to every session.
const (
	level0 = 0
	level1 = signaling.Version
)

// said0 are the requests that level 0 knows, the design document's.
var said0 = map[route]bool{
	{signaling.TypeRTC, signaling.ActionCall}:      true,
	{signaling.TypeRTC, signaling.ActionAnswer}:    true,
	{signaling.TypeRTC, signaling.ActionJoin}:      true,
	{signaling.TypeRTC, signaling.ActionOffer}:     true,
	{signaling.TypeRTC, signaling.ActionCandidate}: true,
	{signaling.TypeRTC, signaling.ActionLeave}:     true,
	{signaling.TypeMessage, ""}:                    true,
	{signaling.TypeState, ""}:                      true,
}

// knowsRoute reports whether the session's level has such a request.
func (u *session) knowsRoute(r route) bool { return u.level > level0 || said0[r] }

// renegotiates reports whether the session's client can be asked to make its leg
// anew. Level 0 has no words for it.
func (u *session) renegotiates() bool { return u.level > level0 }

// push0 sends a push as level 0 says it, if it has words for it. There are no
// receipts: what was written has arrived. u.mu is held.
func (u *session) push0(f signaling.Frame, acked func()) {
	frames, err := words0(f)
	if err != nil {
		u.logAt(slog.LevelError, "session.failed", slog.String("error", err.Error()))
		return
	}
	for i, f := range frames {
		b, err := signaling.Encode(f)
		if err != nil {
			u.logAt(slog.LevelError, "session.failed", slog.String("error", err.Error()))
			return
		}
		u.frameLog("frame.out", &f)
		if i < len(frames)-1 {
			u.conn.send(b)
		} else {
			u.conn.sendThen(b, acked)
		}
	}
}

// ack0 answers a request of level 0. Only the question for a user's presence has
// an answer there, which is a frame like the one that tells a change.
func (r request) ack0(data any) {
	var asked signaling.State
	if r.frame.Type != signaling.TypeState || data == nil || r.frame.Into(&asked) != nil || asked.Status != "" {
		return
	}
	r.push(signaling.TypeState, "", data)
}

// words0 says a push in the words of level 0: in one frame as a rule, in none if
// there are no words, in several if it lists what level 0 says one by one.
func words0(f signaling.Frame) ([]signaling.Frame, error) {
	switch f.Type {
	case signaling.TypeRTC:
		return rtc0(f)
	case signaling.TypeInvite:
		return rewrite(f, func(i *signaling.Invite) { i.CallID = "" })
	case signaling.TypeMessage:
		return rewrite(f, func(m *signaling.Message) { m.MessageID, m.Call = "", nil })
	case signaling.TypeState:
		return rewrite(f, func(s *signaling.State) { s.Version = 0 })
	}
	return nil, nil
}

func rtc0(f signaling.Frame) ([]signaling.Frame, error) {
	switch f.Action {
	case signaling.ActionAnswer:
		return rewrite(f, func(d *signaling.RTC) { *d = signaling.RTC{RoomID: d.RoomID, UserID: d.UserID, SDP: d.SDP} })
	case signaling.ActionCandidate:
		return candidates0(f)
	case signaling.ActionJoined:
		f.Action = signaling.ActionJoin
		return rewrite(f, func(d *signaling.RTC) { *d = signaling.RTC{RoomID: d.RoomID, UserID: d.UserID} })
	case signaling.ActionEnded, signaling.ActionLeft:
		f.Action = signaling.ActionLeave
		return rewrite(f, func(d *signaling.RTC) { *d = signaling.RTC{RoomID: d.RoomID, UserID: d.UserID} })
	}
	return nil, nil
}

// candidates0 gives every candidate a frame of its own. That there are no more
// is not said.
func candidates0(f signaling.Frame) (frames []signaling.Frame, err error) {
	var in signaling.RTC
	if err := f.Into(&in); err != nil {
		return nil, err
	}
	for _, c := range in.Batch() {
		if c.Candidate == "" {
			continue
		}
		one, err := signaling.New(f.Type, f.Action, signaling.RTC{RoomID: in.RoomID,
			Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex})
		if err != nil {
			return nil, err
		}
		frames = append(frames, one)
	}
	return frames, nil
}

// rewrite is the frame with its data changed, and without what surrounds data
// at level 1.
func rewrite[T any](f signaling.Frame, change func(*T)) ([]signaling.Frame, error) {
	var data T
	if err := f.Into(&data); err != nil {
		return nil, err
	}
	change(&data)
	out, err := signaling.New(f.Type, f.Action, data)
	return []signaling.Frame{out}, err
}
