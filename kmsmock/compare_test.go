package kmsmock

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// volatile are results of which only the type is compared.
var volatile = []string{"getCreationTime", "getUsedMemory", "getUsedCpu", "getCpuCount", "getSessions", "getPipelines", "getKmd",
	"getGstreamerDot", "getNetworkInterfaces"}

// unify compares a recorded value with ours and learns which ids correspond.
func (p *player) unify(op, path string, want, got any) {
	p.t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			p.errorf("%s%s is %v, want an object", op, path, got)
			return
		}
		p.unifyObject(op, path, w, g)
	case []any:
		g, ok := got.([]any)
		if !ok || (len(g) != len(w) && !slices.Contains(volatile, op)) {
			p.errorf("%s%s is %.300v, want %.300v", op, path, got, want)
			return
		}
		for i := range min(len(w), len(g)) {
			if !slices.Contains(volatile, op) {
				p.unify(op, fmt.Sprintf("%s[%d]", path, i), w[i], g[i])
			}
		}
	case string:
		g, ok := got.(string)
		if !ok {
			p.errorf("%s%s is %.200v, want %.200q", op, path, got, w)
			return
		}
		p.unifyString(op, path, w, g)
	default:
		if slices.Contains(volatile, op) && fmt.Sprintf("%T", want) == fmt.Sprintf("%T", got) {
			return
		}
		if want != got && !strings.HasSuffix(path, ".timestampMillis") {
			p.errorf("%s%s is %v, want %v", op, path, got, want)
		}
	}
}

func (p *player) unifyObject(op, path string, want, got map[string]any) {
	p.t.Helper()
	if os.Getenv("CALLBENCH_KMS_URL") == "" && want["__type__"] == "ModuleInfo" {
		delete(want, "factories") // fewer classes here
		delete(got, "factories")
	}
	if op == "getStats" && path == ".result.value" {
		p.unifyStats(want, got)
		return
	}
	for key, w := range want {
		g, ok := got[key]
		if !ok {
			p.errorf("%s%s has no %q", op, path, key)
			continue
		}
		p.unify(op, path+"."+key, w, g)
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			p.errorf("%s%s has %q too many", op, path, key)
		}
	}
}

// unifyStats compares which members the statistics of a type have. Which
// streams there are is Kurento's own affair: it lists SSRCs that nobody sent.
func (p *player) unifyStats(want, got map[string]any) {
	p.t.Helper()
	shapes := func(stats map[string]any) map[string]string {
		out := map[string]string{}
		for _, s := range stats {
			m := s.(map[string]any)
			keys := []string{}
			for k, v := range m {
				keys = append(keys, fmt.Sprintf("%s %T", k, v))
			}
			slices.Sort(keys)
			out[m["type"].(string)] = strings.Join(keys, ",")
		}
		return out
	}
	w, g := shapes(want), shapes(got)
	for typ, keys := range w {
		if g[typ] != keys {
			p.errorf("statistics of %s have %q, want %q", typ, g[typ], keys)
		}
	}
}

// masks make comparable what differs from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`o=- \d+ \d+ IN`), "o=- N N IN"},
	{regexp.MustCompile(`a=ssrc:\d+ cname:user\d+@host-[0-9a-f]+`), "a=ssrc:N cname:C"},
	{regexp.MustCompile(`a=ice-ufrag:\S{4}\r`), "a=ice-ufrag:U\r"},
	{regexp.MustCompile(`a=ice-pwd:\S{22}\r`), "a=ice-pwd:P\r"},
	{regexp.MustCompile(`a=fingerprint:sha-256 [0-9A-F:]{95}`), "a=fingerprint:F"},
	{regexp.MustCompile(`(candidate:\S+ \d (?:UDP|TCP) \d+) \S+ (?:9 (typ host tcptype active)|\d+)`), "$1 A P $2"},
	{regexp.MustCompile(`candidate:[0-9]{5,} `), "candidate:F "},
	{regexp.MustCompile(`a=sctp-port:\d+`), "a=sctp-port:S"},
	{regexp.MustCompile(`(m=(?:audio|video)) \d{3,} `), "$1 P "},
	{regexp.MustCompile(`(c=IN IP4|a=rtcp:\d+ IN IP4) (?:127|10)\.\S+`), "$1 A"},
	{regexp.MustCompile(`a=rtcp:\d+ IN IP4 A`), "a=rtcp:P IN IP4 A"},
	{regexp.MustCompile(`dtlssrtp(enc|dec)\d+`), "dtlssrtp$1"},
	{regexp.MustCompile(`(kms[a-z]+?|nicesrc|dtlsdec|pipeline)\d+`), "$1"},
	{regexp.MustCompile(`agnosticbin\S*-\d+`), "agnosticbin"},
	{regexp.MustCompile(`(?s), debug info: .*`), ""},
}

