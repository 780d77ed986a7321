package turn

import (
	"net"
	"strconv"
	"testing"
)

// FuzzUsername: what is read as a user name names its user and its expiry, and
// is signed alike by whoever reads it.
func FuzzUsername(f *testing.F) {
	for _, s := range []string{"1700000000:alice", "alice", ":", "1:", "-1:x", "9223372036854775808:x", "1:a:b", " 1:x"} {
		f.Add(s)
	}
	secrets, err := NewSecrets("newest", "before")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, expiry, ok := parseUsername(s)
		if !ok {
			return
		}
		if user == "" || len(s) < len(user)+2 || s[len(s)-len(user):] != user {
			t.Fatalf("%q is of %q", s, user)
		}
		name, credential := secrets.Sign(user, expiry)
		if name != strconv.FormatInt(expiry.Unix(), 10)+":"+user || secrets.credentials(name)[0] != credential {
			t.Fatalf("%q is signed as %q", s, name)
		}
		if again, when, ok := parseUsername(name); !ok || again != user || !when.Equal(expiry) {
			t.Fatalf("%q is read back as %q, %v", name, again, when)
		}
	})
}

func TestReachable(t *testing.T) {
	for peer, want := range map[string]bool{
		"9.9.9.9": true, "2620:fe::fe": true, "8.8.8.8": true, "127.0.0.1": false, "::1": false, "::": false, "0.0.0.0": false,
		"::ffff:127.0.0.1": false, "::ffff:10.1.2.3": false, "10.1.2.3": false, "10.1.2.4": true, "::ffff:10.1.2.4": true, "172.31.255.255": false,
		"172.32.0.0": true, "192.168.0.1": false, "169.254.169.254": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"fd00::1": false, "fe80::1": false, "ff02::1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
	} {
		if got := reachable(net.ParseIP(peer), prefixes("10.1.2.4/32")); got != want {
			t.Errorf("%s: %v", peer, got)
		}
	}
	if reachable(nil, nil) {
		t.Error("no address was reachable")
	}
}
