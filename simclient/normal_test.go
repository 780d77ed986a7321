package simclient

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// normalizer takes chance out of offers and candidates: what is random becomes
// the name of its kind and a number in the order in which it is met, so that
// the same value still has the same name. That two sections share an ufrag, or
// a candidate a port, remains to be seen.
type normalizer struct{ seen map[string][]string }

func newNormalizer() *normalizer { return &normalizer{seen: map[string][]string{}} }

func (n *normalizer) name(kind, value string) string {
	i := slices.Index(n.seen[kind], value)
	if i < 0 {
		n.seen[kind] = append(n.seen[kind], value)
		i = len(n.seen[kind]) - 1
	}
	return fmt.Sprintf("<%s %d>", kind, i+1)
}

// chances are where chance is in lines, as one group, with the form that it must
// have.
var chances = []struct {
	kind string
	at   *regexp.Regexp
}{
	{"session", regexp.MustCompile(`^o=- (\d{1,19}) `)},
	{"ufrag", regexp.MustCompile(`^a=ice-ufrag:([A-Za-z0-9+/]{4})$`)},
	{"pwd", regexp.MustCompile(`^a=ice-pwd:([A-Za-z0-9+/]{24})$`)},
	{"fingerprint", regexp.MustCompile(`^a=fingerprint:sha-256 ([0-9A-F]{2}(?::[0-9A-F]{2}){31})$`)},
	{"stream", regexp.MustCompile(`(?:msid:|WMS )([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})`)},
	{"track", regexp.MustCompile(`msid:<stream \d+> ([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})$`)},
	{"ssrc", regexp.MustCompile(`^a=ssrc:(\d{1,10}) `)},
	{"ssrc", regexp.MustCompile(`^a=ssrc-group:FID (\d{1,10}) `)},
	{"ssrc", regexp.MustCompile(`^a=ssrc-group:FID <ssrc \d+> (\d{1,10})$`)},
	{"cname", regexp.MustCompile(` cname:([A-Za-z0-9+/]{16})$`)},
	{"foundation", regexp.MustCompile(`^candidate:(\d{1,10}) `)},
	{"name", regexp.MustCompile(` ([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.local) `)},
	{"address", regexp.MustCompile(` (\d+\.\d+\.\d+\.\d+) \d+ typ`)},
	{"port", regexp.MustCompile(` (\d{4,5}) typ`)}, // not 9
	{"ufrag", regexp.MustCompile(` ufrag ([A-Za-z0-9+/]{4})(?: |$)`)},
	{"ufrag", regexp.MustCompile(`^usernameFragment ([A-Za-z0-9+/]{4})$`)},
}

func (n *normalizer) line(line string) string {
	for _, c := range chances {
		if at := c.at.FindStringSubmatchIndex(line); at != nil {
			line = line[:at[2]] + n.name(c.kind, line[at[2]:at[3]]) + line[at[3]:]
		}
	}
	return line
}

// offer is an offer's lines without chance.
func (n *normalizer) offer(text string) []string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		lines = append(lines, n.line(line))
	}
	return lines
}

// networkBits are the part of a priority that says which network it is: with
// more than one, or with IPv6, the numbers differ from machine to machine.
const networkBits = 0xff << 16

// candidates are candidates as lines without chance: each as text, and what the
// app sends along. Of several networks only the first one with IPv4 is looked
// at, because how many there are is up to the machine. The end of candidates is
// "end".
func (n *normalizer) candidates(all []*trickled) []string {
	network := ""
	var lines []string
	for _, c := range all {
		if c == nil || c.Candidate == "" {
			lines = append(lines, "end")
			continue
		}
		fields := strings.Fields(c.Candidate)
		bits, err := strconv.ParseUint(fields[3], 10, 32)
		if err != nil || bits>>8&0xff != preferIPv4 {
			continue
		}
		if i := slices.Index(fields, "network-id"); i > 0 {
			if network == "" {
				network = fields[i+1]
			}
			if fields[i+1] != network {
				continue
			}
			fields[i+1] = "1"
			bits = bits&^networkBits | 127<<16
		}
		fields[3] = strconv.FormatUint(bits, 10)
		lines = append(lines, n.line(strings.Join(fields, " ")), fmt.Sprintf("sdpMid %s sdpMLineIndex %d", c.SDPMid, c.SDPMLineIndex))
		if c.UsernameFragment != "" {
			lines = append(lines, n.line("usernameFragment "+c.UsernameFragment))
		}
	}
	return lines
}

// differ lists what has to be taken away from and added to a for it to be b, as
// "-line" and "+line" in their order.
func differ(a, b []string) []string {
	longest := make([][]int, len(a)+1) // common subsequence of a[i:] and b[j:]
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	var diffs []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			diffs = append(diffs, "-"+a[i])
			i++
		default:
			diffs = append(diffs, "+"+b[j])
			j++
		}
	}
	return diffs
}

// TestNormalizer: whatever characters chance draws, it is taken out; and what is
// the same stays the same.
func TestNormalizer(t *testing.T) {
	n := newNormalizer()
	for line, want := range map[string]string{
		"a=ice-ufrag:a/+b":                "a=ice-ufrag:<ufrag 1>",
		"a=ssrc:7 cname:0123456789abcd+/": "a=ssrc:<ssrc 1> cname:<cname 1>",
		"o=- 7 2 IN IP4 127.0.0.1":        "o=- <session 1> 2 IN IP4 127.0.0.1",
	} {
		if got := n.line(line); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	got := n.line("candidate:1 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active generation 0 ufrag gCM+ network-id 1")
	if want := "candidate:<foundation 1> 1 tcp 1518280447 <address 1> 9 typ host tcptype active generation 0 ufrag <ufrag 2> network-id 1"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
