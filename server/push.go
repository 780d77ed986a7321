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
