package simclient

import (
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// greet begins a session of the level that the server has for the user.
func (s *fake) greet(ws *websocket.Conn, bearer string) *fakeSession {
	s.mu.Lock()
	s.bearers = append(s.bearers, bearer)
	level0 := s.level0 != nil && s.level0(bearer)
	s.mu.Unlock()
	if !level0 {
		return s.hello(ws)
	}
	if bearer == "wrong" { // as a server that waited for a hello in vain
		ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4400, ""))
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sess := s.session(bearer)
	sess.level0, sess.ws = true, ws
	return sess
}

// everybody speaks level 0.
func everybody(string) bool { return true }

// handle0 does a request and answers a refusal only.
func (s *fakeSession) handle0(f signaling.Frame) {
	if f.ID != "" && f.Type != signaling.TypeHello {
		s.srv.t.Errorf("%s has an id at level 0", f.Kind())
	}
	var err error
	var out any
	switch f.Type {
	case signaling.TypeHello:
		if s.srv.mute {
			return
		}
		err = signaling.Errorf(s.srv.helloCode, "no hello here")
	case signaling.TypeRTC, signaling.TypeMessage, signaling.TypeState:
		out, err = s.perform(f)
	default:
		s.srv.t.Errorf("%s at level 0", f.Kind())
	}
	if err != nil {
		s.write(frame(signaling.TypeError, "", "", signaling.AsError(err)))
	} else if state, ok := out.(signaling.State); ok && state.UserID != "" {
		s.push(signaling.TypeState, "", state)
	}
}

// push0 sends a push in the words of level 0, if it has any.
func (s *fakeSession) push0(t signaling.Type, a signaling.Action, data any) {
	switch d := data.(type) {
	case signaling.RTC:
		switch a {
		case signaling.ActionEnded:
			a = signaling.ActionLeave
		case signaling.ActionRinging, signaling.ActionReconnecting, signaling.ActionReconnected:
			return
		}
		d.CallID, d.Reason = "", ""
		data = d
	case signaling.Invite:
		d.CallID = ""
		data = d
	case signaling.Message:
		d.MessageID, d.Call = "", nil
		data = d
	case signaling.State:
		d.Version = 0
		data = d
	}
	s.write(frame(t, a, "", data))
}

// decline ends the call in one of the ways that only level 1 has words for.
func (s *fakeSession) decline(k *fakeCall, action signaling.Action, in signaling.RTC) error {
	if k.answered && action != signaling.ActionCancel || (s == k.caller) != (action == signaling.ActionCancel) {
		return signaling.Errorf(signaling.CodeBadState, "not now")
	}
	reason := signaling.Reason("")
	if action == signaling.ActionBusy {
		reason = signaling.ReasonBusy
	}
	s.leave(in, reason)
	return nil
}

// deliver passes a message on.
func (s *fakeSession) deliver(f signaling.Frame) (any, error) {
	var m signaling.Message
	if err := f.Into(&m); err != nil {
		return nil, err
	}
	to := s.srv.sessions[m.To]
	if to == nil {
		return nil, signaling.Errorf(signaling.CodeUserUnavailable, "unavailable")
	}
	m.From, m.Timestamp = s.user, 1
	to.push(signaling.TypeMessage, "", m)
	m.Content = ""
	return m, nil
}

// presence tells of a user, or takes the sender's own.
func (s *fakeSession) presence(f signaling.Frame) (any, error) {
	var in signaling.State
	if err := f.Into(&in); err != nil {
		return nil, err
	}
	if in.Status != "" {
		return signaling.State{}, nil
	}
	if s.srv.sessions[in.UserID] == nil {
		return nil, signaling.Errorf(signaling.CodeUserUnavailable, "unavailable")
	}
	return signaling.State{UserID: in.UserID, Status: signaling.Online, LastSeen: 1700000000000, Version: 7}, nil
}

func (s *fakeSession) renew(f signaling.Frame) (any, error) {
	var in signaling.Token
	if err := f.Into(&in); err != nil {
		return nil, err
	}
	if in.Token == "wrong" {
		return nil, signaling.Errorf(signaling.CodeUnauthorized, "wrong")
	}
	s.tokens = append(s.tokens, in.Token)
	return signaling.TokenTTL{TokenTTL: s.srv.tokenTTL}, nil
}
