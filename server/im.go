package server

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// handleMessage relays an IM message to every session of the recipient. Who it
// is from and when it was sent is the server's to say.
func handleMessage(r request) error {
	var m signaling.Message
	if err := r.frame.Into(&m); err != nil {
		return err
	}
	if m.To == "" {
		return signaling.Errorf(signaling.CodeBadData, "to is missing")
	}
	if len(m.To) > maxUser {
		return signaling.Errorf(signaling.CodeBadData, "to is longer than %d bytes", maxUser)
	}
	to := r.srv.users.sessions(m.To)
	if len(to) == 0 {
		return signaling.Errorf(signaling.CodeUserUnavailable, "the user cannot be reached")
	}
	m.From, m.Timestamp = r.user, time.Now().UnixMilli()
	for _, u := range to {
		u.push(signaling.TypeMessage, "", m)
	}
	r.ack(nil)
	return nil
}

// post delivers a message of the server's own making, such as what became of a
// call, to both users.
func (s *Server) post(m signaling.Message) { s.postTo(m, m.To, m.From) }

// postTo is post with the message going to these users only.
func (s *Server) postTo(m signaling.Message, owners ...string) {
	m.MessageID, m.Timestamp = s.cfg.NewID("message", m.From), time.Now().UnixMilli()
	for _, owner := range owners {
		for _, u := range s.users.sessions(owner) {
			u.push(signaling.TypeMessage, "", m)
		}
	}
}
