package simclient

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// Type preferences of libwebrtc (p2p/base/port.h). Those of RFC 8445 §5.1.2.2 are
// only recommended.
const (
	preferHost  = 126
	preferTCP   = 90
	preferSrflx = 100
	preferRelay = 2
)

// preferIPv4 is the part of libwebrtc's local preference that the address family
// makes (rtc_base/ip_address.cc, IPAddressPrecedence).
const preferIPv4 = 30

// hiddenCost is the network cost of a candidate whose address is hidden.
const hiddenCost = 999

// candidateWriter writes the candidates of a leg as the profile's stack does:
// for each media section until the answer has bundled them, and with TCP
// candidates behind the others, which only say that this side could dial.
type candidateWriter struct {
	sections int
	fragment bool // the frame names the ufrag
	hides    bool // addresses
	cost     int
	networks []string // addresses, in the order of their ids from 1
	names    []string // of the networks, if they are hidden
	active   []string // TCP candidates that are still to be written
}

func (c *Client) newCandidateWriter(k *call) candidateWriter {
	p := &c.cfg.Profile
	return candidateWriter{sections: len(k.media.sections), fragment: p.UsernameFragment, cost: p.NetworkCost,
		hides: p.HidesAddresses && c.cfg.NoCamera && c.cfg.NoMicrophone}
}

// write writes a candidate of Pion's; nil is the end of candidates. What an app
// makes of the event without a candidate, the last one, is the protocol's empty
// candidate.
func (w *candidateWriter) write(c *webrtc.ICECandidate, ufrag string, bundled bool) []signaling.ICECandidate {
	sections := w.sections
	if bundled {
		sections = 1
	}
	if c == nil {
		all := w.repeat(w.active, ufrag, sections)
		w.active = nil
		return append(all, w.repeat([]string{""}, ufrag, 1)...)
	}
	return w.repeat([]string{w.line(c, ufrag)}, ufrag, sections)
}

// repeat gives every line to every section.
func (w *candidateWriter) repeat(lines []string, ufrag string, sections int) []signaling.ICECandidate {
	var all []signaling.ICECandidate
	for i := range sections {
		for _, line := range lines {
			out := signaling.ICECandidate{Candidate: line, SDPMid: strconv.Itoa(i), SDPMLineIndex: &i}
			if w.fragment {
				out.UsernameFragment = ufrag
			}
			all = append(all, out)
		}
	}
	return all
}

// line is the candidate-attribute (RFC 8839 §5.1).
func (w *candidateWriter) line(c *webrtc.ICECandidate, ufrag string) string {
	id := w.network(c)
	var b strings.Builder
	address, network, typ := c.Address, id, preferHost
	related := ""
	switch c.Typ {
	case webrtc.ICECandidateTypeSrflx:
		typ = preferSrflx
		related = fmt.Sprintf(" raddr %s rport %d", c.RelatedAddress, c.RelatedPort)
	case webrtc.ICECandidateTypeRelay:
		typ = preferRelay
		related = fmt.Sprintf(" raddr %s rport %d", c.RelatedAddress, c.RelatedPort)
	}
	switch {
	case w.hides && related != "":
		related = " raddr 0.0.0.0 rport 0"
	case w.hides:
		address, network = w.names[id-1], 0
	case related == "":
		w.dial(c.Address, id, ufrag)
	}
	fmt.Fprintf(&b, "candidate:%s %d %s %d %s %d typ %s%s generation 0 ufrag %s", c.Foundation, c.Component, c.Protocol,
		priority(typ, network), address, c.Port, c.Typ, related, ufrag)
	w.suffix(&b, network)
	return b.String()
}

// dial notes a TCP candidate of a host address. Pion does not dial, so that it
// only tells what a real client could do; port 9 stands for any (RFC 6544 §4.5).
func (w *candidateWriter) dial(address string, id int, ufrag string) {
	var b strings.Builder
	foundation := crc32.ChecksumIEEE([]byte("host tcp " + address + " " + ufrag))
	fmt.Fprintf(&b, "candidate:%d 1 tcp %d %s 9 typ host tcptype active generation 0 ufrag %s",
		foundation, priority(preferTCP, id), address, ufrag)
	w.suffix(&b, id)
	w.active = append(w.active, b.String())
}

// suffix writes what libwebrtc says of the network.
func (w *candidateWriter) suffix(b *strings.Builder, network int) {
	cost := w.cost
	if network > 0 {
		fmt.Fprintf(b, " network-id %d", network)
	} else {
		cost = hiddenCost
	}
	if cost > 0 {
		fmt.Fprintf(b, " network-cost %d", cost)
	}
}

// network is the id of the network that a candidate is of, from 1. That of a
// relayed one is not known if it went out through another address.
func (w *candidateWriter) network(c *webrtc.ICECandidate) int {
	base := c.Address
	if c.Typ != webrtc.ICECandidateTypeHost {
		base = c.RelatedAddress
	}
	if i := slices.Index(w.networks, base); i >= 0 {
		return i + 1
	}
	w.networks, w.names = append(w.networks, base), append(w.names, newUUID()+".local")
	return len(w.networks)
}

// priority is libwebrtc's: the networks in their order, IPv6 before IPv4. A
// hidden address is of network 0, which stands for none.
func priority(typ, network int) uint32 {
	local := 0
	if network > 0 {
		local = 128 - network
	}
	return uint32(typ)<<24 | uint32(local)<<16 | preferIPv4<<8 | 255
}
