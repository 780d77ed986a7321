package server

import (
	"net/netip"
	"sync"
	"time"
)

// forgiveness is how long it takes until one bad token is forgiven.
const forgiveness = time.Minute

// maxCallers is how many addresses are told apart. Those beyond share one
// entry, which is no harm to who shows good tokens.
const maxCallers = 1 << 16

// callers are the addresses that clients come from: how many connections each
// has, and how often it showed a bad token of late. The zero value is ready.
type callers struct {
	mu    sync.Mutex
	by    map[netip.Prefix]*caller
	sweep int // how many there may be before forgotten ones are looked for
}

// caller is one address, or one IPv6 network of 64 bits: that is what one client
// has.
type caller struct {
	conns    int
	failures int       // bad tokens that are not forgiven
	since    time.Time // from which on the next is being forgiven
}

// callerOf is what an address is counted by.
func callerOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // of an invalid address: the zero prefix
	return p
}

// enter counts a connection from an address, unless it has that many.
func (c *callers) enter(a netip.Addr, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.at(callerOf(a))
	if at.conns >= most {
		return false
	}
	at.conns++
	return true
}

// leave ends what enter began.
func (c *callers) leave(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := c.known(callerOf(a))
	at := c.by[key]
	if at == nil {
		return
	}
	at.conns = max(0, at.conns-1)
	if at.idle(time.Now()) {
		delete(c.by, key)
	}
}

// fail notes a bad token and returns how long its bearer has to wait for the
// answer.
func (c *callers) fail(a netip.Addr, l Limits) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	at := c.at(callerOf(a))
	at.forgive(now)
	if at.failures == 0 {
		at.since = now
	}
	at.failures++
	return at.delay(l)
}

// delay doubles with each failure from the second on. Failures beyond those that
// make the longest delay do not count.
func (at *caller) delay(l Limits) time.Duration {
	d := l.BadTokenDelay
	for n := 2; n < at.failures; n++ {
		if d *= 2; d >= l.MaxBadTokenDelay {
			at.failures = n + 1
			return l.MaxBadTokenDelay
		}
	}
	if at.failures < 2 {
		return 0
	}
	return min(d, l.MaxBadTokenDelay)
}

func (at *caller) forgive(now time.Time) {
	n := int(now.Sub(at.since) / forgiveness)
	if at.failures == 0 || n <= 0 {
		return
	}
	at.failures = max(0, at.failures-n)
	at.since = at.since.Add(time.Duration(n) * forgiveness)
}

// idle reports whether nothing of an address needs to be remembered.
func (at *caller) idle(now time.Time) bool {
	at.forgive(now)
	return at.conns == 0 && at.failures == 0
}

// at is the entry of an address, made if there is none. c.mu is held.
func (c *callers) at(key netip.Prefix) *caller {
	if c.by == nil {
		c.by, c.sweep = make(map[netip.Prefix]*caller), leastMeters
	}
	if c.by[key] == nil && len(c.by) >= c.sweep {
		c.forget()
	}
	key = c.known(key)
	if c.by[key] == nil {
		c.by[key] = &caller{}
	}
	return c.by[key]
}

// known is the key, or that of all others if there are too many. c.mu is held.
func (c *callers) known(key netip.Prefix) netip.Prefix {
	if c.by[key] == nil && len(c.by) >= maxCallers {
		return netip.Prefix{}
	}
	return key
}

// forget removes who is idle. c.mu is held.
func (c *callers) forget() {
	now := time.Now()
	for key, at := range c.by {
		if at.idle(now) {
			delete(c.by, key)
		}
	}
	c.sweep = min(maxCallers, max(leastMeters, 2*len(c.by)))
}
