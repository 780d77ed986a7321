package conform

import (
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// Needs are what a recording takes for granted of its server and surroundings.
type Needs struct {
	// CollectorPeriod is the garbage collection period; 0 is Kurento's own.
	CollectorPeriod time.Duration
	// NoRequestCache says that the response cache is off.
	NoRequestCache bool
	// NoResources says that the server has reached its limit of threads.
	NoResources bool
	// Restart says that the server is killed and started again.
	Restart bool
	// Crash says that a request ends the server.
	Crash bool
	// Relays are the addresses of TURN and STUN servers that answered, as
	// recorded, host:port.
	Relays []string
	// STUN are those of them that were asked for addresses.
	STUN []string
	// RelayAddress is where the TURN servers had their relayed sockets.
	RelayAddress string
	// PeerRelay says that a peer is reached through a TURN server of its own.
	PeerRelay bool
	// Users are the credentials that the TURN servers took, by user.
	Users map[string]string
	// Sockets says that peers or relays need TCP or relays, which virtual networks lack.
	Sockets bool
	// Warm says that the server had made endpoints before.
	Warm bool
	// Clips are the files that players found, with their lengths.
	Clips map[string]time.Duration
	// LoadFigures says that answers hold figures of the machine's load where
	// another run has others.
	LoadFigures bool

	stun stunServer
}

var collectorPeriod = regexp.MustCompile(`garbageCollectorPeriod[ =](\d+) s`)

// A stunServer is what an endpoint was told last.
type stunServer struct{ host, port string }

// NeedsOf reads them off a recording's name and notes.
func NeedsOf(name string, lines []transcript.Line) Needs {
	n := Needs{Users: map[string]string{}, RelayAddress: "127.0.0.1", Warm: isWarm(lines), Clips: clipsOf(lines)}
	n.NoRequestCache = strings.Contains(name, "disableRequestCache")
	silent := false
	for i := range lines {
		l := &lines[i]
		if l.Dir == transcript.Note {
			n.note(l)
			if strings.HasPrefix(l.Note, "---") {
				silent = strings.Contains(l.Note, "nothing listens")
			}
		}
		if l.Dir == transcript.Send {
			n.request(l, silent)
		}
	}
	n.Sockets = n.Sockets || len(n.Relays) > 0 || n.PeerRelay
	return n
}

// coldNegotiation is what the first description of a process takes at least.
const coldNegotiation = 100 * time.Millisecond

// isWarm tells from how long the first description took.
func isWarm(lines []transcript.Line) bool {
	ids := map[string]bool{}
	for i := range lines {
		l := &lines[i]
		var msg struct {
			ID     json.RawMessage
			Params struct{ Operation string }
		}
		if l.Dir == transcript.Note || json.Unmarshal(l.Msg, &msg) != nil {
			continue
		}
		switch op := msg.Params.Operation; {
		case op == "processOffer", op == "generateOffer":
			ids[string(msg.ID)] = true
		case l.Dir == transcript.Recv && ids[string(msg.ID)]:
			return l.Took < float64(coldNegotiation/time.Millisecond)
		}
	}
	return false
}

func (n *Needs) note(l *transcript.Line) {
	if m := collectorPeriod.FindStringSubmatch(l.Note); m != nil && m[1] != "240" {
		n.CollectorPeriod, _ = time.ParseDuration(m[1] + "s")
	}
	n.NoResources = n.NoResources || strings.Contains(l.Note, "exceptionLimit")
	n.Restart = n.Restart || l.Note == "SIGKILL sent"
	n.Crash = n.Crash || strings.HasPrefix(l.Note, "connection ended while waiting")
	n.Sockets = n.Sockets || strings.Contains(l.Note, "TCP network type")
	if fields := strings.Fields(l.CandidateText()); l.Note == "peer local candidate" && kindOf(l.CandidateText()) == "udp relay" {
		n.PeerRelay, n.RelayAddress = true, fields[4]
	}
}

// turnServer is what a TURN URL that works looks like.
var turnServer = regexp.MustCompile(`^(.+):([^:]+)@(127\.[0-9.]+:[0-9]+)(\?transport=(udp|tcp))?$`)

func (n *Needs) request(l *transcript.Line, silent bool) {
	var msg struct {
		Params struct {
			Operation       string
			OperationParams map[string]any
		}
	}
	if json.Unmarshal(l.Msg, &msg) != nil {
		return
	}
	switch args := msg.Params.OperationParams; msg.Params.Operation {
	case "setTurnUrl":
		text, _ := args["turnUrl"].(string)
		m := turnServer.FindStringSubmatch(text)
		if m == nil || silent || strings.HasPrefix(text, "turn:") {
			return
		}
		n.relay(m[3])
		if _, known := n.Users[m[1]]; !known {
			n.Users[m[1]] = m[2]
		}
	case "setStunServerPort":
		n.Sockets = true
		if port, ok := args["stunServerPort"].(float64); ok {
			n.stun.port = strconv.Itoa(int(port))
		}
	case "setStunServerAddress":
		n.stun.host, _ = args["stunServerAddress"].(string)
	case "gatherCandidates":
		if !silent && (n.stun.host == "localhost" || strings.HasPrefix(n.stun.host, "127.")) {
			n.relay(net.JoinHostPort("127.0.0.1", n.stun.port))
			n.STUN = append(n.STUN, net.JoinHostPort("127.0.0.1", n.stun.port))
		}
		n.stun = stunServer{}
	case "getUsedCpu":
		n.LoadFigures = true
	}
}

func (n *Needs) relay(address string) {
	if _, port, err := net.SplitHostPort(address); err == nil && port != "99999" && !slices.Contains(n.Relays, address) {
		n.Relays = append(n.Relays, address)
	}
}

// Skip says why a server that is not ours to set up cannot be held against the
// recording, "" if it can.
func (n Needs) Skip() string {
	switch {
	case n.CollectorPeriod > 0:
		return "another garbage collection period"
	case n.NoRequestCache:
		return "its response cache switched off"
	case n.NoResources:
		return "a limit of threads"
	case n.Restart, n.Crash:
		return "a death in the middle"
	case n.LoadFigures:
		return "a load of its own, whose figures cannot be foreseen"
	}
	return ""
}
