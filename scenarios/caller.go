package scenarios

import (
	"context"
	"time"
)

// Caller is a client that the script's verbs drive. A refusal by the server is
// returned as a *signaling.Error. What a caller may be able to do besides is in
// the interfaces below.
type Caller interface {
	Connect(context.Context) error
	Call(ctx context.Context, user string) error
	Accept(context.Context) error
	Hangup(context.Context) error
	Drop()
	Send(frame []byte) error
	Close() error
}

// Decliner is a callee that can say why it does not answer.
type Decliner interface {
	Reject(context.Context) error
	Busy(context.Context) error
}

// Canceller is a caller that can take a call back.
type Canceller interface {
	Cancel(context.Context) error
}

// Joiner can join a room; "" is the one of the ringing call.
type Joiner interface {
	Join(ctx context.Context, room string) error
}

// Messenger sends IM messages.
type Messenger interface {
	Message(ctx context.Context, user, text string) error
}

// Watcher asks for presence and sets its own, "online" or "offline".
type Watcher interface {
	AskPresence(ctx context.Context, user string) error
	SetPresence(ctx context.Context, status string) error
}

// Refresher shows a newer token in the middle of a session.
type Refresher interface {
	RefreshToken(context.Context) error
}

// App has a life cycle.
type App interface {
	Background(context.Context) error
	Foreground(context.Context) error
	Sleep(context.Context, time.Duration) error
}
