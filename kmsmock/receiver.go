package kmsmock

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// A receiver is the incoming half of a transport. What is not guarded by its
// lock belongs to the reading goroutine.
type receiver struct {
	types  [128]incomingType // by payload type; set before media comes
	header rtp.Header
	plain  [maxDatagram]byte
	packet packet
	lost   []lostPacket // of the peer's video
	shown  uint32       // SSRC of the present video

	statsMu   sync.Mutex
	streams   []*inStream    // in order of appearance
	announced uint32         // SSRC of video in the peer's description, 0 without one
	remb      *rembEstimator // nil without REMB
	limits    []rateLimit    // of who receives the video
}

type incomingType struct {
	codec *codec
	kind  mediaKind
}

// An inStream is one SSRC of the peer, with the counters of RFC 3550.
type inStream struct {
	id            string // of its statistics
	ssrc          uint32
	kind          mediaKind
	clock         uint32
	packets       uint64
	bytes         uint64
	first         uint16
	firstAt       time.Time
	highest       uint32 // extended sequence number
	jitter        float64
	transit       int64
	priorExpected uint32
	priorReceived uint64
	report        uint32 // middle bits of the last sender report's NTP time
	reportedAt    time.Time
	padding       padding
}

// setup takes the outcome of the negotiation. The server's lock is held.
func (t *mediaTransport) setup(chosen *description) {
	for i, m := range chosen.media {
		if !slices.Contains(t.lines, i) {
			continue
		}
		kind, ok := map[string]mediaKind{"audio": kindAudio, "video": kindVideo}[m.kind]
		if !ok || !m.accepted {
			continue
		}
		for _, c := range m.codecs {
			t.types[c.pt] = incomingType{c, kind}
		}
		t.prepare(kind, m)
	}
}

// readRTP decrypts a packet and sends it through the graph of elements.
func (t *mediaTransport) readRTP(b []byte, now time.Time) {
	plain, err := t.bareRTP(b)
	if err != nil {
		return
	}
	h := &t.header
	typ := t.types[h.PayloadType]
	payload := rtpPayload(plain)
	if typ.codec == nil || payload == nil {
		return
	}
	t.lastHeard.Store(now.UnixNano())
	gap, before := t.count(h, typ, len(payload), now)
	if typ.codec.nack {
		t.chase(h.SSRC, h.SequenceNumber, gap, now)
	}
	if len(payload) == 0 {
		return // padding only
	}
	p := &t.packet
	*p = packet{
		kind: typ.kind, codec: typ.codec, payload: payload, seq: h.SequenceNumber - before, ts: h.Timestamp, marker: h.Marker,
		stream: uint64(t.ep.obj.serial)<<32 | uint64(h.SSRC), at: now, from: t,
	}
	if typ.kind == kindVideo {
		if p.key = isKeyFrame(typ.codec.name, payload); p.key {
			t.keyWanted.Store(false)
		}
		if t.shown != h.SSRC {
			t.shown = h.SSRC
			t.keyWanted.Store(true) // asked of every new video, whether anybody sees it or not
		}
	}
	t.ep.send(p)
	if t.keyWanted.Load() {
		t.askKeyFrame(now)
	}
}

var errNoKeys = errors.New("no keys for SRTP yet")

// bareRTP takes SRTP off a packet, if there is any, and reads the header.
func (t *mediaTransport) bareRTP(b []byte) ([]byte, error) {
	in := t.srtpIn.Load()
	switch {
	case in != nil:
		return in.DecryptRTP(t.plain[:0], b, &t.header)
	case !t.clear.Load():
		return nil, errNoKeys
	}
	_, err := t.header.Unmarshal(b)
	return b, err
}

func (t *mediaTransport) bareRTCP(b []byte) ([]byte, error) {
	in := t.srtpIn.Load()
	switch {
	case in != nil:
		return in.DecryptRTCP(t.plain[:0], b, nil)
	case !t.clear.Load():
		return nil, errNoKeys
	}
	return b, nil
}

// rtpPayload is what lies between header and padding, nil if they overlap.
func rtpPayload(b []byte) []byte {
	if len(b) < 12 {
		return nil
	}
	at, end := 12+4*int(b[0]&0x0f), len(b)
	if b[0]&0x10 != 0 {
		if at+4 > end {
			return nil
		}
		at += 4 + 4*(int(b[at+2])<<8|int(b[at+3]))
	}
	if b[0]&0x20 != 0 {
		end -= int(b[len(b)-1])
	}
	if at > end {
		return nil
	}
	return b[at:end]
}

