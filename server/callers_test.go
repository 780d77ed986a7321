package server_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
)

// numbered is the n-th IPv4 address, IPv6 network of 64 bits or site of 48 bits.
func numbered(kind string, n int) netip.Addr {
	hi, lo := byte(n>>8), byte(n)
	switch kind {
	case "v4":
		return netip.AddrFrom4([4]byte{100, byte(n >> 16), hi, lo})
	case "site":
		return netip.AddrFrom16([16]byte{0x20, byte(n >> 16), hi, lo, 15: 1})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, hi, lo, 15: 1})
}

// Who owns a network of 48 bits may not have a share for each network in it, and
// leaves the table to others.
func TestOneSiteHasOneShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c server.Callers
		in, leave := 0, []func(){}
		for i := range 1 << 16 {
			if out, ok := c.Enter(numbered("network", i), 10); ok {
				in, leave = in+1, append(leave, out)
			}
		}
		if in != 160 {
			t.Errorf("%d connections of one site, want 16 times an address's", in)
		}
		if n := c.Known(); n > 257 {
			t.Errorf("one site fills %d entries", n)
		}
		for i, kind := range []string{"site", "v4"} {
			if _, ok := c.Enter(numbered(kind, 7), 1); !ok {
				t.Errorf("somebody else is refused (%d)", i)
			}
		}
		for _, out := range leave {
			out()
		}
		if n := c.Known(); n != 3 { // the other site, its network, and the address
			t.Errorf("%d entries stay when the site is gone", n)
		}
		if _, ok := c.Enter(numbered("network", 1), 10); !ok {
			t.Error("the site is refused when its connections have ended")
		}
	})
}

// Bad tokens are as late from a new network of a site as from an old one, when the
// site has shown many.
func TestBadTokensOfASite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c server.Callers
		l, err := server.Limits{}.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		late := 0
		for i := range 1 << 16 {
			d := c.Fail(numbered("network", i), l)
			if i < 31 && d != 0 {
				t.Fatalf("token %d of as many networks is %v late", i+1, d)
			}
			if d == l.MaxBadTokenDelay {
				late++
			}
		}
		if late < 1<<16-512 {
			t.Errorf("%d of 65,536 are as late as can be", late)
		}
		if n := c.Known(); n > 257 {
			t.Errorf("one site fills %d entries", n)
		}
		if d := c.Fail(numbered("site", 1), l); d != 0 {
			t.Errorf("another site's first is %v late", d)
		}
		time.Sleep(time.Hour)
		if d := c.Fail(numbered("network", 1), l); d != 0 {
			t.Errorf("an hour later one is %v late", d)
		}
	})
}

// Whoever comes, the table stays within its bounds, is searched once a second at
// most, and lets in who comes when it is full.
func TestCallersAreBounded(t *testing.T) {
	for _, kind := range []string{"v4", "site"} {
		synctest.Test(t, func(t *testing.T) {
			var c server.Callers
			l, err := server.Limits{}.WithDefaults()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 1 << 17 {
				c.Fail(numbered(kind, i), l)
			}
			if n := c.Known(); n > 1<<16 {
				t.Errorf("%s: %d entries", kind, n)
			}
			if n := c.Sweeps(); n > 1 {
				t.Errorf("%s: searched %d times in one moment", kind, n)
			}
			for i := range 2000 { // nobody can say of whom these are
				if _, ok := c.Enter(numbered(kind, 1<<18+i), 1000); !ok {
					t.Fatalf("%s: connection %d is refused because others fill the table", kind, i)
				}
			}
			time.Sleep(time.Hour)
			c.Fail(numbered(kind, 1<<20), l) // who is new has the idle ones looked for
			if n := c.Known(); n > 2 {
				t.Errorf("%s: %d entries an hour later", kind, n)
			}
		})
	}
}

// An address that cannot be read has no limit, for it may be everybody's.
func TestUnreadableAddress(t *testing.T) {
	var c server.Callers
	for range 100 {
		if _, ok := c.Enter(netip.Addr{}, 1); !ok {
			t.Fatal("refused")
		}
	}
	if c.Known() != 0 {
		t.Error("it has an entry")
	}
}
