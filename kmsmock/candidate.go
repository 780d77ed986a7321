package kmsmock

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pion/ice/v4"
)

// discardPort is the port of an active TCP candidate, which does not listen.
const discardPort = 9

// A localCandidate is a candidate as it is written in events and descriptions.
type localCandidate struct {
	stream    int
	component int
	address   string // where its socket really is
	port      int
	tcp       bool
	relayed   bool
	text      string
	pair      string // its text as half of the selected pair, "" for the same
}

// A candidateKind is one of the three kinds of host candidates that an address
// gets, with what libnice 0.1.21 adds to its priority.
type candidateKind struct {
	transport string
	tcpType   string // "" for UDP
	direction int    // of the local preference
}

var (
	kindUDP        = candidateKind{"UDP", "", 1}
	kindTCPActive  = candidateKind{"TCP", "active", 4}
	kindTCPPassive = candidateKind{"TCP", "passive", 2}
)

// kindsOfHost are the kinds in Kurento's order, without TCP if that is off.
func kindsOfHost(tcp bool) []candidateKind {
	if !tcp {
		return []candidateKind{kindUDP}
	}
	return []candidateKind{kindUDP, kindTCPActive, kindTCPPassive}
}

// Type preferences of libnice; TCP has half of the first two.
const (
	preferHost     = 120
	preferSrflx    = 100
	preferRelayUDP = 30
	preferRelayTCP = 20
)

// priority is that of RFC 8445 §5.1.2.1 with the local preference of libnice:
// direction, number of the TURN server and position of the address.
func priority(preference, direction, server, position, component int) int {
	return preference<<24 | (direction<<13|server<<6|position)<<8 | (256 - component)
}

func (k candidateKind) priority(preference, position, component int) int {
	if k.tcpType != "" {
		preference /= 2
	}
	return priority(preference, k.direction, 0, position, component)
}

// A relatedAddress is the base of a candidate that is not a host's.
type relatedAddress struct {
	address string
	port    int
}

// candidateText writes a candidate as Kurento does: transport in capitals, no
// extensions but the kind of TCP.
func candidateText(foundation string, component int, transport string, priority int, address string, port int,
	typ string, related *relatedAddress, tcpType string) string {
	out := fmt.Sprintf("candidate:%s %d %s %d %s %d typ %s", foundation, component, transport, priority, address, port, typ)
	if related != nil {
		out += fmt.Sprintf(" raddr %s rport %d", related.address, related.port)
	}
	if tcpType != "" {
		out += " tcptype " + tcpType
	}
	return out
}

// spell writes a remote candidate as Kurento repeats it.
func spell(c ice.Candidate) string {
	foundation, related := c.Foundation(), (*relatedAddress)(nil)
	if c.Type() == ice.CandidateTypePeerReflexive {
		foundation = "remote1"
	} else if r := c.RelatedAddress(); r != nil {
		related = &relatedAddress{r.Address, r.Port}
	}
	tcpType := ""
	switch t := c.TCPType(); {
	case t != ice.TCPTypeUnspecified:
		tcpType = t.String()
	case c.NetworkType().IsTCP():
		tcpType = ice.TCPTypeActive.String() // it has dialled in
	}
	return candidateText(foundation, int(c.Component()), strings.ToUpper(c.NetworkType().NetworkShort()), int(c.Priority()),
		c.Address(), c.Port(), c.Type().String(), related, tcpType)
}

// A hostAddress is an address of the machine that media may use.
type hostAddress struct {
	ip       netip.Addr // with the zone of a link-local one
	position int        // in libnice's list of addresses
}

func (a hostAddress) text() string { return a.ip.WithZone("").String() }

// external is how the address is written in candidates.
func (a hostAddress) external(o *mediaObject) string {
	name := "externalIPv6"
	if a.ip.Is4() {
		name = "externalIPv4"
	}
	if set, _ := o.props[name].(string); set != "" {
		return set
	}
	return a.text()
}
