package loadtest

import (
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{"5/s": {5, time.Second}, "30/m": {30, time.Minute}, "1/200ms": {1, 200 * time.Millisecond}, "7/1h": {7, time.Hour}} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "/s", "0/s", "-1/s", "x/s", "5/", "5/x", "5/-1s", "5/0s"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// Due does not drift: the millionth call is where the rate puts it.
func TestDue(t *testing.T) {
	r := Rate{3, time.Second}
	for i, want := range map[int]time.Duration{0: 0, 3: time.Second, 1: time.Second / 3, 3_000_000: 1_000_000 * time.Second} {
		if got := r.Due(i); (got - want).Abs() > time.Microsecond {
			t.Errorf("call %d is due after %v, not %v", i, got, want)
		}
	}
}
