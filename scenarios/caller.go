package scenarios

import (
	"context"
	"time"
)

// Caller is a client that the script's verbs drive. A refusal by the server is
// returned as a *signaling.Error.
type Caller interface {
	Party
	RoomMember
	Messenger
	Archivist
	App
	Connect(context.Context) error
	// RefreshToken shows a newer token in the middle of a session.
	RefreshToken(context.Context) error
	// Drop breaks the connection as a network does that goes away.
	Drop()
	// Send puts a text message on the connection, whatever it is, and SendBinary a
	// binary one.
	Send(frame []byte) error
	SendBinary(frame []byte) error
	Close() error
}

// Party is what a client does in calls.
type Party interface {
	Call(ctx context.Context, user string) error
	Accept(context.Context) error
	Hangup(context.Context) error
	Reject(context.Context) error
	Busy(context.Context) error
	Cancel(context.Context) error
	// Mute stops sending "audio" or "video", or goes on.
	Mute(ctx context.Context, kind string, on bool) error
}

// Messenger is what a client does in conversations.
type Messenger interface {
	Message(ctx context.Context, user, text string) error
	AskPresence(ctx context.Context, user string) error
	// SetPresence shows the user as "online" or "offline".
	SetPresence(ctx context.Context, status string) error
}

// App is the client's life on its device.
type App interface {
	Background()
	Foreground()
	// Sleep lets the device sleep for d, and returns at once.
	Sleep(d time.Duration)
	// Crash ends the app without a word, for good.
	Crash()
}
