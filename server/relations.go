package server

import "github.com/callbench/callbench/signaling"

// Relations are what the product knows of its users. They are asked on the way
// of every message, call and presence and must answer at once, from memory, and
// to many goroutines. Package store implements them.
type Relations interface {
	// Reaches reports whether from may write to, call and see to: to is known
	// and does not block from.
	Reaches(from, to string) bool
	// Contacts lists who is told of the user's presence, and whose presence
	// the user is told of. The order is that in which they are told.
	Contacts(user string) []string
}

// open are the relations of a server that was given none: every user is known
// and may be reached, and nobody is told of anybody's presence without asking.
type open struct{}

// Reaches implements Relations.
func (open) Reaches(string, string) bool { return true }

// Contacts implements Relations.
func (open) Contacts(string) []string { return nil }

// unavailable is the one answer for a user that is unknown, not there, or does
// not want to be reached.
func unavailable() *signaling.Error {
	return signaling.Errorf(signaling.CodeUserUnavailable, "the user cannot be reached")
}

// reach refuses what the session's user wants of a user that it may not reach.
// Everybody reaches oneself.
func (u *session) reach(to string) error {
	if to == u.user || u.srv.cfg.Relations.Reaches(u.user, to) {
		return nil
	}
	return unavailable()
}
