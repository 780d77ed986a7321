package kmsmock

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

const rtpHeaderSize = 12

// A sender is the outgoing half of a transport. Its lock may be taken while
// the server's is held, never the other way round.
type sender struct {
	sendMu    sync.Mutex
	out       [2]outStream
	srtpOut   protection // nil until DTLS is done
	write     func([]byte) error
	outHeader rtp.Header
	outPlain  [maxDatagram]byte
	outCipher [maxDatagram]byte
	asked     time.Time // when the peer was last asked for a key frame
	firSerial uint8
	reports   [2]*time.Timer
	settings  *rembSettings // nil without REMB
	stopped   bool

	keyWanted         atomic.Bool
	nacks, firs, plis atomic.Int64 // requests of the peer
}

// An outStream is what is sent to the peer in one medium: one SSRC, whatever
// the sources are.
type outStream struct {
	id      string // of its statistics
	active  bool
	ssrc    uint32
	codecs  []*codec
	stream  uint64 // of the present source
	source  keyFrameSource
	started bool
	seq     uint16 // added to the source's numbers
	ts      uint32
	lastSeq uint16
	lastTS  uint32
	lastAt  time.Time
	clock   uint32
	from    *codec // the source's codec and ours for it
	to      *codec
	packets uint64
	bytes   uint64
	sent    *sentQueue // of video to a peer that asks for lost packets
	limit   receiverLimit
	trip    float64 // round trip in seconds, from the peer's reports
}

// prepare sets a medium up. The server's lock is held.
func (t *mediaTransport) prepare(k mediaKind, m *medium) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	rand := t.ep.obj.srv.rand
	t.out[k] = outStream{
		ssrc: m.ssrc, codecs: m.codecs, lastSeq: uint16(rand.Uint32()), lastTS: rand.Uint32(),
		active: slices.Contains(m.lines, "sendrecv") || slices.Contains(m.lines, "sendonly"),
	}
	if k == kindVideo && len(m.codecs) > 0 && m.codecs[0].nack {
		t.out[k].sent = &sentQueue{}
	}
	if k == kindVideo && len(m.codecs) > 0 && m.codecs[0].remb {
		settings := rembSettingsOf(t.ep.obj)
		t.settings, t.remb = &settings, newRembEstimator(settings)
	}
}

// A protection makes SRTP and SRTCP of what goes out.
type protection interface {
	EncryptRTP(dst, plain []byte, header *rtp.Header) ([]byte, error)
	EncryptRTCP(dst, plain []byte, header *rtcp.Header) ([]byte, error)
}

// open lets media go out.
func (t *mediaTransport) open(ctx protection) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	t.srtpOut = ctx
}

// accepts tells whether the peer takes a codec as it is.
func (t *mediaTransport) accepts(c *codec) bool {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	for i := range t.out {
		if t.out[i].match(c) != nil {
			return true
		}
	}
	return false
}

// takes tells whether a medium can go out now.
func (t *mediaTransport) takes(k mediaKind) bool {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	return t.srtpOut != nil && t.out[k].active && !t.muted.Load()
}

// match finds the peer's payload type for a codec: the same format, else the
// first of the same name.
func (o *outStream) match(c *codec) *codec {
	var same *codec
	for _, own := range o.codecs {
		switch {
		case own.name != c.name || own.clock != c.clock:
		case own.fmtp == c.fmtp:
			return own
		case same == nil:
			same = own
		}
	}
	return same
}

// deliver sends a packet to the peer, with SSRC, sequence number, timestamp
// and payload type of this connection. A medium whose source changes goes on
// with its numbers; video waits for the new source's next key frame. Nothing
// is transcoded: a codec that the peer does not take is dropped.
func (t *mediaTransport) deliver(p *packet) bool {
	o := &t.out[p.kind]
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	if t.srtpOut == nil || t.muted.Load() {
		return false
	}
	if !o.active { // taken all the same if the medium is negotiated
		return len(o.codecs) > 0
	}
	if o.from != p.codec {
		o.from, o.to = p.codec, o.match(p.codec)
	}
	if o.to == nil || rtpHeaderSize+len(p.payload) > maxDatagram {
		return true // a file may have frames that are too long for a datagram
	}
	if o.stream != p.stream || !o.started {
		if p.kind == kindVideo && !o.mayBegin(p) {
			return false
		}
		o.follow(p)
		if p.kind == kindVideo {
			t.tellFirstLimit(o, p)
		}
	}
	t.forward(o, p)
	return true
}

// mayBegin asks the sender of a new video for a key frame, as Kurento does even
// if the first packet is one, and tells whether it is.
func (o *outStream) mayBegin(p *packet) bool {
	p.from.wantKeyFrame()
	o.source = p.from
	return p.key
}

// restart makes a medium begin anew with what comes next, if only from the
// same source.
func (t *mediaTransport) restart(k mediaKind) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	t.out[k].stream = 0
}

// follow continues the numbers of the stream with another source.
func (o *outStream) follow(p *packet) {
	gap := uint32(1)
	if o.started {
		gap = max(1, uint32(p.at.Sub(o.lastAt).Seconds()*float64(p.codec.clock)))
	}
	o.seq = o.lastSeq + 1 - p.seq
	o.ts = o.lastTS + gap - p.ts
	o.started, o.stream, o.source, o.clock = true, p.stream, p.from, p.codec.clock
}

