package world

import (
	"net"
	"net/netip"
	"time"

	pion "github.com/pion/turn/v5"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server/turn"
)

// TURN is a TURN server outside, such as Coturn, for the clients of a local world.
type TURN struct {
	URL    string // turn:127.0.0.1:3478?transport=udp
	Secret string // that it verifies TURN REST credentials with
	// Log is the path of Coturn's verbose log, from which its allocations are read.
	// If it is empty nobody can tell them, and scenarios that need allocations are
	// skipped.
	Log string
}

// lacks says which capabilities of TURN a world with this server has not got.
func (t *TURN) lacks(capability string) string {
	switch {
	case capability == "rotation":
		return "the secrets of a TURN server outside are not this world's to change"
	case capability == "allocations" && t.Log == "":
		return "the TURN server outside does not list its allocations, and its log was not named"
	}
	return ""
}

// relays is the TURN server of a world: its own, or one outside.
type relays struct {
	own     *turn.Server // nil if it is outside
	log     *coturnLog   // of the one outside; nil if nobody can tell what it holds
	secrets *turn.Secrets
	issuer  *turn.Issuer
}

// turnParts says where a world puts its TURN server.
type turnParts struct {
	outside *TURN          // used instead, if it is set
	conn    net.PacketConn // where clients come in
	relay   pion.RelayAddressGenerator
	peers   []netip.Prefix // of the media server
	url     string
	ttl     time.Duration
}

// turnLifetime is how long an allocation lives that its client does not
// refresh: short enough for a scenario to see refreshes, and the end of what a
// client left behind that was cut off when it said goodbye.
const turnLifetime = time.Minute

// startTURN starts the world's TURN server, or prepares to use the one outside.
func (y *system) startTURN(p turnParts) error {
	var err error
	if p.outside != nil {
		y.turn, err = outsideTURN(*p.outside, p.ttl)
		return err
	}
	if y.turn, err = newRelays(p.url, turn.RandomSecret(), p.ttl); err != nil {
		return err
	}
	y.turn.own, err = turn.New(turn.Config{PacketConn: p.conn, Relay: p.relay, Secrets: y.turn.secrets, Peers: p.peers, Lifetime: turnLifetime, Log: y.logger("turn")})
	return err
}

// newRelays gives credentials for a TURN server that verifies them with a secret.
func newRelays(url, secret string, ttl time.Duration) (*relays, error) {
	secrets, err := turn.NewSecrets(secret)
	if err != nil {
		return nil, err
	}
	return &relays{secrets: secrets, issuer: &turn.Issuer{URLs: []string{url}, Secrets: secrets, TTL: ttl}}, nil
}

// outsideTURN uses the server of somebody else.
func outsideTURN(t TURN, ttl time.Duration) (*relays, error) {
	y, err := newRelays(t.URL, t.Secret, ttl)
	if err == nil && t.Log != "" {
		y.log, err = openCoturnLog(t.Log)
	}
	return y, err
}

// allocations are what the world's TURN server holds; none if it has no such
// server or nobody can tell.
func (y *relays) allocations() ([]turn.Allocation, error) {
	switch {
	case y != nil && y.own != nil:
		return y.own.Allocations(), nil
	case y != nil && y.log != nil:
		return y.log.allocations()
	}
	return nil, nil
}

// relayed is what a probe finds of allocations.
func (y *relays) relayed() ([]scenarios.Finding, error) {
	list, err := y.allocations()
	var found []scenarios.Finding
	for _, a := range list {
		f := left("turn", a.Relay)
		f.Attrs = append(f.Attrs, trace.String("user", a.User))
		found = append(found, f)
	}
	return found, err
}

// RotateTURN implements scenarios.TURNSecrets.
func (y *system) RotateTURN() { y.turn.secrets.Rotate(turn.RandomSecret()) }

// RevokeTURN implements scenarios.TURNSecrets.
func (y *system) RevokeTURN() { y.turn.secrets.Revoke(turn.RandomSecret()) }

func (y *system) closeTURN() error {
	if y.turn == nil || y.turn.own == nil {
		return nil
	}
	return y.turn.own.Close()
}
