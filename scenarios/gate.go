package scenarios

import (
	"embed"
	"slices"
)

// gate has the scenarios of systems in containers, whose parts are stopped and cut
// off: the suite's are for every world.
//
//go:embed gate/*.call
var gate embed.FS

func gateNames() []string { return namesIn(gate, "gate") }

// mediaGate are those of the suite that a release has to pass with real media
// before it is let out: what users do every day, and what goes wrong every day. Those
// that take long come first.
var mediaGate = []string{"relay-only", "record-call", "udp-cut", "history", "call-messages", "lost-frames-in-call/way=both",
	"devices-race", "device-comes-late", "call-again", "messages", "offline-messages", "room-broadcast", "room-media-started", "token-revoked",
	"call-back", "hangup-by-caller", "hangup-by-callee", "join", "cancel", "decline", "busy", "blocked-sender", "presence"}

// Gate are the names of the scenarios that a release has to pass in containers.
func Gate() []string { return slices.Concat(mediaGate, gateNames()) }
