package netsim

import "encoding/binary"

// Class is the kind of protocol that a datagram carries, told from its first
// bytes as RFC 7983 section 7 and RFC 5761 section 4 have it.
type Class uint8

// The classes of datagrams that share a WebRTC transport.
const (
	STUN  Class = iota // STUN and TURN control messages
	DTLS               // DTLS records: the handshake, and data channels
	RTP                // RTP and SRTP
	RTCP               // RTCP and SRTCP
	Other              // anything else
)

// numClasses is the number of classes.
const numClasses = int(Other) + 1

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case STUN:
		return "stun"
	case DTLS:
		return "dtls"
	case RTP:
		return "rtp"
	case RTCP:
		return "rtcp"
	default:
		return "other"
	}
}

// channelDataHeader is the length of a TURN ChannelData header (RFC 8656
// section 12.4).
const channelDataHeader = 4

// classify returns a datagram's class and, within it, the kind: the STUN
// message type, the DTLS content type, the RTP or RTCP payload type. TURN
// ChannelData counts as what it carries.
func classify(b []byte) (Class, uint16) {
	if len(b) > channelDataHeader && b[0] >= 64 && b[0] <= 79 {
		b = b[channelDataHeader:]
	}
	if len(b) < 2 {
		return Other, 0
	}
	switch first := b[0]; {
	case first <= 3:
		return STUN, binary.BigEndian.Uint16(b)
	case first >= 20 && first <= 63:
		return DTLS, uint16(first)
	case first >= 128 && first <= 191 && b[1] >= 192 && b[1] <= 223:
		return RTCP, uint16(b[1])
	case first >= 128 && first <= 191:
		return RTP, uint16(b[1] & 0x7f)
	default:
		return Other, 0
	}
}
