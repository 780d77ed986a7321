package simclient

import (
	"log/slog"
	"slices"
	"strconv"

	"github.com/callbench/callbench/signaling"
)

// request is a frame whose answer is awaited.
type request struct {
	frame signaling.Frame
	call  *call // that it is about, if it belongs to the client's own call
	leg   *leg  // that it is about, if it is
	sent  bool
	done  func(signaling.Frame, error)
	late  func(error) // level 0: it was done, and is refused after all; may be nil
}

// moot tells whether a refusal is no news: the call has ended here too or the
// leg was replaced, and the request and that have crossed.
func (r *request) moot(c *Client, code signaling.Code) bool {
	if r == nil || r.call == nil || code != signaling.CodeNoSuchCall && code != signaling.CodeBadState {
		return false
	}
	return r.call != c.call || r.leg != nil && r.leg != r.call.leg
}

// requests are those without an answer, the oldest first: in this order they
// are repeated after a resume.
type requests struct {
	last    uint64
	pending []*request
}

func (r *requests) newID() string {
	r.last++
	return strconv.FormatUint(r.last, 10)
}

// issued tells whether id is one that newID gave out.
func (r *requests) issued(id string) bool {
	n, err := strconv.ParseUint(id, 10, 64)
	return err == nil && 0 < n && n <= r.last
}

// take removes the request with that id.
func (r *requests) take(id string) *request {
	for _, q := range r.pending {
		if q.frame.ID == id {
			r.remove(q)
			return q
		}
	}
	return nil
}

// remove tells whether the request was still without an answer.
func (r *requests) remove(q *request) bool {
	i := slices.Index(r.pending, q)
	if i >= 0 {
		r.pending = slices.Delete(r.pending, i, i+1)
	}
	return i >= 0
}

// fail answers all of them with err.
func (r *requests) fail(err error) {
	pending := r.pending
	r.pending = nil
	for _, q := range pending {
		q.done(signaling.Frame{}, err)
	}
}

// ask sends an rtc request about a call.
func (c *Client) ask(k *call, action signaling.Action, data signaling.RTC, done func(error)) {
	c.request(&request{call: k, done: func(_ signaling.Frame, err error) { done(err) }}, signaling.TypeRTC, action, data)
}

// tell is a request about a call whose refusal is only logged.
func (c *Client) tell(k *call, action signaling.Action, data signaling.RTC) {
	c.ask(k, action, data, func(error) {})
}

// ask sends an rtc request about a leg.
func (l *leg) ask(action signaling.Action, data signaling.RTC, done func(error)) {
	l.c.request(&request{call: l.call, leg: l, done: func(_ signaling.Frame, err error) { done(err) }},
		signaling.TypeRTC, action, data)
}

// request sends a frame, and r.done runs on the queue when it was answered or, at
// level 0, written.
func (c *Client) request(r *request, t signaling.Type, action signaling.Action, data any) {
	if !c.session.begun {
		r.done(signaling.Frame{}, ErrNotConnected)
		return
	}
	c.link.level.request(r, t, action, data)
}

// write puts a frame on a socket.
func (c *Client) write(sock *socket, f signaling.Frame, repeated bool) {
	c.writeThen(sock, f, repeated, func() {})
}

// writeThen has then run, beside the queue, once the frame was written.
func (c *Client) writeThen(sock *socket, f signaling.Frame, repeated bool, then func()) {
	b, err := signaling.Encode(f)
	if err != nil {
		c.failure(c.call, "encode "+f.Kind(), err)
		return
	}
	c.logSent(f, len(b), repeated)
	sock.sendThen(b, then)
}

func (c *Client) logSent(f signaling.Frame, size int, repeated bool) {
	c.count.Sent++
	attrs := []slog.Attr{slog.String("type", string(f.Type)), slog.String("action", string(f.Action)),
		slog.String("request", f.ID), slog.Int("size", size)}
	if repeated {
		attrs = append(attrs, slog.Bool("repeated", true))
	}
	c.callLog(slog.LevelDebug, c.call, eventSent, attrs...)
}

// errorOf is what an error frame says.
func errorOf(f signaling.Frame) *signaling.Error {
	e := new(signaling.Error)
	if err := f.Into(e); err != nil || e.Code == "" {
		return signaling.Errorf(signaling.CodeInternal, "error frame without a code")
	}
	return e
}

// refused logs an error frame, unless it is moot, and returns it.
func (c *Client) refused(f signaling.Frame, r *request) *signaling.Error {
	e := errorOf(f)
	if !r.moot(c, e.Code) {
		c.callEvent(c.call, eventError, slog.String("code", string(e.Code)), slog.String("message", e.Message),
			slog.String("request", f.ID))
	}
	return e
}
