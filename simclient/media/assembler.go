package media

// frameSlots is the number of video frames that may be on their way at the same time:
// a packet may come that many frames late, half a second at 30 frames a second.
const frameSlots = 16

// assembler collects the packets of video frames by RTP timestamp. It keeps no
// payload, only what it needs to say that a frame is whole and to read its marker,
// so a packet costs no copy and no wait, whatever order packets come in.
type assembler struct {
	codec Codec
	slots [frameSlots]frame
	last  int // slot of the packet before
	// Packets up to this sequence number belong to frames that were given up.
	floor int64
	// damaged counts frames that were given up with packets missing.
	damaged uint64
}

// frame is one video frame on its way.
type frame struct {
	used, done    bool
	timestamp     uint32
	low, high     int64 // sequence numbers that came
	packets       int64
	start, end    int64
	started       bool // start is known
	ended         bool // end is known
	key           bool
	lowOpensFrame bool    // H264: the packet at low cannot be in the middle of a frame
	tails         [2]tail // VP8: of the packets with the highest sequence numbers
	marker        Marker  // H264
	markerErr     error
}

// tail is the end of a packet's payload, as long as a marker. Two are kept, because a
// media server may cut the trailer in two when it packetizes anew.
type tail struct {
	seq  int64
	size int
	data [MarkerSize]byte
}

// videoPacket is what the assembler needs of an RTP packet.
type videoPacket struct {
	seq       int64 // extended
	timestamp uint32
	end       bool // RTP marker bit: last packet of the frame
	payload   []byte
}

// add takes a packet that did not come before. It returns the frame if that is whole
// now; ok is false for a payload that does not parse. The function came tells whether
// a sequence number came.
func (a *assembler) add(p videoPacket, came func(seq int64) bool) (whole *frame, ok bool) {
	f := a.find(p)
	if f == nil || f.done {
		return nil, true
	}
	opens, ok := f.parse(a.codec, p)
	if !ok {
		return nil, false
	}
	f.place(p, opens)
	if a.codec == H264 {
		f.start, f.started = f.low, f.lowOpensFrame || came(f.low-1)
	}
	if !f.started || !f.ended || f.packets != f.end-f.start+1 {
		return nil, true
	}
	f.done = true
	return f, true
}

// find returns the slot of the packet's frame, a fresh one for a new frame, or nil
// when the frame was given up already.
func (a *assembler) find(p videoPacket) *frame {
	if f := &a.slots[a.last]; f.used && f.timestamp == p.timestamp {
		return f
	}
	oldest := 0
	for i := range a.slots {
		f := &a.slots[i]
		if f.used && f.timestamp == p.timestamp {
			a.last = i
			return f
		}
		if g := &a.slots[oldest]; g.used && (!f.used || f.low < g.low) {
			oldest = i
		}
	}
	if p.seq <= a.floor {
		return nil
	}
	a.giveUp(&a.slots[oldest])
	a.last = oldest
	a.slots[oldest] = frame{used: true, timestamp: p.timestamp, low: p.seq, high: p.seq, markerErr: ErrNoMarker}
	return &a.slots[oldest]
}

func (a *assembler) giveUp(f *frame) {
	if !f.used {
		return
	}
	a.floor = max(a.floor, f.high)
	if !f.done {
		a.damaged++
	}
}

// parse reads the payload by its codec and tells whether the packet opens the frame.
func (f *frame) parse(codec Codec, p videoPacket) (opens, ok bool) {
	if codec == H264 {
		payload, ok := parseH264Payload(p.payload)
		f.key = f.key || payload.key
		if f.markerErr == ErrNoMarker {
			f.marker, f.markerErr = payload.marker, payload.markerErr
		}
		return payload.frameStart, ok
	}
	payload, ok := parseVP8Payload(p.payload)
	if !ok {
		return false, false
	}
	if payload.frameStart && (!f.started || p.seq < f.start) {
		f.start, f.started, f.key = p.seq, true, vp8KeyFrame(payload.data)
	}
	f.keepTail(p.seq, payload.data)
	return payload.frameStart, true
}

// place records where the packet lies in its frame.
func (f *frame) place(p videoPacket, opens bool) {
	f.packets++
	if p.seq <= f.low {
		f.low, f.lowOpensFrame = p.seq, opens
	}
	f.high = max(f.high, p.seq)
	if p.end {
		f.end, f.ended = p.seq, true
	}
}

func (f *frame) keepTail(seq int64, data []byte) {
	t := &f.tails[1]
	switch {
	case f.tails[0].size == 0 || seq > f.tails[0].seq:
		f.tails[1] = f.tails[0]
		t = &f.tails[0]
	case f.tails[1].size != 0 && seq < f.tails[1].seq:
		return
	}
	t.seq, t.size = seq, min(len(data), MarkerSize)
	copy(t.data[:t.size], data[len(data)-t.size:])
}

// readMarker reads the marker of a whole frame.
func (f *frame) readMarker(codec Codec) (Marker, error) {
	if codec == H264 {
		return f.marker, f.markerErr
	}
	var b [MarkerSize]byte
	last, before := &f.tails[0], &f.tails[1]
	missing := MarkerSize - last.size
	copy(b[missing:], last.data[:last.size])
	if missing > before.size {
		return Marker{}, ErrNoMarker
	}
	copy(b[:missing], before.data[before.size-missing:before.size])
	return DecodeMarker(b[:])
}
