package kmsmock

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestJSONComesOutAsKurentoWritesIt(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{"b":1,"a":[true,null,-3]}`, `{"a":[true,null,-3],"b":1}`},
		{`12345678901234567890`, `12345678901234567890`},
		{`30.0`, `30.0`},
		{`1.5`, `1.5`},
		{`"é😀<&>/\"\\\n\u0001"`, `"\u00e9\ud83d\ude00<&>/\"\\\n\u0001"`},
		{`"\ud83d\ude00"`, `"\ud83d\ude00"`},
		{`{/* c */"a":1 // d
		}`, `{"a":1}`},
		{`{"a":1,"a":2}`, `{"a":2}`},
		{` [1] xyz`, `[1]`},
		{"// c\r[1]", `[1]`},
		{`[-]`, `[0]`},
		{`[-0,-0.0,1E3,1e-3]`, `[0,-0.0,1000.0,0.001]`},
		{`[1e16,1e17,123456789012345678901]`, `[10000000000000000.0,1e+17,1.2345678901234568e+20]`},
		// Halves of surrogate pairs: a low one alone, a high one with whatever follows.
		{`"\ude00"`, `"\ufffd"`},
		{`"\ud83d\u0041"`, `"\ud83d\udc41"`},
		{`"\ud800\ud800"`, `"\ud800\udc00"`},
		// Bytes that are no UTF-8, which only a binary frame can bring.
		{"\"\x80abc\"", `"\ufffdbc"`},
		{"\"\xc0\x80\"", `"\ufffd"`},
		{"\"\xf0\x9f\x98\"", `"\ufffd\u07d8"`},
		{"\"\xf4\x90\x80\x80\"", `"\ud800\udc00"`},
		{"\"\xff\"", `"\ufffd"`},
	} {
		v, err := parseJSON([]byte(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if got := string(appendJSON(nil, v)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestJSONFloat32KeepsItsNoise(t *testing.T) {
	if got := string(appendJSON(nil, float32(0.04))); got != "0.039999999105930328" {
		t.Errorf("got %s", got)
	}
}

func TestJSONRefuses(t *testing.T) {
	for _, in := range []string{``, `hello`, `{"a":1,}`, `[1,]`, `{"a"}`, `{a:1}`, `"x`, `/* x`, `"\x"`, `"\ud83d"`, `"\udc00\ud800"`, `[`, `[/**/]`, `{"a"/**/:1}`,
		`1e309`, `-1e400`, `1-2`, `1.2.3`, `+1`, `.5`,
		strings.Repeat("[", 2000) + strings.Repeat("]", 2000)} {
		if v, err := parseJSON([]byte(in)); err == nil {
			t.Errorf("%.20q was read as %v", in, v)
		}
	}
	deep := strings.Repeat("[", 900) + strings.Repeat("]", 900)
	if _, err := parseJSON([]byte(deep)); err != nil {
		t.Errorf("900 levels: %v", err)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	f.Add([]byte(`["\ud83d\ude00",1.5e3,-0]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseJSON(data)
		if err != nil {
			return
		}
		once := appendJSON(nil, v)
		again, err := parseJSON(once)
		if err != nil {
			return // numbers beyond a double have no JSON form of their own
		}
		if !utf8.Valid(data) {
			return // members are sorted by bytes that are replaced in what is written
		}
		if twice := appendJSON(nil, again); string(twice) != string(once) {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}
