package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// Append renders the event as one line of the file, newline included:
//
//	{"t":1234567,"actor":"alice","kind":"ice.state","state":"connected"}
//
// t is in microseconds since the run began; attributes follow in their order.
func (e Event) Append(b []byte) []byte {
	b = append(b, `{"t":`...)
	b = strconv.AppendInt(b, e.T.Microseconds(), 10)
	b = append(b, `,"actor":`...)
	b = appendString(b, e.Actor)
	b = append(b, `,"kind":`...)
	b = appendString(b, string(e.Kind))
	for _, a := range e.Attrs {
		b = append(b, ',')
		b = appendString(b, a.Key)
		b = append(b, ':')
		b = a.appendValue(b)
	}
	return append(b, '}', '\n')
}

func (a Attr) appendValue(b []byte) []byte {
	switch a.typ {
	case isInt:
		return strconv.AppendInt(b, a.num, 10)
	case isFloat:
		return strconv.AppendFloat(b, a.float, 'g', -1, 64)
	case isBool:
		return strconv.AppendBool(b, a.num == 1)
	case isDuration:
		return strconv.AppendFloat(b, milliseconds(a.num), 'f', -1, 64)
	default:
		return appendString(b, a.str)
	}
}

// appendString quotes s as JSON; text that needs no escaping is the usual case
// and costs no more than a copy.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' || s[i] >= utf8.RuneSelf {
			q, err := json.Marshal(s)
			if err != nil { // a string always marshals
				return append(b, `""`...)
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Parse reads one line of the file.
func Parse(line []byte) (Event, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return Event{}, fmt.Errorf("trace line is not a JSON object: %.60q", line)
	}
	var e Event
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return e, fmt.Errorf("trace line: %w", err)
		}
		v, err := d.Token()
		if err != nil {
			return e, fmt.Errorf("trace line, %v: %w", k, err)
		}
		if err := e.set(k.(string), v); err != nil {
			return e, err
		}
	}
	if e.Kind == "" {
		return e, fmt.Errorf("trace line has no kind: %.60q", line)
	}
	return e, nil
}

func (e *Event) set(key string, v json.Token) error {
	switch key {
	case "t":
		n, ok := v.(json.Number)
		us, err := n.Int64()
		if !ok || err != nil {
			return fmt.Errorf("trace line: t is not a number of microseconds: %v", v)
		}
		e.T = time.Duration(us) * time.Microsecond
	case "actor":
		e.Actor, _ = v.(string)
	case "kind":
		s, _ := v.(string)
		e.Kind = Kind(s)
	default:
		a, err := attrOf(key, v)
		if err != nil {
			return err
		}
		e.Attrs = append(e.Attrs, a)
	}
	return nil
}

func attrOf(key string, v json.Token) (Attr, error) {
	switch v := v.(type) {
	case string:
		return String(key, v), nil
	case bool:
		return Bool(key, v), nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return Int(key, n), nil
		}
		f, err := v.Float64()
		return Float(key, f), err
	default:
		return Attr{}, fmt.Errorf("trace line: %s is neither text, number nor bool", key)
	}
}

// Read calls f for every event of a kept trace. A last line that was cut off,
// as a crash leaves it, ends the reading without an error; any other bad line
// is an error that names its number.
func Read(r io.Reader, f func(Event)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read trace: %w", err)
		}
		e, err := Parse(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		f(e)
	}
}
