package netsim

import (
	"hash/fnv"
	"net/netip"
	"time"
)

// Direction says which way a datagram passes a host's link.
type Direction uint8

// The two directions, seen from the host.
const (
	Out Direction = iota // sent by the host
	In                   // sent to the host
)

// dice decides which datagrams are lost or doubled. It draws no random
// stream: goroutines due at the same virtual instant run in random order, so
// whoever draws first would differ from run to run. Instead the n-th datagram
// of its kind, to or from one peer, has its fate fixed by a hash.
//
// STUN and RTCP packets of one kind that pass at the same instant count as one
// and share its fate, for their number differs as well: pion's ICE agent, for
// one, sends its first check once or twice, depending on which of its
// goroutines comes first.
type dice struct {
	base       uint64
	loss       float64 // probability
	duplicates float64 // probability
	turns      map[kind]*turn
}

// kind is what datagrams must have in common to be counted together. Ports and
// SSRCs are left out on purpose: they are drawn at random in every run.
type kind struct {
	direction Direction
	class     Class
	kind      uint16
	peer      netip.Addr
}

// turn counts one kind of datagrams.
type turn struct {
	base uint64
	n    uint64
	last time.Time // when the n-th passed
}

// newDice returns dice for one episode of loss on one host's link. Each
// episode loses different datagrams.
func newDice(seed uint64, host string, episode int) dice {
	h := fnv.New64a()
	h.Write([]byte(host)) // never fails
	return dice{base: mix(mix(seed^h.Sum64()) + uint64(episode))}
}

// throw decides the fate of the next datagram of kind k, which passes now.
func (d *dice) throw(k kind, now time.Time) (lost, doubled bool) {
	t := d.turns[k]
	if t == nil {
		t = d.newTurn(k)
	}
	if shared := k.class == STUN || k.class == RTCP; !shared || !now.Equal(t.last) {
		t.n++
	}
	t.last = now
	x := mix(t.base + t.n)
	return unit(x) < d.loss, unit(mix(x)) < d.duplicates
}

// newTurn begins to count datagrams of kind k.
func (d *dice) newTurn(k kind) *turn {
	if d.turns == nil {
		d.turns = make(map[kind]*turn)
	}
	h := fnv.New64a()
	h.Write([]byte{byte(k.direction), byte(k.class), byte(k.kind >> 8), byte(k.kind)})
	peer := k.peer.As16()
	h.Write(peer[:])
	t := &turn{base: mix(d.base ^ h.Sum64())}
	d.turns[k] = t
	return t
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit
// of x changes half of the result's bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps a hash to [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }
