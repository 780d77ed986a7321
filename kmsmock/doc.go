// Package kmsmock is a Kurento Media Server 7.3.0 in Go: the same JSON-RPC
// over websocket, the same objects, events, errors and delays, and real media
// (ICE, DTLS, SRTP) through Pion's libraries. It fails on command and says what
// clients left behind.
//
// A Server works on sockets and, given a virtual network and in-memory
// listeners, inside a testing/synctest bubble:
//
//	s, err := kmsmock.New(kmsmock.Config{Net: vnet, Seed: 1})
//	go s.Serve(listener)
//	defer s.Close()
//
// A test of a Kurento client needs three lines; see Start and TestExample.
//
// Rules (AddRule), scripts (AddScript) and commands (Do) make it fail; the same
// in JSON goes to the control endpoint, /_control. docs/kmsmock.md lists them.
//
// Media is forwarded, never transcoded: between peers whose codecs differ the
// server reports TRANSCODING and sends nothing.
//
// # Log
//
// Records have the kind of event as their message: kms.request {method, object,
// operation, type, session, code, cached}, kms.event {object, type, state,
// media, component, sink, code, subject}, kms.object.created and
// kms.object.released {object, class}, kms.conn.opened and kms.conn.closed
// {conn}, kms.session.bound {session, conn}, kms.session.collected {session},
// kms.faults {cross, …}, kms.rule.added and kms.rule.removed {rule}, kms.modes,
// kms.fault {object, type, number, rule, of} for each fault that struck, kms.media.failed {object, step, error}, kms.crashed {error},
// kms.panicked {conn, error, stack} for a mistake of the mock's own,
// kms.started {server} when a dead server lives again.
// Neither descriptions nor TURN URLs nor candidates are logged.
package kmsmock
