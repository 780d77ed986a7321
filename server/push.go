package server

import (
	"context"
	"errors"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Push wakes devices that are not connected, by what their makers have for that:
// APNs, FCM. Package push has one that leaves it to a webhook.
type Push interface {
	// Notify returns when the notification was taken or is given up, and no
	// later than its context ends. It may be called by many goroutines; those of
	// one call come one after the other, cancel last.
	Notify(ctx context.Context, n Notification) error
}

// ErrPushGone says that the user has no device that could be woken.
var ErrPushGone = errors.New("the user has no device to wake")

// Notification is what a device that is not connected is told of a call.
type Notification struct {
	Type    NotificationType
	CallID  string
	RoomID  string
	From    string           // the caller
	To      string           // the user that is called
	Expires time.Time        // until then the call can be answered
	Reason  signaling.Reason // of a cancel: why the device need not ring any more
}

// NotificationType is what a Notification is about.
type NotificationType string

// The types of notifications.
const (
	NotifyInvite NotificationType = "invite" // the user is called
	NotifyCancel NotificationType = "cancel" // the call need not ring any more
)

// hushed is why the ringing of a call that Push was told of has ended.
type hushed struct{ reason signaling.Reason }

func (h hushed) Error() string { return "the ringing has ended: " + string(h.reason) }

// mayWake reports whether Push may find a device that answers, though none is
// connected.
func (c *call) mayWake() bool {
	return c.srv.cfg.Push != nil && (!c.woken || c.hush != nil)
}

// wake has Push wake the callee's devices, once in a call: when none of those that
// ring is connected, or in any case if PushAll says so.
func (c *call) wake() {
	if c.srv.cfg.Push == nil || c.woken || !c.srv.cfg.PushAll && c.attended() {
		return
	}
	c.woken = true
	until, cancel := context.WithDeadline(c.srv.pushing, c.expires)
	ringing, end := context.WithCancelCause(until)
	c.hush = func(reason signaling.Reason) { end(hushed{reason}) }
	n := Notification{Type: NotifyInvite, CallID: c.callID, RoomID: c.id, From: c.caller.user, To: c.to, Expires: c.expires}
	c.srv.work.Add(1)
	go func() {
		defer c.srv.work.Done()
		defer cancel()
		c.notify(ringing, n)
	}()
}

// attended reports whether a device that rings is connected.
func (c *call) attended() bool {
	for _, m := range c.members {
		if m != c.caller && !m.left && m.session.attached() {
			return true
		}
	}
	return false
}

// silence has Push tell the devices that it has woken that the call need not ring
// any more, and why. What has run out by itself need not be told.
func (c *call) silence(reason signaling.Reason) {
	if c.hush == nil {
		return
	}
	if reason == signaling.ReasonDeclined {
		reason = signaling.ReasonDeclinedElsewhere
	}
	c.hush(reason)
	c.hush = nil
}

// notify gives Push the invitation and, when the ringing has ended before its
// time, the cancellation.
func (c *call) notify(ringing context.Context, n Notification) {
	err := c.srv.notify(ringing, n)
	if errors.Is(err, ErrPushGone) {
		c.queue.Do(func() { c.hush = nil })
		return
	}
	<-ringing.Done()
	var why hushed
	if !errors.As(context.Cause(ringing), &why) || why.reason == signaling.ReasonNoAnswer {
		return
	}
	n.Type, n.Reason = NotifyCancel, why.reason
	ctx, cancel := context.WithDeadline(c.srv.pushing, n.Expires)
	defer cancel()
	_ = c.srv.notify(ctx, n)
}

// notify asks Push, and counts and logs what became of it.
func (s *Server) notify(ctx context.Context, n Notification) error {
	err := s.cfg.Push.Notify(ctx, n)
	outcome := "ok"
	switch {
	case errors.Is(err, ErrPushGone):
		outcome = "gone"
	case err != nil && errors.As(context.Cause(ctx), new(hushed)):
		outcome = "moot"
	case err != nil:
		outcome = "error"
	}
	s.metrics.notified.WithLabelValues(string(n.Type), outcome).Inc()
	attrs := []any{"call", n.CallID, "room", n.RoomID, "user", n.To, "type", string(n.Type), "outcome", outcome}
	if outcome == "error" {
		s.log.Warn("push.notified", append(attrs, "error", err.Error())...)
		return err
	}
	s.log.Info("push.notified", attrs...)
	return err
}
