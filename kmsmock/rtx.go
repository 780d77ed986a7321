package kmsmock

import "github.com/pion/rtcp"

// sentKept is how many packets are kept for a peer that asks for them again,
// as many as Kurento keeps.
const sentKept = 512

// A sentQueue keeps what was sent last, encrypted, by sequence number.
type sentQueue struct {
	seq  [sentKept]uint16
	data [sentKept][]byte
}

func (q *sentQueue) keep(seq uint16, cipher []byte) {
	i := seq % sentKept
	q.seq[i], q.data[i] = seq, append(q.data[i][:0], cipher...)
}

func (q *sentQueue) find(seq uint16) []byte {
	if i := seq % sentKept; q.seq[i] == seq {
		return q.data[i]
	}
	return nil
}

// repeat sends again what the peer misses and is still there.
func (t *mediaTransport) repeat(p *rtcp.TransportLayerNack) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	o := &t.out[kindVideo]
	if o.sent == nil || p.MediaSSRC != o.ssrc || t.muted.Load() || t.srtpOut == nil {
		return
	}
	for _, pair := range p.Nacks {
		pair.Range(func(seq uint16) bool {
			if cipher := o.sent.find(seq); len(cipher) > 0 {
				_ = t.write(cipher)
			}
			return true
		})
	}
}
