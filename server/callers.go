package server

import (
	"net/netip"
	"sync"
	"time"
)

// forgiveness is how long it takes until one bad token is forgiven.
const forgiveness = time.Minute

// maxCallers is how many addresses and networks are told apart. Those beyond share
// one entry without a limit, which is no harm to who shows good tokens.
const maxCallers = 1 << 16

// An IPv6 site is given a network of 48 bits (RFC 6177), and who owns one has 65,536
// networks of 64 bits. So the site is counted as well: it may take as much as
// perSite of them, and no more than maxWithin of them are told apart.
const (
	perSite   = 16
	maxWithin = 256
)

// forgetEvery is how often forgotten callers are looked for at most.
const forgetEvery = time.Second

// callers are the addresses that clients come from: how many connections each
// has, and how often it showed a bad token of late. The zero value is ready.
type callers struct {
	mu    sync.Mutex
	by    map[netip.Prefix]*caller
	rest  caller    // those that are not told apart, or cannot be read
	sweep int       // how many there may be before forgotten ones are looked for
	swept time.Time // when that was done last
}

// caller is an IPv4 address, an IPv6 network of 64 bits, which is what one client
// has, or the site that has many of those.
type caller struct {
	key      netip.Prefix
	site     *caller   // nil if it is in none
	within   int       // networks of a site that are told apart
	conns    int       // those of its networks included
	failures int       // bad tokens that are not forgiven
	since    time.Time // from which on the next is being forgiven
}

// callerOf is what an address is counted by, and the site that it is of if it is an
// IPv6 address. Both are the zero prefix if the address is not valid.
func callerOf(a netip.Addr) (own, site netip.Prefix) {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		own, _ = a.Prefix(a.BitLen())
		return own, site
	}
	own, _ = a.Prefix(64)
	site, _ = a.Prefix(48)
	return own, site
}

// enter counts a connection from an address, unless it has that many. It returns
// what leave has to be told then, else nil.
func (c *callers) enter(a netip.Addr, most int) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.at(a)
	for n := at; n != nil; n = n.site {
		if n != &c.rest && n.conns >= most*n.share() {
			c.tidy(at, time.Now())
			return nil
		}
	}
	for n := at; n != nil; n = n.site {
		n.conns++
	}
	return at
}

// leave ends what enter began.
func (c *callers) leave(at *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := at; n != nil; n = n.site {
		n.conns--
	}
	c.tidy(at, time.Now())
}

// fail notes a bad token and returns how long its bearer has to wait for the
// answer.
func (c *callers) fail(a netip.Addr, l Limits) (delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for n := c.at(a); n != nil; n = n.site {
		n.forgive(now)
		if n.failures == 0 {
			n.since = now
		}
		n.failures++
		delay = max(delay, n.delay(l))
	}
	return delay
}

// share is how many addresses' share the caller has.
func (at *caller) share() int {
	if at.key.Bits() == 48 {
		return perSite
	}
	return 1
}

// delay doubles with each failure from the second on. Failures beyond those that
// make the longest delay do not count.
func (at *caller) delay(l Limits) time.Duration {
	d, failures := l.BadTokenDelay, at.failures/at.share()
	for n := 2; n < failures; n++ {
		if d *= 2; d >= l.MaxBadTokenDelay {
			at.failures = (n + 1) * at.share()
			return l.MaxBadTokenDelay
		}
	}
	if failures < 2 {
		return 0
	}
	return min(d, l.MaxBadTokenDelay)
}

func (at *caller) forgive(now time.Time) {
	n := int(now.Sub(at.since) / forgiveness)
	if at.failures == 0 || n <= 0 {
		return
	}
	at.failures = max(0, at.failures-n*at.share())
	at.since = at.since.Add(time.Duration(n) * forgiveness)
}

// idle reports whether nothing of a caller needs to be remembered.
func (at *caller) idle(now time.Time) bool {
	at.forgive(now)
	return at.conns == 0 && at.failures == 0 && at.within == 0
}

// at is the entry of an address, made if there is none. A network of a site with too
// many is counted as the site. c.mu is held.
func (c *callers) at(a netip.Addr) *caller {
	own, site := callerOf(a)
	if !own.IsValid() {
		return &c.rest
	}
	if at := c.by[own]; at != nil {
		return at
	}
	c.forget(time.Now())
	if !site.IsValid() {
		return c.add(own, nil)
	}
	of := c.by[site]
	if of == nil {
		of = c.add(site, nil)
	}
	if of == &c.rest || of.within == maxWithin {
		return of
	}
	return c.add(own, of)
}

// add begins to tell a caller apart, if there is room for one more. c.mu is held.
func (c *callers) add(key netip.Prefix, site *caller) *caller {
	switch {
	case len(c.by) < maxCallers:
	case site != nil:
		return site
	default:
		return &c.rest
	}
	if c.by == nil {
		c.by, c.sweep = make(map[netip.Prefix]*caller), leastMeters
	}
	at := &caller{key: key, site: site}
	if c.by[key] = at; site != nil {
		site.within++
	}
	return at
}

// tidy removes a caller and its site if they are idle. c.mu is held.
func (c *callers) tidy(at *caller, now time.Time) {
	for n := at; n != nil && c.by[n.key] == n && n.idle(now); n = n.site {
		if delete(c.by, n.key); n.site != nil {
			n.site.within--
		}
	}
}

// forget removes who is idle, when there are so many that it is worth it, and not so
// often that somebody with many addresses could keep the server at it. c.mu is held.
func (c *callers) forget(now time.Time) {
	if len(c.by) == 0 || len(c.by) < c.sweep || now.Sub(c.swept) < forgetEvery {
		return
	}
	for _, at := range c.by {
		c.tidy(at, now)
	}
	c.sweep, c.swept = min(maxCallers, max(leastMeters, 2*len(c.by))), now
}