// count keeps the books of the packet's stream and tells how many packets are
// missing right before it, and how many before it were padding alone.
func (t *mediaTransport) count(h *rtp.Header, typ incomingType, size int, now time.Time) (gap int, padding uint16) {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	st := t.stream(h.SSRC)
	fresh := st == nil
	if fresh {
		st = &inStream{ssrc: h.SSRC, kind: typ.kind, clock: typ.codec.clock, first: h.SequenceNumber, firstAt: now, highest: uint32(h.SequenceNumber)}
		t.keep(st)
	}
	st.packets++
	st.bytes += uint64(size)
	if delta := int16(h.SequenceNumber - uint16(st.highest)); delta > 0 {
		st.highest += uint32(delta)
		if gap = int(delta) - 1; gap > nackMost {
			gap = 0
		}
	}
	arrival := now.UnixNano() / 1000 * int64(st.clock) / 1e6
	transit := arrival - int64(h.Timestamp)
	if d := transit - st.transit; !fresh && d > -int64(st.clock) && d < int64(st.clock) {
		st.jitter += (float64(max(d, -d)) - st.jitter) / 16
	}
	st.transit = transit
	if size == 0 {
		st.padding.add(h.SequenceNumber)
	}
	return gap, st.padding.before(h.SequenceNumber)
}

// maxStreams is how many streams of a peer are kept: as many as one RTCP report
// can tell of (RFC 3550, 6.4.2). A peer may take a new SSRC with every packet.
const maxStreams = 31

// keep adds a stream, in the place of the oldest if there are too many.
func (r *receiver) keep(st *inStream) {
	if len(r.streams) == maxStreams {
		r.streams = slices.Delete(r.streams, 0, 1)
	}
	r.streams = append(r.streams, st)
}

func (r *receiver) stream(ssrc uint32) *inStream {
	for _, st := range r.streams {
		if st.ssrc == ssrc {
			return st
		}
	}
	return nil
}

func (st *inStream) expected() uint32 { return st.highest - uint32(st.first) + 1 }

func (st *inStream) lost() int64 { return int64(st.expected()) - int64(st.packets) }

// reception is the block of a receiver report about the stream; it begins the
// next interval.
func (st *inStream) reception(now time.Time) rtcp.ReceptionReport {
	expected := st.expected()
	interval, got := expected-st.priorExpected, st.packets-st.priorReceived
	st.priorExpected, st.priorReceived = expected, st.packets
	out := rtcp.ReceptionReport{
		SSRC: st.ssrc, LastSequenceNumber: st.highest, Jitter: uint32(st.jitter), TotalLost: uint32(max(st.lost(), 0)) & 0xffffff,
	}
	if interval > 0 && uint64(interval) > got {
		out.FractionLost = uint8((uint64(interval) - got) * 255 / uint64(interval))
	}
	if st.report != 0 {
		out.LastSenderReport = st.report
		out.Delay = uint32(now.Sub(st.reportedAt).Seconds() * 65536)
	}
	return out
}

// readRTCP decrypts the peer's reports and requests.
func (t *mediaTransport) readRTCP(b []byte, now time.Time) {
	plain, err := t.bareRTCP(b)
	if err != nil {
		return
	}
	packets, err := rtcp.Unmarshal(plain)
	if err != nil {
		return
	}
	t.lastHeard.Store(now.UnixNano())
	for _, p := range packets {
		t.control(p, now)
	}
}

func (t *mediaTransport) control(p rtcp.Packet, now time.Time) {
	switch p := p.(type) {
	case *rtcp.SenderReport:
		t.noteReport(p, now)
		t.roundTrips(p.Reports, now)
		t.alive()
	case *rtcp.ReceiverReport:
		t.roundTrips(p.Reports, now)
		t.alive()
	case *rtcp.PictureLossIndication:
		t.plis.Add(1) // goes no further, in Kurento as here
	case *rtcp.FullIntraRequest:
		t.firs.Add(1)
	case *rtcp.TransportLayerNack:
		t.nacks.Add(1)
		t.repeat(p)
	case *rtcp.ReceiverEstimatedMaximumBitrate:
		t.passEstimate(p, now)
	}
}

func (t *mediaTransport) alive() {
	if !t.reporting.Load() {
		t.ep.reported()
	}
}

func (t *mediaTransport) noteReport(p *rtcp.SenderReport, now time.Time) {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	if st := t.stream(p.SSRC); st != nil {
		st.report, st.reportedAt = uint32(p.NTPTime>>16), now
	}
}
