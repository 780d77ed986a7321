package conform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// volatile are results of which only the type is compared.
var volatile = []string{"getCreationTime", "getUsedMemory", "getUsedCpu", "getCpuCount", "getSessions", "getPipelines", "getKmd",
	"getGstreamerDot", "getElementGstreamerDot", "getNetworkInterfaces", "getPosition"}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// ours replaces recorded ids and addresses by those of this run.
func (p *player) ours(s string) string {
	s = uuidPattern.ReplaceAllStringFunc(s, func(id string) string {
		if own, ok := p.ids[id]; ok {
			return own
		}
		return id
	})
	for was, is := range p.target.addresses {
		s = strings.ReplaceAll(s, was, is)
	}
	return s
}

// unify compares a recorded value with ours and learns which ids correspond.
func (p *player) unify(op, path string, want, got any) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			p.unifyObject(op, path, w, g)
		} else {
			p.differs("%s%s is %.300v, want an object", op, path, got)
		}
	case []any:
		p.unifyArray(op, path, w, got)
	case string:
		if g, ok := got.(string); ok {
			p.unifyString(op, path, w, g)
		} else {
			p.differs("%s%s is %.300v, want %.300q", op, path, got, w)
		}
	case float64:
		if g, ok := got.(float64); ok {
			p.unifyNumber(op, path, w, g)
		} else {
			p.differs("%s%s is %.300v, want %v", op, path, got, w)
		}
	default:
		if want != got {
			p.differs("%s%s is %.300v, want %v", op, path, got, want)
		}
	}
}

func (p *player) unifyNumber(op, path string, want, got float64) {
	if op == "getStunServerPort" {
		want = p.port(want)
	}
	if want != got && !slices.Contains(volatile, op) && !strings.HasSuffix(path, ".timestampMillis") {
		p.differs("%s%s is %v, want %v", op, path, got, want)
	}
}

// port is the port of this run for that of a recorded STUN server.
func (p *player) port(recorded float64) float64 {
	was := fmt.Sprintf("127.0.0.1:%.0f", recorded)
	if !slices.Contains(p.target.stun, was) {
		return recorded
	}
	_, port, err := net.SplitHostPort(p.target.addresses[was])
	if err != nil {
		return recorded
	}
	own, err := strconv.ParseFloat(port, 64)
	if err != nil {
		return recorded
	}
	return own
}

