// Package netsim is the network of the virtual world and the faults of every
// world: a host's Link can be cut, lossy or slow, and behaves the same whether
// the host's packets travel in memory or through real sockets.
//
// A Link is one host's attachment to the network, shared by all its sockets.
// Net puts the datagrams of a pion transport.Net behind a Link, Conn a stream
// connection, and Topology builds a whole network in memory, whose datagrams
// travel through pion's vnet and whose streams through Streams.
//
// Everything here may be used inside a testing/synctest bubble, if it was made
// in there, except Net and Conn over real sockets.
//
// # What repeats and what does not
//
// With the same seed and the same actions, the same datagrams are lost: see
// Link.SetLoss. Within one virtual instant, goroutines run in an order that
// differs from run to run, and so does the order in which they reach vnet's
// router or a stream. Between two hosts, datagrams sent by one goroutine, and
// everything in one direction of a stream, stay in order.
package netsim

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LinkConfig describes a host's link.
type LinkConfig struct {
	// Host names the host in the log, and is part of what decides which
	// datagrams are lost.
	Host string
	// Seed decides, together with the host's name, which datagrams are lost.
	Seed uint64
	// Log receives a record for every change of the link: net.cut,
	// net.restore, net.udp, net.hold, net.reset, net.loss, net.duplicates and net.delay, each with
	// the host. Nil means none.
	Log *slog.Logger
}

// Link is one host's attachment to the network. It starts up, without loss or
// delay. Its methods may be called at any time and from any goroutine. A nil
// *Link stands for a perfect one where a function takes a link.
type Link struct {
	host string
	seed uint64
	log  *slog.Logger

	flags  atomic.Uint32 // zero while no datagram can be harmed
	delay  atomic.Int64  // a time.Duration
	counts [2][numClasses]counter

	mu       sync.Mutex
	dice     dice
	episode  int
	restored chan struct{} // made by who waits for the next Restore
	pipes    map[*pipe]struct{}
	closed   bool
	pumps    sync.WaitGroup // goroutines of Conns, which may outlive their Close
}

// The flags of a link.
const (
	flagCut     uint32 = 1 << iota
	flagDice           // loss or duplicates are not zero
	flagCutUDP         // datagrams alone are cut
	flagHoldOut        // what the host sends on streams stalls
	flagHoldIn         // what is sent to it on streams stalls
)

// flagHold is a hold in either direction.
const flagHold = flagHoldOut | flagHoldIn

// NewLink returns a link that is up.
func NewLink(cfg LinkConfig) *Link {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Link{
		host:  cfg.Host,
		seed:  cfg.Seed,
		log:   log.With("host", cfg.Host),
		dice:  newDice(cfg.Seed, cfg.Host, 0),
		pipes: make(map[*pipe]struct{}),
	}
}

// Host returns the name of the link's host.
func (l *Link) Host() string { return l.host }

// Cut takes the host off the network. Datagrams are dropped both ways. Streams
// stall as TCP does: writes succeed until the send buffer is full, nothing
// arrives, and nobody is told, not even of a connection that is closed
// meanwhile. Cutting a cut link does nothing.
func (l *Link) Cut() {
	if l.flags.Or(flagCut)&flagCut != 0 {
		return
	}
	l.log.Info("net.cut")
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pipes {
		p.stall()
	}
}

// CutUDP drops every datagram both ways and lets streams be, as a firewall does
// that knows TCP only.
func (l *Link) CutUDP(on bool) {
	was := l.flags.Load() & flagCutUDP
	if on {
		was = l.flags.Or(flagCutUDP) & flagCutUDP
	} else {
		l.flags.And(^flagCutUDP)
	}
	if on == (was == 0) {
		l.log.Info("net.udp", "cut", on)
	}
}

// Hold stalls the host's streams from now on: what it sends (out), what is sent
// to it (in), or both; also what is on its way at this moment. Unlike after Cut
// the other direction goes on, and streams can be dialed, which stall too. Restore lets what
// stalled arrive; Reset loses it, and with it the hold ends.
func (l *Link) Hold(out, in bool) {
	flags := uint32(0)
	if out {
		flags |= flagHoldOut
	}
	if in {
		flags |= flagHoldIn
	}
	l.flags.Or(flags)
	l.log.Info("net.hold", "out", out, "in", in)
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pipes {
		p.stall()
	}
}

// Restore ends Cut, CutUDP and Hold: it puts the host back on the network. What stalled in streams arrives
// with TCP's next retransmission, whose timer has been backing off since the
// loss: after a long cut that may be seconds later (RFC 6298). Restoring a link
// that is up does nothing.
func (l *Link) Restore() {
	const ended = flagCut | flagCutUDP | flagHold
	if l.flags.And(^ended)&ended == 0 {
		return
	}
	l.log.Info("net.restore")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.restored != nil {
		close(l.restored)
		l.restored = nil
	}
	for p := range l.pipes {
		p.unstall()
	}
}

