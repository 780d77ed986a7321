package kmsmock

import (
	"strings"
	"testing"
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
	for _, in := range []string{``, `hello`, `{"a":1,}`, `[1,]`, `{"a"}`, `{a:1}`, `"x`, `/* x`, `"\x"`, `"\ud83d"`, `-`, `[`,
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
		if twice := appendJSON(nil, again); string(twice) != string(once) {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}
