package server

import "github.com/callbench/callbench/signaling"

// Post sends a message of the server's own making to both parties.
func (s *Server) Post(m signaling.Message) { s.post(m) }

// PostTo sends it to these users only.
func (s *Server) PostTo(m signaling.Message, owners ...string) { s.postTo(m, owners...) }