func (p *player) unifyArray(op, path string, want []any, got any) {
	g, ok := got.([]any)
	if slices.Contains(volatile, op) && ok {
		return
	}
	if !ok || len(g) != len(want) {
		p.differs("%s%s is %.300v, want %.300v", op, path, got, want)
		return
	}
	if op == "getChildren" { // listed by ids, which are chance
		slices.SortFunc(want, func(a, b any) int { return strings.Compare(p.ours(fmt.Sprint(a)), p.ours(fmt.Sprint(b))) })
		slices.SortFunc(g, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	for i := range want {
		p.unify(op, fmt.Sprintf("%s[%d]", path, i), want[i], g[i])
	}
}

func (p *player) unifyObject(op, path string, want, got map[string]any) {
	if op == "getStats" && path == ".result.value" {
		p.unifyStats(want, got)
		return
	}
	for _, key := range slices.Sorted(keys(want)) {
		if key == "state" && (p.isByChance(p.endpoint, want) || p.isByChance(p.endpoint, got)) {
			continue
		}
		g, ok := got[key]
		if !ok {
			p.differs("%s%s has no %q, want %.300v", op, path, key, want[key])
			continue
		}
		p.unify(op, path+"."+key, want[key], g)
	}
	for _, key := range slices.Sorted(keys(got)) {
		if _, ok := want[key]; !ok {
			p.differs("%s%s has %q too many: %.300v", op, path, key, got[key])
		}
	}
}

// unifyStats compares which members the statistics of a type have. Which
// streams there are is Kurento's own affair: it lists SSRCs that nobody sent.
func (p *player) unifyStats(want, got map[string]any) {
	w, g := statShapes(want), statShapes(got)
	for _, typ := range slices.Sorted(keys(w)) {
		if g[typ] != w[typ] {
			p.differs("statistics of %s have %q, want %q", typ, g[typ], w[typ])
		}
	}
	for _, typ := range slices.Sorted(keys(g)) {
		if w[typ] == "" {
			p.differs("statistics of %s too many", typ)
		}
	}
}

func statShapes(stats map[string]any) map[string]string {
	out := map[string]string{}
	for _, s := range stats {
		m, _ := s.(map[string]any)
		var members []string
		for k, v := range m {
			members = append(members, fmt.Sprintf("%s %T", k, v))
		}
		slices.Sort(members)
		typ, _ := m["type"].(string)
		out[typ] = strings.Join(members, ",")
	}
	return out
}

// masks make comparable what differs from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`o=- \d+ \d+ IN`), "o=- N N IN"},
	{regexp.MustCompile(`a=ssrc:\d+ cname:user\d+@host-[0-9a-f]+`), "a=ssrc:N cname:C"},
	{regexp.MustCompile(`a=ssrc:\d+ `), "a=ssrc:N "},
	{regexp.MustCompile(`a=ice-ufrag:[^\r\n]*`), "a=ice-ufrag:U"},
	{regexp.MustCompile(`a=ice-pwd:[^\r\n]*`), "a=ice-pwd:P"},
	{regexp.MustCompile(`a=fingerprint:sha-256 [0-9A-F:]{95}`), "a=fingerprint:F"},
	// Who dials in is known by its own candidate or from its check, whichever came first.
	{regexp.MustCompile(`candidate:(?:remote\d+|\d{5,}) (\d TCP) \d+ \S+ \d+ typ (?:host|prflx) tcptype active`), "candidate:D $1 R A P"},
	{regexp.MustCompile(`(candidate:\S+ \d (?:UDP|TCP) \d+) \S+ (?:9 (typ \S+ tcptype active)|\d+)`), "$1 A P $2"},
	{regexp.MustCompile(`(raddr) \S+ (rport) (?:(9)\b|\d+)`), "$1 A $2 P$3"},
	{regexp.MustCompile(`candidate:[0-9]{5,} (\d \S+) \d+ `), "candidate:F $1 R "},
	// A peer gives the priority of a peer-reflexive candidate with its check.
	{regexp.MustCompile(`candidate:(remote[0-9]+ \d \S+) \d+ `), "candidate:$1 R "},
	{regexp.MustCompile(`a=sctp-port:\d+`), "a=sctp-port:S"},
	{regexp.MustCompile(`(m=(?:audio|video|application)) \d{3,} `), "$1 P "},
	{regexp.MustCompile(`(c=IN IP[46]|a=rtcp:\d+ IN IP[46]) [1-9a-f]\S+`), "$1 A"},
	{regexp.MustCompile(`a=rtcp:\d+ IN IP4 A`), "a=rtcp:P IN IP4 A"},
	{regexp.MustCompile(`dtlssrtp(enc|dec)\d+`), "dtlssrtp$1"},
	{regexp.MustCompile(`(kms[a-z]+?|nicesrc|dtlsdec|pipeline|sctp[a-z]+)_?\d+`), "$1"},
	{regexp.MustCompile(`agnosticbin\S*-\d+`), "agnosticbin"},
	{regexp.MustCompile(`(?s), debug info: .*`), ""},
}

// mask takes out of a string what differs from run to run.
func mask(s string) string {
	for _, m := range masks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	return s
}

func (p *player) unifyString(op, path, want, got string) {
	if slices.Contains(volatile, op) && strings.HasPrefix(path, ".result") || strings.HasSuffix(path, ".timestampMillis") ||
		strings.HasSuffix(path, ".generationTime") {
		p.learn(want, got)
		return
	}
	p.learn(want, got)
	if w, g := mask(p.ours(want)), mask(got); w != g {
		p.differs("%s%s is %.600q, want %.600q%s", op, path, g, w, firstDifference(w, g))
	}
}

// learn notes which of our ids stand where the recorded ones stood.
func (p *player) learn(want, got string) {
	w, g := uuidPattern.FindAllString(want, -1), uuidPattern.FindAllString(got, -1)
	if len(w) != len(g) {
		return
	}
	for i, id := range w {
		if _, known := p.ids[id]; !known {
			p.ids[id] = g[i]
		}
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\r\n"), strings.Split(got, "\r\n")
	if len(w) < 2 {
		return ""
	}
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf(" (line %d is %q, want %q)", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf(" (%d lines, want %d)", len(g), len(w))
}

// written tells what is wrong with the writing of a frame: Kurento's are
// compact, and the members of an object are in alphabetical order. Empty: nothing.
func written(frame []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, frame) == nil && compact.Len() != len(frame) {
		return "is not compact"
	}
	d := json.NewDecoder(bytes.NewReader(frame))
	var nest []string // the last key of each object that is open; "[" for arrays
	key := false      // the next string is a key
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				nest, key = append(nest, ""), true
				continue
			case '[':
				nest, key = append(nest, "["), false
				continue
			default:
				nest = nest[:len(nest)-1]
			}
		case string:
			if key {
				last := &nest[len(nest)-1]
				if t < *last {
					return fmt.Sprintf("has %q behind %q", t, *last)
				}
				*last, key = t, false
				continue
			}
		}
		key = len(nest) > 0 && nest[len(nest)-1] != "["
	}
}
