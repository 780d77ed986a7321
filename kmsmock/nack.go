package kmsmock

import (
	"slices"
	"time"

	"github.com/pion/rtcp"
)

const (
	// nackRetry is after how long a lost packet is asked for again.
	nackRetry = 59 * time.Millisecond
	// nackPatience is how long it is asked for before a key frame is.
	nackPatience = 560 * time.Millisecond
	// nackMost is the longest gap that is asked for.
	nackMost = 64
)

// A lostPacket is one that the peer has been asked for.
type lostPacket struct {
	seq          uint16
	first, asked time.Time
}

// chase asks the peer for the packets of its video that a gap of that many
// before seq has left out, and again for those that did not come; after a
// while it asks for a key frame instead. It belongs to the reading goroutine.
func (t *mediaTransport) chase(ssrc uint32, seq uint16, gap int, now time.Time) {
	if gap == 0 && len(t.lost) == 0 {
		return
	}
	t.lost = slices.DeleteFunc(t.lost, func(l lostPacket) bool { return l.seq == seq })
	for n := range gap {
		t.lost = append(t.lost, lostPacket{seq: seq - uint16(gap-n), first: now})
	}
	var ask []uint16
	given := false
	t.lost = slices.DeleteFunc(t.lost, func(l lostPacket) bool {
		over := now.Sub(l.first) > nackPatience
		given = given || over
		return over
	})
	for i := range t.lost {
		if l := &t.lost[i]; now.Sub(l.asked) >= nackRetry {
			l.asked = now
			ask = append(ask, l.seq)
		}
	}
	t.complain(ssrc, ask, given)
}

// complain sends what there is to say of lost packets.
func (t *mediaTransport) complain(ssrc uint32, ask []uint16, given bool) {
	var packets []rtcp.Packet
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	sender := t.out[kindVideo].ssrc
	if len(ask) > 0 {
		packets = append(packets, &rtcp.TransportLayerNack{SenderSSRC: sender, MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(ask)})
	}
	if given {
		packets = append(packets, &rtcp.PictureLossIndication{SenderSSRC: sender, MediaSSRC: ssrc})
	}
	if len(packets) > 0 {
		t.writeRTCP(packets...)
	}
}