func mask(s string) string {
	for _, m := range masks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	return s
}

func (p *player) unifyString(op, path, want, got string) {
	p.t.Helper()
	if slices.Contains(volatile, op) || strings.HasSuffix(path, ".timestampMillis") || strings.HasSuffix(path, ".generationTime") {
		return
	}
	wantIDs, gotIDs := uuidPattern.FindAllString(want, -1), uuidPattern.FindAllString(got, -1)
	if len(wantIDs) == len(gotIDs) {
		for i, id := range wantIDs {
			if _, known := p.ids[id]; !known {
				p.ids[id] = gotIDs[i]
			}
		}
	}
	if w, g := mask(p.ours(want)), mask(got); w != g {
		p.errorf("%s%s is %q, want %q%s", op, path, g, w, firstDifference(w, g))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\r\n"), strings.Split(got, "\r\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("\n\tfirst at line %d: %q, want %q", i+1, g[i], w[i])
		}
	}
	return ""
}

// eventKey writes an event so that two of different runs can be compared.
func eventKey(object, typ string, data map[string]any) string {
	clean := map[string]any{}
	for k, v := range data {
		if s, ok := v.(string); ok {
			v = mask(s)
		}
		if m, ok := v.(map[string]any); ok {
			inner := map[string]any{}
			for ik, iv := range m {
				if s, ok := iv.(string); ok {
					iv = mask(s)
				}
				inner[ik] = iv
			}
			v = inner
		}
		clean[k] = v
	}
	if ts, ok := clean["timestampMillis"].(string); ok && regexp.MustCompile(`^\d{12,13}$`).MatchString(ts) {
		clean["timestampMillis"] = "T"
	}
	b, _ := json.Marshal(clean)
	return typ + " of " + object + " " + string(b)
}

// compareEvents compares the events of the whole run as sets that may contain
// an event several times: Kurento promises no order.
func (p *player) compareEvents() {
	count := map[string]int{}
	for _, w := range p.raw {
		v := w["params"].(map[string]any)["value"].(map[string]any)
		b, _ := json.Marshal(v)
		var own map[string]any
		_ = json.Unmarshal([]byte(p.ours(string(b))), &own)
		count[eventKey(own["object"].(string), own["type"].(string), own["data"].(map[string]any))]++
	}
	for _, e := range p.got {
		if p.foreign(e) {
			continue
		}
		count[eventKey(e.object, e.typ, e.data)]--
	}
	for key, n := range count {
		if p.racy != "" && strings.HasPrefix(key, p.racy+" of ") {
			continue
		}
		if n > 0 {
			p.t.Errorf("%d events missing: %s", n, key)
		} else if n < 0 {
			p.t.Errorf("%d events too many: %s", -n, key)
		}
	}
}

// foreign tells whether an event of the server manager is about an object that
// someone else made, on a server that is not ours alone.
func (p *player) foreign(e testEvent) bool {
	subject, _ := e.data["objectId"].(string)
	if subject == "" {
		subject, _ = e.data["object"].(string)
	}
	if e.object != managerID {
		return false
	}
	for _, own := range p.ids {
		if strings.Contains(subject, own) {
			return false
		}
	}
	return true
}
