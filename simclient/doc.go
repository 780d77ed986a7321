// Package simclient is the headless caller: the part of an app that signals and
// carries media, without its screen. It speaks the protocol on one WebSocket
// and has one PeerConnection for the call that it is in.
//
// What happens is told through a slog.Logger, one record for each event with
// the event's kind as its message; kinds.go has the list. Nothing else of a
// client can be observed but a snapshot, [Client.State].
//
// Two levels of the protocol differ behind the interface level, in level0.go and
// level1.go: how a session begins and ends, what a request is and when it is
// done, and how a push is understood.
//
// All state belongs to one ordered queue. What a socket reads, what Pion calls
// back, timers and the methods of Client hand it functions, and whatever takes
// long runs beside it and comes back the same way. So no state needs a lock,
// and events are logged in the order in which they took effect.
package simclient
