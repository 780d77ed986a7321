package kmsmock

// paddingKept is how many packets of padding are remembered: far more than can be
// reordered.
const paddingKept = 32

// padding knows which packets of a stream were nothing but padding, with which a
// sender looks for the bandwidth that there is. They arrive like all others; what
// is sent on has no gap in their place.
type padding struct {
	total  uint16
	recent [paddingKept]uint16 // sequence numbers, the newest at total-1
}

func (p *padding) add(seq uint16) {
	p.recent[p.total%paddingKept] = seq
	p.total++
}

// before is how many of them were sent before a packet.
func (p *padding) before(seq uint16) uint16 {
	n := p.total
	for i := range min(p.total, paddingKept) {
		if int16(p.recent[i]-seq) > 0 {
			n--
		}
	}
	return n
}
