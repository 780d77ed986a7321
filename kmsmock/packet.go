package kmsmock

import (
	"slices"
	"strconv"
	"time"
)

// maxHops bounds the way of a packet through elements that pass media on; a
// pipeline may contain a circle.
const maxHops = 8

// A packet is one RTP packet inside the server. It is valid until deliver returns.
type packet struct {
	kind    mediaKind
	codec   *codec
	payload []byte
	seq     uint16
	ts      uint32
	marker  bool
	key     bool // begins a video key frame
	raw     bool // stands for media that an element on the way has decoded
	stream  uint64
	hops    int
	at      time.Time
	from    keyFrameSource
}

// rawCodec stands for media that is not encoded.
var rawCodec = &codec{name: "RAW"}

// A keyFrameSource is where video comes into the server and who can be asked
// for a key frame of it.
type keyFrameSource interface {
	// requestKeyFrame asks at once.
	requestKeyFrame()
	// wantKeyFrame asks with the next packet.
	wantKeyFrame()
}

// A codec is an RTP payload type as one peer negotiated it.
type codec struct {
	pt    uint8
	name  string // as in rtpmap, upper case
	kind  mediaKind
	clock uint32
	fmtp  string
	fir   bool // the peer understands ccm fir
	pli   bool
	nack  bool // the peer asks for lost packets
	remb  bool // REMB is negotiated
}

// send gives a packet that comes out of e to the elements that e feeds. It
// returns whether any of them took it.
func (e *element) send(p *packet) (taken bool) {
	if e.blocked[p.kind].Load() == blockStall {
		return false
	}
	e.notice(&e.out[p.kind], "MediaFlowOutStateChanged", p.kind, p.at)
	if e.given[p.kind].Load() != p.codec && !p.raw {
		e.given[p.kind].Store(p.codec)
	}
	routes := e.routes[p.kind].Load()
	if routes == nil || len(*routes) == 0 || p.hops >= maxHops {
		return false
	}
	p.hops++
	for _, sink := range *routes {
		if sink.receive(p) {
			taken = true
		}
	}
	p.hops--
	if taken && !e.pulled[p.kind].Load() {
		e.reportPull(p, *routes)
	}
	return taken
}

// receive takes a packet for an element. What it cannot send on, because its
// peer is not there yet or waits for a key frame, does not count as flowing in.
func (e *element) receive(p *packet) bool {
	taken := false
	switch blocked := e.blocked[p.kind].Load(); {
	case blocked == blockStall:
		return false
	case blocked == blockSilence:
		taken = true
	case e.port != nil:
		taken = e.port.deliver(p)
	default:
		e.pass(p)
		taken = true
	}
	if taken {
		e.notice(&e.in[p.kind], "MediaFlowInStateChanged", p.kind, p.at)
	}
	return taken
}

// pass hands a packet on.
func (e *element) pass(p *packet) {
	raw := p.raw
	p.raw = p.raw || e.raw[p.kind]
	e.send(p)
	p.raw = raw
}

// reportPull reports whether what the element gives has to be transcoded for
// any of its sinks: once, and again when it begins to be.
func (e *element) reportPull(p *packet, sinks []*element) {
	s := e.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	c := p.codec
	if p.raw {
		c = rawCodec
	}
	e.pull(p.kind, c, sinks)
}

// pull is reportPull with the lock held.
func (e *element) pull(k mediaKind, c *codec, sinks []*element) {
	if e.closed || e.pulled[k].Swap(true) {
		return
	}
	state := "NOT_TRANSCODING"
	if slices.ContainsFunc(sinks, func(sink *element) bool { return sink.transcodes(k, c) }) {
		state = "TRANSCODING"
	}
	if e.state[k] == state || e.state[k] == "TRANSCODING" {
		return
	}
	e.state[k] = state
	e.obj.srv.emit(e.obj, "MediaTranscodingStateChanged", object{
		"binName": e.binName(k), "mediaType": k.String(), "state": state,
	})
}

// transcodes tells whether a sink takes a medium in another form only.
func (e *element) transcodes(k mediaKind, c *codec) bool {
	if e.port == nil {
		return e.raw[k] && c != rawCodec
	}
	if port, ok := e.port.(waitingPort); ok && !port.takes(k) {
		return false
	}
	return !e.port.accepts(c)
}

// A waitingPort is a mediaPort that tells whether it takes a medium now,
// without a packet.
type waitingPort interface {
	takes(k mediaKind) bool
}

// hum notices raw media of which there are no packets to send: the silence and
// the background that a mixing hub gives. It returns whether any sink takes
// it. The server's lock is held.
func (e *element) hum(k mediaKind, now time.Time, hops int) (taken bool) {
	e.flowing(&e.out[k], "MediaFlowOutStateChanged", k, now)
	routes := e.routes[k].Load()
	if routes == nil || hops >= maxHops {
		return false
	}
	for _, sink := range *routes {
		if sink.hear(k, now, hops+1) {
			taken = true
		}
	}
	if taken {
		e.pull(k, rawCodec, *routes)
	}
	return taken
}

func (e *element) hear(k mediaKind, now time.Time, hops int) bool {
	if e.port == nil {
		e.hum(k, now, hops)
	} else if port, ok := e.port.(waitingPort); !ok || !port.takes(k) {
		return false
	}
	e.flowing(&e.in[k], "MediaFlowInStateChanged", k, now)
	return true
}

// binName is the GStreamer name of the element's adapter for a medium.
func (e *element) binName(k mediaKind) string {
	if e.obj.class.name == "PassThrough" {
		return "kmsagnosticbin2-" + strconv.Itoa(int(k))
	}
	return e.gst + "_kmsagnosticbin2-" + strconv.Itoa(int(k))
}

// isKeyFrame tells whether an RTP payload begins a key frame. Codecs that it
// does not know count as nothing but key frames.
func isKeyFrame(name string, b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch name {
	case "VP8":
		return vp8KeyFrame(b)
	case "VP9":
		// RFC 9628: not inter-predicted (P), beginning of a frame (B).
		return b[0]&0x40 == 0 && b[0]&0x08 != 0
	case "H264":
		return h264KeyFrame(b)
	case "AV1":
		return b[0]&0x08 != 0 // N: first packet of a coded video sequence
	}
	return true
}

// vp8KeyFrame reads the payload descriptor of RFC 7741 and the first byte of
// the frame header behind it.
func vp8KeyFrame(b []byte) bool {
	if b[0]&0x10 == 0 || b[0]&0x07 != 0 {
		return false
	}
	at := 1
	if b[0]&0x80 != 0 {
		if len(b) < 2 {
			return false
		}
		x := b[1]
		at = 2
		if x&0x80 != 0 {
			at++
			if len(b) > 2 && b[2]&0x80 != 0 {
				at++
			}
		}
		if x&0x40 != 0 {
			at++
		}
		if x&0x30 != 0 {
			at++
		}
	}
	return at < len(b) && b[at]&0x01 == 0
}

// h264KeyFrame looks for a parameter set or an IDR slice (RFC 6184).
func h264KeyFrame(b []byte) bool {
	switch typ := b[0] & 0x1f; typ {
	case 5, 7:
		return true
	case 24: // STAP-A: size and header of each unit
		for at := 1; at+2 < len(b); {
			if t := b[at+2] & 0x1f; t == 5 || t == 7 {
				return true
			}
			at += 2 + int(b[at])<<8 + int(b[at+1])
		}
	case 28: // FU-A: start bit and type
		return len(b) > 1 && b[1]&0x80 != 0 && b[1]&0x1f == 5
	}
	return false
}
