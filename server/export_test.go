package server

import (
	"context"
	"maps"
	"net/netip"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/callbench/callbench/signaling"
)

// MetricLabels lists what the server counts, with the labels of each.
func MetricLabels() map[string]string {
	descs := make(chan *prometheus.Desc, 64)
	newMetrics(&Server{}).registry.Describe(descs)
	close(descs)
	all := map[string]string{}
	for d := range descs {
		m := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: {([^}]*)}`).FindStringSubmatch(d.String())
		all[m[1]] = m[2]
	}
	return all
}

// Callers counts addresses as a server does.
type Callers struct {
	callers
	swept  time.Time
	sweeps int
}

// Enter counts a connection of an address that may have this many.
func (c *Callers) Enter(a netip.Addr, most int) (leave func(), ok bool) {
	at := c.enter(a, most)
	c.look()
	return func() { c.leave(at) }, at != nil
}

// Fail notes a bad token and is how late it is answered.
func (c *Callers) Fail(a netip.Addr, l Limits) time.Duration {
	defer c.look()
	return c.fail(a, l)
}

// Known is how many addresses and networks are told apart.
func (c *Callers) Known() int { return len(c.by) }

// Sweeps is how often forgotten callers were looked for.
func (c *Callers) Sweeps() int { return c.sweeps }
func (c *Callers) look() {
	if c.callers.swept != c.swept {
		c.swept, c.sweeps = c.callers.swept, c.sweeps+1
	}
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

// Fault is something wrong that can be planted in the server, to see whether it is
// found. It takes the place of the handler of some requests.
type Fault struct {
	Says    string
	actions []signaling.Action
	handle  func(right handler) handler
}

// Plant puts the fault into all servers, until it is taken out again.
func (f Fault) Plant() (out func()) {
	before := maps.Clone(handlers)
	for _, a := range f.actions {
		at := route{signaling.TypeRTC, a}
		handlers[at] = f.handle(before[at])
	}
	return func() { maps.Copy(handlers, before) }
}

// Faults are those that can be planted.
func Faults() []Fault {
	leaving := []signaling.Action{signaling.ActionLeave, signaling.ActionCancel}
	return []Fault{
		{"an answer is accepted twice, on whichever device", []signaling.Action{signaling.ActionAnswer}, func(right handler) handler {
			return onCall(right, func(c *call, r request, right func()) {
				if m := c.asking(r); c.at() == stateActive && m != nil && m != c.caller {
					r.ack(nil)
					return
				}
				right()
			})
		}},
		{"who answers in the moment of the cancel is told another reason", leaving, func(right handler) handler {
			return onCall(right, func(c *call, r request, right func()) {
				crossed := c.at() == stateAccepting && c.asking(r) == c.caller
				right()
				if crossed {
					c.callee.told = true
					data := c.ref()
					data.Reason, data.UserID = signaling.ReasonCancelled, c.caller.user
					c.push(c.callee, signaling.ActionEnded, data)
				}
			})
		}},
		{"the row of a callee that is on its way in stays open", leaving, func(right handler) handler {
			return onCall(right, func(c *call, _ request, right func()) {
				if c.at() == stateAccepting {
					c.callee.joined = time.Time{}
				}
				right()
			})
		}},
		{"the row of a call that is given up says another reason", leaving, func(right handler) handler {
			return onCall(right, func(c *call, r request, right func()) {
				given := c.at() == stateRinging && c.asking(r) == c.caller
				right()
				if given {
					row := c.row()
					row.Reason = signaling.ReasonHangup
					c.save("record call", func(ctx context.Context) error { return c.srv.cfg.History.CallChanged(ctx, row) }, nil)
				}
			})
		}},
		{"what was made for an answer that is taken back stays", leaving, func(right handler) handler {
			return onCall(right, func(c *call, _ request, right func()) {
				if c.at() == stateAccepting {
					c.pipeline = leaky{c.pipeline}
				}
				right()
			})
		}},
	}
}

// leaky is a pipeline that nobody releases.
type leaky struct{ Pipeline }

func (leaky) Release(context.Context) error { return nil }

// onCall is a handler that does something on the queue of the call that a request
// is about, where the right handler would do its work.
func onCall(right handler, do func(c *call, r request, right func())) handler {
	return func(r request) error {
		var in signaling.RTC
		c, err := r.inCall(&in)
		if err != nil {
			return right(r)
		}
		switch r.frame.Action {
		case signaling.ActionAnswer:
			return c.hand(func() { do(c, r, func() { c.accept(r) }) })
		default:
			return c.hand(func() { do(c, r, func() { c.leave(r) }) })
		}
	}
}
