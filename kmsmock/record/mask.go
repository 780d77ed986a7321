package record

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A mask takes secrets out of a transcript so that it can be published and still
// replays: the same secret has the same mask throughout. Masks are counted, not
// computed, so that nothing of the secret is in them.
//
// Secrets are ICE passwords, fingerprints of certificates, users and passwords
// in URLs and TURN URLs, mDNS names, public addresses, query strings, the
// server's name, and headers that are not the upgrade's own. Loopback and
// private addresses stay.
type mask struct {
	known map[string]string // secret -> mask
	count map[string]int    // of masks, by kind
	words []string          // secrets that are masked wherever they come again
}

func newMask() *mask { return &mask{known: map[string]string{}, count: map[string]int{}} }

var (
	icePassword = regexp.MustCompile(`(a=ice-pwd:)([A-Za-z0-9+/]+)`)
	fingerprint = regexp.MustCompile(`(?i)(a=fingerprint:sha-[0-9]+ )((?:[0-9A-F]{2}:)+[0-9A-F]{2})`)
	userInURL   = regexp.MustCompile(`("|:\\?/\\?/|\bturns?:)([^"/@\s\\:]+(?::[^"/@\s\\:]+)*):((?:[^"@\s\\:]|\\/)+)@`)
	mdnsName    = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.local\b`)
	ipv4        = regexp.MustCompile(`\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`)
	ipv6        = regexp.MustCompile(`[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*`)
	restUser    = regexp.MustCompile(`^[0-9]{9,11}:`)
)

// text masks a frame.
func (m *mask) text(s string) string {
	s = replaceGroups(icePassword, s, func(g []string) string { return g[1] + m.word("password", g[2], padded(len(g[2]))) })
	s = replaceGroups(fingerprint, s, func(g []string) string { return g[1] + m.as("fingerprint", g[2], hexBytes(len(g[2]))) })
	s = replaceGroups(userInURL, s, func(g []string) string {
		return g[1] + m.user(g[2]) + ":" + m.word("secret", g[3], plain("secret")) + "@"
	})
	s = mdnsName.ReplaceAllStringFunc(s, func(name string) string {
		return m.as("name", name, func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d.local", n) })
	})
	s = ipv4.ReplaceAllStringFunc(s, m.address)
	s = ipv6.ReplaceAllStringFunc(s, m.address)
	for _, w := range m.words {
		s = strings.ReplaceAll(s, w, m.known[w])
	}
	return s
}

// note masks a note.
func (m *mask) note(l *transcript.Line) {
	if l.URL != "" {
		l.URL = m.url(l.URL)
	}
	if before, where, ok := strings.Cut(l.Note, " against "); ok {
		l.Note = before + " against " + m.url(where)
	}
	if l.Payload != "" {
		l.Payload = m.text(l.Payload)
	}
	l.CloseText, l.Header = m.text(l.CloseText), publicHeaders(l.Header)
}

// url leaves of a URL the scheme, the port, the path and the names of the query.
func (m *mask) url(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "ws://kurento.example"
	}
	host := m.address(u.Hostname())
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		host = m.as("host", host, func(n int) string { return fmt.Sprintf("kurento%d.example", n) })
	}
	port := u.Port()
	u.User, u.Host = nil, host
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != "" {
		u.Host = net.JoinHostPort(host, port)
	}
	query := u.Query()
	for name, values := range query {
		for i, v := range values {
			query[name][i] = m.word("value", v, plain("value"))
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// user is the mask of a TURN user; the time until which those of TURN REST hold stays.
func (m *mask) user(name string) string {
	stamp := restUser.FindString(name)
	return stamp + m.word("user", strings.TrimPrefix(name, stamp), plain("user"))
}

// globalUnicast is where the public IPv6 addresses are (RFC 4291).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// address is the mask of a public address: one of those for documentation (RFC
// 5737, RFC 3849).
func (m *mask) address(s string) string {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil, a.Is6() && !globalUnicast.Contains(a):
		return s
	case a.IsLoopback(), a.IsPrivate(), a.IsUnspecified(), a.IsLinkLocalUnicast(), a.IsMulticast(), s == "255.255.255.255":
		return s
	case a.Is4():
		return m.as("ipv4", s, func(n int) string {
			nets := []string{"203.0.113", "198.51.100", "192.0.2"}
			return fmt.Sprintf("%s.%d", nets[(n-1)/254%len(nets)], (n-1)%254+1)
		})
	}
	return m.as("ipv6", a.String(), func(n int) string { return fmt.Sprintf("2001:db8::%x", n) })
}

// as is the mask of a secret, made when it first comes.
func (m *mask) as(kind, secret string, make func(n int) string) string {
	key := kind + " " + secret
	if is, ok := m.known[key]; ok {
		return is
	}
	m.count[kind]++
	m.known[key] = make(m.count[kind])
	return m.known[key]
}

// word is as for a secret that is masked wherever it comes, unless it is so short
// that it would be found in other words.
func (m *mask) word(kind, secret string, make func(n int) string) string {
	is := m.as(kind, secret, make)
	if _, known := m.known[secret]; !known && len(secret) >= 8 {
		m.known[secret] = is
		m.words = append(m.words, secret)
	}
	return is
}

func plain(word string) func(int) string {
	return func(n int) string { return fmt.Sprintf("%s%d", word, n) }
}

// padded counts in words of that many characters.
func padded(length int) func(int) string {
	return func(n int) string { return fmt.Sprintf("masked%0*d", max(0, length-len("masked")), n) }
}

// hexBytes counts in bytes as a fingerprint of that many characters writes them.
func hexBytes(length int) func(int) string {
	return func(n int) string {
		digits := fmt.Sprintf("%0*X", (length+1)/3*2, n)
		var b strings.Builder
		for i := 0; i < len(digits); i += 2 {
			if i > 0 {
				b.WriteByte(':')
			}
			b.WriteString(digits[i : i+2])
		}
		return b.String()
	}
}

// replaceGroups replaces what a pattern matches by what replace makes of its groups.
func replaceGroups(pattern *regexp.Regexp, s string, replace func(groups []string) string) string {
	return pattern.ReplaceAllStringFunc(s, func(found string) string { return replace(pattern.FindStringSubmatch(found)) })
}
