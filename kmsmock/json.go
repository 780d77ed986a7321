package kmsmock

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf8"
)

// value is a JSON value in the types that Kurento's JSON library (jsoncpp)
// tells apart: nil, bool, int64, uint64 (only above the int64 range), float64,
// string, array and object.
type (
	value  = any
	array  = []any
	object = map[string]any
)

// maxDepth is the nesting at which Kurento refuses a document. 900 levels were
// accepted and 2000 were not; jsoncpp's own limit is 1000.
const maxDepth = 1000

var errJSON = errors.New("malformed JSON")

// parseJSON reads the first JSON value of data as jsoncpp does: comments are
// skipped, whatever follows the value is ignored, duplicate keys: the last wins.
func parseJSON(data []byte) (value, error) {
	p := jsonParser{data: data}
	v, ok := p.value(0)
	if !ok {
		return nil, errJSON
	}
	return v, nil
}

type jsonParser struct {
	data []byte
	pos  int
}

// skip passes blanks and comments; false means an unterminated comment.
func (p *jsonParser) skip() bool {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '/':
			if !p.comment() {
				return false
			}
		default:
			return true
		}
	}
	return true
}

// blanks passes blanks alone: in front of a colon and in an empty array Kurento
// takes no comment.
func (p *jsonParser) blanks() {
	for p.pos < len(p.data) && (p.data[p.pos] == ' ' || p.data[p.pos] == '\t' || p.data[p.pos] == '\r' || p.data[p.pos] == '\n') {
		p.pos++
	}
}

func (p *jsonParser) comment() bool {
	rest := p.data[p.pos:]
	if len(rest) < 2 {
		return false
	}
	switch rest[1] {
	case '/':
		for p.pos < len(p.data) && p.data[p.pos] != '\n' && p.data[p.pos] != '\r' {
			p.pos++
		}
		return true
	case '*':
		for i := 2; i+1 < len(rest); i++ {
			if rest[i] == '*' && rest[i+1] == '/' {
				p.pos += i + 2
				return true
			}
		}
	}
	return false
}

// next skips blanks and returns the byte there, 0 at the end.
func (p *jsonParser) next() byte {
	if !p.skip() || p.pos >= len(p.data) {
		return 0
	}
	return p.data[p.pos]
}

func (p *jsonParser) value(depth int) (value, bool) {
	if depth >= maxDepth {
		return nil, false
	}
	switch c := p.next(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == 't':
		return true, p.word("true")
	case c == 'f':
		return false, p.word("false")
	case c == 'n':
		return nil, p.word("null")
	case c == '-' || (c >= '0' && c <= '9'):
		return p.number()
	}
	return nil, false
}

func (p *jsonParser) word(w string) bool {
	if len(p.data)-p.pos < len(w) || string(p.data[p.pos:p.pos+len(w)]) != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *jsonParser) object(depth int) (value, bool) {
	p.pos++
	out := object{}
	if p.next() == '}' {
		p.pos++
		return out, true
	}
	for {
		if p.next() != '"' {
			return nil, false
		}
		key, ok := p.key()
		if p.blanks(); !ok || p.pos >= len(p.data) || p.data[p.pos] != ':' {
			return nil, false
		}
		p.pos++
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		out[key] = v
		if done, ok := p.separator('}'); !ok || done {
			return out, ok
		}
	}
}

// memberNames are the names that requests are made of: they need no copy.
var memberNames = func() map[string]string {
	out := map[string]string{}
	for _, name := range []string{
		"jsonrpc", "id", "method", "params", "sessionId", "type", "object", "operation", "operationParams",
		"constructorParams", "subscription", "operations", "interval", "mediaPipeline", "sink", "hub", "uri",
		"mediaType", "candidate", "sdpMid", "sdpMLineIndex", "offer", "answer", "key", "value", "name",
		"__module__", "__type__",
	} {
		out[name] = name
	}
	return out
}()

// key is string for the name of a member.
func (p *jsonParser) key() (string, bool) {
	rest := p.data[p.pos+1:]
	if end := bytes.IndexByte(rest[:min(len(rest), 24)], '"'); end >= 0 {
		if name, ok := memberNames[string(rest[:end])]; ok {
			p.pos += end + 2
			return name, true
		}
	}
	return p.string()
}

func (p *jsonParser) array(depth int) (value, bool) {
	p.pos++
	out := array{}
	p.blanks()
	if p.pos < len(p.data) && p.data[p.pos] == ']' {
		p.pos++
		return out, true
	}
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		out = append(out, v)
		if done, ok := p.separator(']'); !ok || done {
			return out, ok
		}
	}
}

// separator passes a comma or the closing byte, and tells which it was.
func (p *jsonParser) separator(end byte) (done, ok bool) {
	switch p.next() {
	case ',':
		p.pos++
		return false, true
	case end:
		p.pos++
		return true, true
	}
	return false, false
}

func (p *jsonParser) number() (value, bool) {
	start := p.pos
	integer := true
	for ; p.pos < len(p.data); p.pos++ {
		switch c := p.data[p.pos]; {
		case c >= '0' && c <= '9', c == '-' && p.pos == start:
		case c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-':
			integer = false
		default:
			return parseNumber(string(p.data[start:p.pos]), integer)
		}
	}
	return parseNumber(string(p.data[start:p.pos]), integer)
}

func parseNumber(text string, integer bool) (value, bool) {
	if integer {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, true
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return u, true
		}
	}
	if text == "-" {
		return int64(0), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, false
	}
	return f, true
}

func (p *jsonParser) string() (string, bool) {
	p.pos++
	start := p.pos
	for ; p.pos < len(p.data); p.pos++ {
		switch p.data[p.pos] {
		case '"':
			s := string(p.data[start:p.pos])
			p.pos++
			return s, true
		case '\\':
			return p.escaped(start)
		}
	}
	return "", false
}

// escaped reads on from the first backslash of a string that began at start.
func (p *jsonParser) escaped(start int) (string, bool) {
	buf := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		p.pos++
		switch c {
		case '"':
			return string(buf), true
		case '\\':
			var ok bool
			if buf, ok = p.escape(buf); !ok {
				return "", false
			}
		default:
			buf = append(buf, c)
		}
	}
	return "", false
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *jsonParser) escape(buf []byte) ([]byte, bool) {
	if p.pos >= len(p.data) {
		return nil, false
	}
	c := p.data[p.pos]
	p.pos++
	if plain, ok := escapes[c]; ok {
		return append(buf, plain), true
	}
	if c != 'u' {
		return nil, false
	}
	r, ok := p.hex4()
	if !ok {
		return nil, false
	}
	if r >= highSurrogates && r < lowSurrogates {
		if !p.word(`\u`) {
			return nil, false
		}
		low, ok := p.hex4()
		if !ok {
			return nil, false
		}
		// Whatever follows counts as the low half.
		r = 0x10000 + r&0x3ff<<10 + low&0x3ff
	}
	return appendCodePoint(buf, r), true
}

const highSurrogates, lowSurrogates, afterSurrogates = 0xd800, 0xdc00, 0xe000

// appendCodePoint encodes r, a lone low surrogate too: it is kept as what
// UTF-8 does not allow and comes out as U+FFFD.
func appendCodePoint(buf []byte, r rune) []byte {
	if r >= lowSurrogates && r < afterSurrogates {
		return append(buf, 0xe0|byte(r>>12), 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
	}
	return utf8.AppendRune(buf, r)
}

func (p *jsonParser) hex4() (rune, bool) {
	if len(p.data)-p.pos < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.data[p.pos:p.pos+4]), 16, 16)
	p.pos += 4
	return rune(n), err == nil
}
