package server

import (
	"context"
	"errors"

	"github.com/callbench/callbench/signaling"
)

// Limits of what an Inbox keeps, from docs/protocol.md.
const (
	MaxUndelivered = 1000 // messages that wait for one user
	MaxRepeats     = 256  // messages of one sender that a repetition is recognised of
)

// ErrInboxFull says that MaxUndelivered messages wait for the user already.
var ErrInboxFull = errors.New("the inbox is full")

// Inbox keeps messages until they were delivered. The server calls the methods
// for one user one at a time, each with StoreTimeout, and those for different
// users side by side. Package store implements it.
type Inbox interface {
	// Put stores a message for its owner, who is m.To, or m.From for a copy of
	// the server's own messages. A message for m.To whose MessageID is one of
	// the last MaxRepeats that m.From sent is not stored: fresh is false then,
	// and the letter is the one that was, of which Content may be missing. The
	// error is ErrInboxFull if no more may wait for the owner. A message with
	// Call is the server's own: it repeats none and is none of the last.
	Put(ctx context.Context, owner string, m signaling.Message) (l Letter, fresh bool, err error)
	// Undelivered lists the oldest letters of the owner that have a higher
	// number than after, oldest first, limit of them at most.
	Undelivered(ctx context.Context, owner string, after uint64, limit int) ([]Letter, error)
	// Delivered forgets letters of the owner. Numbers that it does not have
	// are ignored.
	Delivered(ctx context.Context, owner string, numbers ...uint64) error
}

// EagerInbox is an Inbox that knows a letter before it is safe. The server pushes it
// at once then, so that nobody who talks waits for a disk, and answers the sender
// when it is safe.
type EagerInbox interface {
	Inbox
	// PutThen is Put that returns at once. If it returns no error then safe is
	// called once, from any goroutine and perhaps before PutThen returns, with
	// what it returns: when the letter, or the one that it repeats, outlasts the
	// server's death, or with the error why it does not. safe must not wait.
	PutThen(ctx context.Context, owner string, m signaling.Message, safe func(l Letter, fresh bool, err error)) (Letter, bool, error)
}

// Letter is a message that an Inbox keeps for somebody. Numbers of an owner's
// letters grow in the order in which they were put; 0 is none's.
type Letter struct {
	Number  uint64
	Message signaling.Message
}
