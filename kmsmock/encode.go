package kmsmock

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// appendJSON writes v as Kurento does: compact, keys in alphabetical order,
// everything outside ASCII as \uXXXX, '/', '<', '>' and '&' as they are.
func appendJSON(buf []byte, v value) []byte {
	switch v := v.(type) {
	case nil:
		return append(buf, "null"...)
	case bool:
		return strconv.AppendBool(buf, v)
	case int:
		return strconv.AppendInt(buf, int64(v), 10)
	case int64:
		return strconv.AppendInt(buf, v, 10)
	case uint64:
		return strconv.AppendUint(buf, v, 10)
	case float32:
		return appendFloat(buf, float64(v))
	case float64:
		return appendFloat(buf, v)
	case string:
		return appendString(buf, v)
	case []string:
		return appendStrings(buf, v)
	case array:
		return appendArray(buf, v)
	case object:
		return appendObject(buf, v)
	}
	panic("kmsmock: value of a type that has no JSON form")
}

// appendFloat writes 17 significant digits and always a point or an exponent,
// which is how jsoncpp keeps a double apart from an integer. Infinities, which
// 32-bit properties can hold, are numbers too large for any.
func appendFloat(buf []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(buf, "null"...)
	case math.IsInf(f, 1):
		return append(buf, "1e+9999"...)
	case math.IsInf(f, -1):
		return append(buf, "-1e+9999"...)
	}
	text := strconv.FormatFloat(f, 'g', 17, 64)
	buf = append(buf, text...)
	if !strings.ContainsAny(text, ".e") {
		buf = append(buf, ".0"...)
	}
	return buf
}

func appendStrings(buf []byte, list []string) []byte {
	buf = append(buf, '[')
	for i, s := range list {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendString(buf, s)
	}
	return append(buf, ']')
}

func appendArray(buf []byte, list array) []byte {
	buf = append(buf, '[')
	for i, v := range list {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendJSON(buf, v)
	}
	return append(buf, ']')
}

func appendObject(buf []byte, members object) []byte {
	var room [16]string
	keys := room[:0]
	for key := range members {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	buf = append(buf, '{')
	for i, key := range keys {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendString(buf, key)
		buf = append(buf, ':')
		buf = appendJSON(buf, members[key])
	}
	return append(buf, '}')
}

const hexDigits = "0123456789abcdef"

func appendString(buf []byte, s string) []byte {
	buf = append(buf, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			buf = appendASCII(buf, c)
			i++
			continue
		}
		r, size := codePoint(s[i:])
		i += size
		buf = appendUnicode(buf, r)
	}
	return append(buf, '"')
}

// codePoint reads one character beyond ASCII as Kurento's JSON library does:
// by the length that its first byte promises, whatever follows. What is no
// character then is U+FFFD.
func codePoint(s string) (rune, int) {
	size, least := 2, rune(utf8.RuneSelf)
	switch first := s[0]; {
	case first >= 0xf8:
		return utf8.RuneError, 1
	case first >= 0xf0:
		size, least = 4, 0x10000
	case first >= 0xe0:
		size, least = 3, 0x800
	}
	if len(s) < size {
		return utf8.RuneError, 1
	}
	r := rune(s[0]) & (0x7f >> size)
	for i := 1; i < size; i++ {
		r = r<<6 | rune(s[i]&0x3f)
	}
	if r < least || utf16.IsSurrogate(r) {
		return utf8.RuneError, size
	}
	return r, size
}

func appendASCII(buf []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(buf, '\\', c)
	case '\b':
		return append(buf, '\\', 'b')
	case '\f':
		return append(buf, '\\', 'f')
	case '\n':
		return append(buf, '\\', 'n')
	case '\r':
		return append(buf, '\\', 'r')
	case '\t':
		return append(buf, '\\', 't')
	}
	if c < 0x20 {
		return appendHex(buf, rune(c))
	}
	return append(buf, c)
}

func appendUnicode(buf []byte, r rune) []byte {
	if r < 0x10000 {
		return appendHex(buf, r)
	}
	r -= 0x10000
	return appendHex(appendHex(buf, highSurrogates+r>>10&0x3ff), lowSurrogates+r&0x3ff)
}

func appendHex(buf []byte, r rune) []byte {
	return append(buf, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
