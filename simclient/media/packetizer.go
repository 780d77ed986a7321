package media

import (
	"encoding/binary"

	"github.com/pion/rtp"
)

const (
	// maxPayload leaves room in 1200 bytes of RTP for the header of 12 bytes and
	// extensions, as pion and libwebrtc do.
	maxPayload = 1200 - 12

	vp8ExtendedFlag = 0x80 // X: extension flags follow
	vp8StartFlag    = 0x10 // S
)

// Writer sends RTP packets. It must not keep or change the payload. It returns 0 and no
// error when there is no connection yet that would take the packet, as the writers
// of pion/webrtc do. [Track] is one.
type Writer interface {
	WriteRTP(header *rtp.Header, payload []byte) (int, error)
}

// packetizer cuts marked units into RTP payloads, in one reused buffer. The unit is
// not assembled first: VP8 and its trailer, or NAL units and the SEI between them,
// are copied straight into packets.
type packetizer struct {
	out       Writer
	header    rtp.Header
	pictureID uint16
	buf       [maxPayload]byte
	sei       [3 + 2*(len(markerUUID)+MarkerSize)]byte

	// Of the unit being sent:
	packets  int
	bytes    int
	accepted bool
	err      error
}

// send writes one unit; the results are in packets, bytes, accepted and err.
func (p *packetizer) send(codec Codec, u *unit, m Marker, timestamp uint32) {
	p.packets, p.bytes, p.accepted, p.err = 0, 0, true, nil
	p.header.Timestamp = timestamp
	switch codec {
	case VP8:
		p.sendVP8(u.data, m)
	case H264:
		p.sendH264(u.nals, m)
	case Opus:
		packet, err := appendOpusMarked(p.buf[:0], u.data, m)
		if err != nil {
			p.accepted, p.err = false, err
			return
		}
		// RFC 7587 §4.1: the marker bit begins a talk spurt, and this is all one.
		p.write(packet, false)
	}
}

func (p *packetizer) write(payload []byte, last bool) {
	p.header.Marker = last
	n, err := p.out.WriteRTP(&p.header, payload)
	p.header.SequenceNumber++
	if n == 0 || err != nil {
		p.accepted = false
	} else {
		p.packets++
		p.bytes += n
	}
	if p.err == nil {
		p.err = err
	}
}

func (p *packetizer) sendVP8(frame []byte, m Marker) {
	var trailer [MarkerSize]byte
	AppendMarker(trailer[:0], m)
	p.pictureID = (p.pictureID + 1) & 0x7FFF
	flags := byte(vp8ExtendedFlag | vp8StartFlag)
	for rest := trailer[:]; len(frame)+len(rest) > 0; flags = vp8ExtendedFlag {
		// A 15-bit PictureID in each packet, as libwebrtc sends it.
		payload := append(p.buf[:0], flags, 0x80, 0x80|byte(p.pictureID>>8), byte(p.pictureID))
		payload, frame = fill(payload, frame)
		payload, rest = fill(payload, rest)
		p.write(payload, len(frame)+len(rest) == 0)
	}
}

// fill appends as much of src as fits into a packet and returns what is left.
func fill(dst, src []byte) (filled, rest []byte) {
	n := min(len(src), maxPayload-len(dst))
	return append(dst, src[:n]...), src[n:]
}

// sendH264 sends parameter sets in one STAP-A, as pion and browsers do, then the SEI
// and the slices.
func (p *packetizer) sendH264(nals [][]byte, m Marker) {
	first := 0
	for first < len(nals) && !isVCL(nalType(nals[first])) {
		first++
	}
	p.sendSTAPA(nals[:first])
	p.write(appendMarkerSEI(p.sei[:0], m), first == len(nals))
	for i := first; i < len(nals); i++ {
		p.sendNAL(nals[i], i == len(nals)-1)
	}
}

func (p *packetizer) sendSTAPA(nals [][]byte) {
	if len(nals) == 0 {
		return
	}
	const importance = 0x60
	payload := append(p.buf[:0], importance|nalSTAPA)
	for _, nal := range nals {
		if len(payload)+2+len(nal) > maxPayload {
			continue // never in a clip that ParseClip made of a plausible file
		}
		payload = binary.BigEndian.AppendUint16(payload, uint16(len(nal)))
		payload = append(payload, nal...)
	}
	p.write(payload, false)
}

// sendNAL sends a NAL unit whole or in FU-A fragments.
func (p *packetizer) sendNAL(nal []byte, last bool) {
	if len(nal) <= maxPayload {
		p.write(nal, last)
		return
	}
	indicator, flags, rest := nal[0]&^nalTypeMask|nalFUA, nalType(nal)|fuStart, nal[1:]
	for len(rest) > 0 {
		payload := append(p.buf[:0], indicator, flags)
		payload, rest = fill(payload, rest)
		flags = nalType(nal)
		if len(rest) == 0 {
			payload[1] |= fuEnd
		}
		p.write(payload, last && len(rest) == 0)
	}
}