func (t *mediaTransport) forward(o *outStream, p *packet) {
	seq, ts := p.seq+o.seq, p.ts+o.ts
	b := t.outPlain[:rtpHeaderSize+len(p.payload)]
	b[0], b[1] = 0x80, o.to.pt
	if p.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], o.ssrc)
	copy(b[rtpHeaderSize:], p.payload)
	cipher, err := t.srtpOut.EncryptRTP(t.outCipher[:0], b, &t.outHeader)
	if err != nil {
		return
	}
	if o.sent != nil {
		o.sent.keep(seq, cipher)
	}
	if t.write(cipher) != nil {
		return
	}
	o.packets++
	o.bytes += uint64(len(p.payload))
	if int16(seq-o.lastSeq) > 0 {
		o.lastSeq, o.lastTS, o.lastAt = seq, ts, p.at
	}
}

// videoSource is who sends the video that the peer gets, nil before any came.
func (t *mediaTransport) videoSource() keyFrameSource {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	return t.out[kindVideo].source
}

// wantKeyFrame asks the peer for a video key frame when its next packet comes.
func (t *mediaTransport) wantKeyFrame() { t.keyWanted.Store(true) }

// requestKeyFrame asks the peer for a video key frame: at once, or with the
// next video packet that comes when it has been asked a moment ago.
func (t *mediaTransport) requestKeyFrame() {
	t.keyWanted.Store(true)
	t.askKeyFrame(time.Now())
}

func (t *mediaTransport) askKeyFrame(now time.Time) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	spacing := t.ep.obj.srv.pace.keyFrameSpacing
	ssrc, ok := t.videoSSRC()
	if !ok || t.srtpOut == nil || (!t.asked.IsZero() && now.Sub(t.asked) < spacing) {
		return
	}
	t.asked = now
	t.keyWanted.Store(false)
	o := &t.out[kindVideo]
	if len(o.codecs) > 0 && !o.codecs[0].fir {
		t.writeRTCP(&rtcp.PictureLossIndication{SenderSSRC: o.ssrc, MediaSSRC: ssrc})
		return
	}
	t.firSerial++
	t.writeRTCP(&rtcp.FullIntraRequest{SenderSSRC: o.ssrc,
		FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: t.firSerial}}})
}

// videoSSRC is the newest video stream of the peer.
func (t *mediaTransport) videoSSRC() (uint32, bool) {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	for _, st := range slices.Backward(t.streams) {
		if st.kind == kindVideo {
			return st.ssrc, true
		}
	}
	return 0, false
}

// writeRTCP sends a compound packet. The sender's lock is held.
func (t *mediaTransport) writeRTCP(packets ...rtcp.Packet) {
	if t.srtpOut == nil || t.muted.Load() {
		return
	}
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	cipher, err := t.srtpOut.EncryptRTCP(nil, plain, nil)
	if err != nil {
		return
	}
	_ = t.write(cipher)
}

// startReports sends RTCP reports of both media until stopReports. Kurento's
// intervals are random; these are the means of what was recorded.
func (t *mediaTransport) startReports() {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	if t.stopped {
		return
	}
	pace := &t.ep.obj.srv.pace
	t.reportEvery(kindAudio, pace.firstReport, pace.audioReports)
	t.reportEvery(kindVideo, pace.videoReports, pace.videoReports)
}

func (t *mediaTransport) reportEvery(k mediaKind, first, interval time.Duration) {
	t.reports[k] = time.AfterFunc(first, func() {
		t.sendMu.Lock()
		defer t.sendMu.Unlock()
		if !t.stopped {
			t.report(k, time.Now())
			t.reports[k].Reset(interval)
		}
	})
}

func (t *mediaTransport) stopReports() {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	t.stopped = true
	for _, timer := range t.reports {
		if timer != nil {
			timer.Stop()
		}
	}
}

// report sends what there is to say of a medium: a sender report if it goes
// out, reception reports about what comes in, and what the peer's video may
// take.
func (t *mediaTransport) report(k mediaKind, now time.Time) {
	o, receptions := &t.out[k], t.receptions(k, now)
	var packets []rtcp.Packet
	switch {
	case o.packets > 0:
		packets = append(packets, o.senderReport(now, receptions))
	case len(receptions) > 0:
		packets = append(packets, &rtcp.ReceiverReport{SSRC: o.ssrc, Reports: receptions})
	default:
		return
	}
	packets = append(packets, rtcp.NewCNAMESourceDescription(o.ssrc, t.ep.id.cname))
	if k == kindVideo {
		if remb := t.estimate(o.ssrc, receptions, now); remb != nil {
			packets = append(packets, remb)
		}
	}
	t.writeRTCP(packets...)
}

func (t *mediaTransport) receptions(k mediaKind, now time.Time) []rtcp.ReceptionReport {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	var out []rtcp.ReceptionReport
	for _, st := range t.streams {
		if st.kind == k {
			out = append(out, st.reception(now))
		}
	}
	return out
}

func (o *outStream) senderReport(now time.Time, receptions []rtcp.ReceptionReport) *rtcp.SenderReport {
	elapsed := uint32(now.Sub(o.lastAt).Seconds() * float64(o.clock))
	return &rtcp.SenderReport{
		SSRC: o.ssrc, NTPTime: ntpTime(now), RTPTime: o.lastTS + elapsed,
		PacketCount: uint32(o.packets), OctetCount: uint32(o.bytes), Reports: receptions,
	}
}

// ntpTime is the 64-bit NTP timestamp of RFC 5905.
func ntpTime(now time.Time) uint64 {
	fraction := uint64(now.Nanosecond()) << 32 / 1e9
	return uint64(now.Unix()+ntpEpoch)<<32 | fraction
}

// roundTrips reads the round trip time off the peer's reports about our streams.
func (t *mediaTransport) roundTrips(reports []rtcp.ReceptionReport, now time.Time) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	for _, r := range reports {
		for i := range t.out {
			if o := &t.out[i]; o.ssrc == r.SSRC && r.LastSenderReport != 0 {
				units := uint32(ntpTime(now)>>16) - r.LastSenderReport - r.Delay
				o.trip = float64(units) / 65536
			}
		}
	}
}
