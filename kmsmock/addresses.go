package kmsmock

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pion/transport/v5"
)

// recordedPosition is the position of the loopback interface, behind three
// other addresses, in the list of the machine that was recorded; priorities
// depend on it. A virtual network starts there too.
const recordedPosition = 3

// hostAddresses lists the addresses to gather candidates on: the first IPv4
// address of each named interface, else every address of all but loopback.
func (s *Server) hostAddresses(names string) ([]hostAddress, error) {
	interfaces, err := s.net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	wanted := strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })
	var out []hostAddress
	for _, name := range wanted {
		for _, i := range interfaces {
			if i.Name != name {
				continue
			}
			if own := s.positioned(i, addressesOf(i, true), 0); len(own) > 0 {
				out = append(out, own[0])
			}
		}
	}
	if len(wanted) > 0 {
		return out, nil
	}
	for _, v4 := range []bool{true, false} {
		for _, i := range interfaces {
			if i.Flags&net.FlagLoopback == 0 && s.running(i) {
				out = append(out, s.positioned(i, addressesOf(i, v4), len(out))...)
			}
		}
	}
	return out, nil
}

// running tells whether an interface works; virtual ones only say that they
// are up.
func (s *Server) running(i *transport.Interface) bool {
	return i.Flags&net.FlagUp != 0 && (s.cfg.Net != nil || i.Flags&net.FlagRunning != 0)
}

func (s *Server) positioned(i *transport.Interface, ips []netip.Addr, first int) []hostAddress {
	if s.cfg.Net != nil || i.Flags&net.FlagLoopback != 0 {
		first += recordedPosition
	}
	out := make([]hostAddress, len(ips))
	for n, ip := range ips {
		out[n] = hostAddress{ip: ip, position: first + n}
	}
	return out
}

// addressesOf lists an interface's addresses of one IP version.
func addressesOf(i *transport.Interface, v4 bool) []netip.Addr {
	list, err := i.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		if ip = ip.Unmap(); ip.IsLinkLocalUnicast() && !ip.Is4() {
			ip = ip.WithZone(i.Name)
		}
		if ip.Is4() == v4 && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}
