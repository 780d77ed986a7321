package media

// reorderWindow is how far behind the highest sequence number a packet or unit may
// arrive and still be told apart from a duplicate. Later ones count as late and
// their place stays lost. It is 2.5 s of audio and, in frames, 4.2 s of video.
const reorderWindow = 128

// arrival is what a sequence number says about the order of arrival.
type arrival uint8

const (
	inOrder arrival = iota
	reordered
	duplicate
	late
)

// window follows extended sequence numbers: which of the last [reorderWindow] came,
// and how many there should have been.
type window struct {
	first, highest int64
	received       uint64 // distinct ones
	seen           [reorderWindow / 64]uint64
	started        bool
}

func (w *window) bit(seq int64) (*uint64, uint64) {
	i := uint64(seq) % reorderWindow
	return &w.seen[i/64], 1 << (i % 64)
}

// mark takes the arrival of seq into account.
func (w *window) mark(seq int64) arrival {
	if !w.started {
		*w = window{first: seq, highest: seq, started: true}
		return w.set(seq, inOrder)
	}
	if seq > w.highest {
		w.advance(seq)
		return w.set(seq, inOrder)
	}
	if seq <= w.highest-reorderWindow {
		return late
	}
	if word, bit := w.bit(seq); *word&bit != 0 {
		return duplicate
	}
	// What comes before the first one was sent before this sink was there.
	w.first = min(w.first, seq)
	return w.set(seq, reordered)
}

func (w *window) set(seq int64, a arrival) arrival {
	word, bit := w.bit(seq)
	*word |= bit
	w.received++
	return a
}

// advance clears the places between the highest number so far and seq.
func (w *window) advance(seq int64) {
	if seq-w.highest >= reorderWindow {
		w.seen = [len(w.seen)]uint64{}
	} else {
		for s := w.highest + 1; s <= seq; s++ {
			word, bit := w.bit(s)
			*word &^= bit
		}
	}
	w.highest = seq
}

// has tells whether seq came, as far back as the window reaches.
func (w *window) has(seq int64) bool {
	if !w.started || seq > w.highest || seq <= w.highest-reorderWindow {
		return false
	}
	word, bit := w.bit(seq)
	return *word&bit != 0
}

// lost is the number of sequence numbers up to the highest that did not come.
func (w *window) lost() uint64 {
	if !w.started {
		return 0
	}
	return uint64(w.highest-w.first+1) - w.received
}

// extend gives a 16-bit RTP sequence number the place nearest to the highest one.
func (w *window) extend(seq uint16) int64 {
	if !w.started {
		return int64(seq) + 1<<16
	}
	return w.highest + int64(int16(seq-uint16(w.highest)))
}
