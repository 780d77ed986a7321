package turn

import (
	"net"
	"net/netip"
)

// denied are addresses that nobody reaches through the relay unless
// Config.Peers allows them: those of the host itself, of the network that it
// stands in, and those that are no host's. Without this, a relay is a way
// around the firewall for everybody with an account (rtcsec.com, "Slack TURN
// compromise", 2020). The list is that of IANA's special-purpose registries
// (RFC 6890); deploy/coturn/turnserver.conf has the same.
var denied = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"::/127", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fc00::/7",
	"fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// reachable reports whether clients may reach a peer. An IPv4 address that is
// written as IPv6 is the IPv4 address: two spellings must not make two answers
// (CVE-2020-26262).
func reachable(peer net.IP, allowed []netip.Prefix) bool {
	ip, ok := netip.AddrFromSlice(peer)
	if !ok {
		return false
	}
	ip = ip.Unmap()
	for _, p := range allowed {
		if p.Contains(ip) {
			return true
		}
	}
	for _, p := range denied {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}
