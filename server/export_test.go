package server

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/callbench/callbench/signaling"
)

// MetricNames lists what the server counts.
func MetricNames() (names []string) {
	descs := make(chan *prometheus.Desc, 64)
	newMetrics(&Server{}).registry.Describe(descs)
	close(descs)
	for d := range descs {
		names = append(names, regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1])
	}
	return names
}

// Post sends a message of the server's own making to both parties.
func (s *Server) Post(m signaling.Message) { s.post(m) }

// PostTo sends it to these users only.
func (s *Server) PostTo(m signaling.Message, owners ...string) { s.postTo(m, owners...) }

// PushThen pushes a message to the sessions of a user, as code of this package
// does that has to know when it arrived.
func (s *Server) PushThen(user, text string, acked func()) {
	for _, u := range s.users.sessions(user) {
		u.pushThen(signaling.TypeMessage, "", signaling.Message{From: "alice", To: user, Content: text}, acked)
	}
}

// Answer acknowledges a request of a user's, as a handler does.
func (s *Server) Answer(user string, asked signaling.Frame, data any) {
	for _, u := range s.users.sessions(user) {
		request{u, asked}.ack(data)
	}
}

// EndSessions ends the sessions of a user.
func (s *Server) EndSessions(user string) {
	for _, u := range s.users.sessions(user) {
		u.end(causeReplaced)
	}
}
