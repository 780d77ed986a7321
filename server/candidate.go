package server

import (
	"net/netip"
	"strings"

	"github.com/pion/ice/v4"

	"github.com/callbench/callbench/signaling"
)

// maxCandidate is the longest candidate that is accepted, in bytes. Chromium's
// longest, a TURN candidate over IPv6, has some 200.
const maxCandidate = 512

// Candidate is an ICE candidate on its way between a member and the media
// server.
type Candidate struct {
	Text          string // candidate-attribute of RFC 8839, beginning with "candidate:"
	SDPMid        string // the media section that it belongs to
	SDPMLineIndex int
	Fragment      string // ufrag of the offer that it belongs to, if the member says so
}

// received is a candidate as a member sent it: its media section may be named
// by sdpMid, by sdpMLineIndex or not at all.
type received struct {
	Candidate
	hasMid, hasIndex bool
}

// readCandidate checks a member's candidate. pass is false for one
// that the media server should not see: the end of candidates, which Kurento
// ignores, and mDNS names, which Kurento resolves while everything behind them
// waits (6.1 s each where no DNS answers). Without a member's host candidates
// its address is found as a peer-reflexive one.
func readCandidate(in signaling.ICECandidate, loopback bool) (c received, pass bool, err error) {
	if in.Candidate == "" {
		return c, false, nil
	}
	text := strings.TrimPrefix(in.Candidate, "a=")
	if len(text) > maxCandidate || strings.IndexFunc(text, isControl) >= 0 {
		return c, false, signaling.Errorf(signaling.CodeInvalidCandidate, "too long or with control characters")
	}
	parsed, err := ice.UnmarshalCandidate(text)
	if err != nil {
		return c, false, signaling.Errorf(signaling.CodeInvalidCandidate, "%v", err)
	}
	if strings.HasSuffix(parsed.Address(), ".local") {
		return c, false, nil
	}
	if err := checkTarget(parsed, loopback); err != nil {
		return c, false, err
	}
	c.Text = "candidate:" + strings.TrimPrefix(text, "candidate:")
	c.Fragment = in.UsernameFragment
	if ext, ok := parsed.GetExtension("ufrag"); ok && c.Fragment == "" {
		c.Fragment = ext.Value
	}
	c.SDPMid, c.hasMid = in.SDPMid, in.SDPMid != ""
	if in.SDPMLineIndex != nil {
		c.SDPMLineIndex, c.hasIndex = *in.SDPMLineIndex, true
	}
	return c, true, nil
}

// Ports below lowestPort belong to services, which are not clients. A client
// that only dials has discardPort (RFC 6544).
const (
	lowestPort  = 1024
	discardPort = 9
)

// checkTarget refuses a candidate that points where no client is. The media
// server sends its checks to whatever address it is told, from inside the
// network that it stands in.
func checkTarget(c ice.Candidate, loopback bool) error {
	addr, err := netip.ParseAddr(c.Address())
	if err != nil {
		return signaling.Errorf(signaling.CodeInvalidCandidate, "the address is none")
	}
	addr = addr.Unmap().WithZone("")
	switch {
	case addr.IsLoopback() && loopback:
	case addr.IsLoopback(), addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), addr == broadcast:
		return signaling.Errorf(signaling.CodeInvalidCandidate, "there is no client at this address")
	}
	active := c.TCPType() == ice.TCPTypeActive && c.Port() == discardPort
	if c.Port() < lowestPort && !active {
		return signaling.Errorf(signaling.CodeInvalidCandidate, "there is no client at a port below %d", lowestPort)
	}
	return nil
}

// broadcast is IPv4's limited broadcast (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// place completes a candidate from the media sections of the offer that it
// belongs to, because Kurento needs sdpMid and sdpMLineIndex both (40001) and
// goes by the index. stale is true for a candidate of an earlier offer.
func (r received) place(o *offer) (c Candidate, stale bool, err error) {
	if r.Fragment != "" && !o.hasFragment(r.Fragment) {
		return r.Candidate, true, nil
	}
	c = r.Candidate
	switch {
	case r.hasMid:
		i := o.indexOf(r.SDPMid)
		if i < 0 {
			return c, false, signaling.Errorf(signaling.CodeInvalidCandidate, "the offer has no media section %q", r.SDPMid)
		}
		c.SDPMLineIndex = i
	case c.SDPMLineIndex < 0 || c.SDPMLineIndex >= len(o.sections):
		return c, false, signaling.Errorf(signaling.CodeInvalidCandidate, "the offer has no media section %d", c.SDPMLineIndex)
	default: // by index; without one too, the first section: they are bundled
		c.SDPMid = o.sections[c.SDPMLineIndex].mid
	}
	return c, false, nil
}
