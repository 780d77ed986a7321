package server

import "github.com/callbench/callbench/signaling"

// iceServers are what the session's client is told to use now. Each answer has
// fresh credentials.
func (u *session) iceServers() signaling.TURN {
	if u.srv.cfg.ICE == nil {
		return signaling.TURN{}
	}
	servers, ttl := u.srv.cfg.ICE(u.user)
	return signaling.TURN{ICEServers: servers, TTL: seconds(ttl)}
}

// handleTURN gives a client fresh credentials before it makes a PeerConnection.
func handleTURN(r request) error {
	if r.srv.cfg.ICE == nil {
		return signaling.Errorf(signaling.CodeUnknownType, "this server has no ICE servers")
	}
	r.ack(r.iceServers())
	return nil
}
