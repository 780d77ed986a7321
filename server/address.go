package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// clientAddr is the address of a request's client: where it comes from, or, if
// that is a trusted proxy, what the proxy says in X-Forwarded-For. The header is
// read from its end, for a client may have begun it; whoever is not trusted is the
// client. An address that cannot be read is the zero one.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	from := parseAddr(r.RemoteAddr)
	if !s.trusts(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next := parseAddr(strings.TrimSpace(hop))
		if !next.IsValid() {
			break
		}
		if from = next; !s.trusts(from) {
			break
		}
	}
	return from
}

func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parseAddr reads an address with or without a port.
func parseAddr(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		ap, _ := netip.ParseAddrPort(text)
		a = ap.Addr()
	}
	return a.Unmap()
}

// Origins makes a CheckOrigin of a list of the web pages that may connect, each
// scheme://host or scheme://host:port, where a host that begins with *. means
// every host below it. Clients that send no Origin, such as apps, may connect,
// and so may pages of the server's own host.
func Origins(list ...string) (func(*http.Request) bool, error) {
	for _, o := range list {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host {
			return nil, fmt.Errorf("origin %q is not like https://app.example.com or https://*.example.com", o)
		}
		if u.Host == "*" || strings.Contains(strings.TrimPrefix(u.Host, "*."), "*") {
			return nil, fmt.Errorf("origin %q lets every page in: name hosts, or those below one as in https://*.example.com", o)
		}
	}
	return func(r *http.Request) bool {
		origin := r.Header.Get("Origin")
		if origin == "" {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && (strings.EqualFold(u.Host, r.Host) || slices.ContainsFunc(list, func(o string) bool { return matches(o, u) }))
	}, nil
}

// matches reports whether an origin is the one that is allowed, or below it.
func matches(allowed string, origin *url.URL) bool {
	scheme, host, _ := strings.Cut(strings.ToLower(allowed), "://")
	is := strings.ToLower(origin.Host)
	if scheme != strings.ToLower(origin.Scheme) {
		return false
	}
	if below, wild := strings.CutPrefix(host, "*"); wild {
		return strings.HasSuffix(is, below) && len(is) > len(below)
	}
	return is == host
}