// Reset breaks all of the host's streams: both ends fail with ECONNRESET, the
// far one as soon as the news reaches it, which on a cut link is after Restore.
// The link itself stays as it is, and new streams can be dialed.
func (l *Link) Reset() {
	l.mu.Lock()
	pipes := slices.Collect(maps.Keys(l.pipes))
	l.mu.Unlock()
	l.flags.And(^flagHold)
	l.log.Info("net.reset", "streams", len(pipes))
	for _, p := range pipes {
		p.resetBy(l)
	}
}

// SetLoss makes the link lose pct percent of the datagrams in each direction.
// Which ones is decided by a hash of the seed, the host, the direction, the
// peer's IP address, the datagram's class and kind (STUN message type, RTP
// payload type, ...), and how many of those there were since SetLoss; STUN and
// RTCP packets of one kind and instant share their fate. So the same traffic
// meets the same losses in every run, whatever order goroutines run in, and a
// retransmission may get through. Streams are not affected: TCP
// repairs loss, at the price of a delay that SetDelay can stand for.
func (l *Link) SetLoss(pct float64) {
	l.log.Info("net.loss", "loss", pct)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setDice(pct/100, l.dice.duplicates)
}

// SetDuplicates makes the link send pct percent of the host's outgoing
// datagrams twice. Which ones is decided as for SetLoss.
func (l *Link) SetDuplicates(pct float64) {
	l.log.Info("net.duplicates", "duplicates", pct)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setDice(l.dice.loss, pct/100)
}

// setDice starts a new episode of loss; l.mu is held.
func (l *Link) setDice(loss, duplicates float64) {
	l.episode++
	l.dice = newDice(l.seed, l.host, l.episode)
	l.dice.loss, l.dice.duplicates = loss, duplicates
	if loss > 0 || duplicates > 0 {
		l.flags.Or(flagDice)
		return
	}
	l.flags.And(^flagDice)
}

// SetDelay delays everything that the host sends, and everything sent to it,
// by d: a round trip takes 2d longer. It applies to what is sent from now on.
// Order within a socket is kept.
func (l *Link) SetDelay(d time.Duration) {
	l.log.Info("net.delay", "delay", d)
	l.delay.Store(int64(max(d, 0)))
}

// Up tells whether the link is up, that is, not cut.
func (l *Link) Up() bool { return !l.isCut() }

// Close breaks all of the host's streams at once, on a cut link too, and
// returns when the goroutines of its Conns have ended.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	pipes := l.pipes
	l.pipes = make(map[*pipe]struct{})
	l.mu.Unlock()
	for p := range pipes {
		p.kill()
	}
	l.pumps.Wait()
}

// isCut is Up's opposite for links that may be nil.
func (l *Link) isCut() bool { return l != nil && l.flags.Load()&flagCut != 0 }

// holds tells whether what travels in that direction of the host's streams is
// held; nothing is at a link that is nil.
func (l *Link) holds(d Direction) bool {
	flag := flagHoldOut
	if d == In {
		flag = flagHoldIn
	}
	return l != nil && l.flags.Load()&flag != 0
}

// lag returns the link's delay, zero for a nil link.
func (l *Link) lag() time.Duration {
	if l == nil {
		return 0
	}
	return time.Duration(l.delay.Load())
}

// admit decides how many copies of a datagram pass the link, and counts it.
func (l *Link) admit(d Direction, peer netip.Addr, b []byte) int {
	class, sub := classify(b)
	c := &l.counts[d][class]
	c.packets.Add(1)
	switch flags := l.flags.Load(); {
	case flags == 0:
		return 1
	case flags&(flagCut|flagCutUDP) != 0:
		c.cut.Add(1)
		return 0
	}
	k := kind{direction: d, class: class, kind: sub, peer: peer.Unmap().WithZone("")}
	now := time.Now()
	l.mu.Lock()
	lost, doubled := l.dice.throw(k, now)
	l.mu.Unlock()
	switch {
	case lost:
		c.lost.Add(1)
		return 0
	case doubled && d == Out:
		c.doubled.Add(1)
		return 2
	}
	return 1
}

// attach puts a pipe behind the link, so that it learns of cuts. A closed link
// kills it.
func (l *Link) attach(p *pipe) {
	if l == nil {
		return
	}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.pipes[p] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		p.kill()
	}
}

// detach forgets a pipe that both sides have closed.
func (l *Link) detach(p *pipe) {
	if l == nil {
		return
	}
	l.mu.Lock()
	delete(l.pipes, p)
	l.mu.Unlock()
}

// startPumps announces a Conn's two goroutines, unless the link is closed.
func (l *Link) startPumps() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.pumps.Add(2)
	}
	return !l.closed
}

// awaitUp returns when the link is up, or with ctx's error.
func (l *Link) awaitUp(ctx context.Context) error {
	l.mu.Lock()
	if !l.isCut() {
		l.mu.Unlock()
		return nil
	}
	if l.restored == nil {
		l.restored = make(chan struct{})
	}
	restored := l.restored
	l.mu.Unlock()
	select {
	case <-restored:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
