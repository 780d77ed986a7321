package media

import "github.com/pion/rtp"

// maxDropout is the jump in sequence numbers from which on a stream counts as another
// one instead of thousands of lost packets (RFC 3550 appendix A.1, MAX_DROPOUT).
const maxDropout = 3000

// stream is one SSRC. A sink has several when connections are replaced.
type stream struct {
	ssrc   uint32
	seqs   window
	frames *assembler // video only
}

func newStream(codec Codec, ssrc uint32) *stream {
	s := &stream{ssrc: ssrc}
	if codec.Kind() == Video {
		s.frames = &assembler{codec: codec}
	}
	return s
}

// jumped tells that the sequence number does not belong to what came so far.
func (s *stream) jumped(seq uint16) bool {
	d := s.seqs.extend(seq) - s.seqs.highest
	return s.seqs.started && (d > maxDropout || d < -maxDropout)
}

// accept counts the packet and returns its extended sequence number; fresh is false
// for one that came before.
func (s *stream) accept(h *rtp.Header, stats *RTPStats) (seq int64, fresh bool) {
	seq = s.seqs.extend(h.SequenceNumber)
	switch s.seqs.mark(seq) {
	case duplicate:
		stats.Duplicates++
		return seq, false
	case reordered:
		stats.Reordered++
	case late:
		stats.Late++
	}
	return seq, true
}

func (s *stream) damaged() uint64 {
	if s.frames == nil {
		return 0
	}
	return s.frames.damaged
}
