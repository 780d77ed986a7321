package conform

import (
	"encoding/binary"
	"net"
)

// Kurento asks STUN servers as RFC 3489 has it, without the magic cookie of its
// successors. Coturn answers that, Pion does not.
const (
	stunHeader       = 20
	magicCookie      = 0x2112A442
	bindingRequest   = 0x0001
	bindingResponse  = 0x0101
	mappedAddress    = 0x0001
	mappedAddressLen = 8
	familyIPv4       = 1
)

// An oldSTUN is a server's socket that answers the requests of RFC 3489 itself.
type oldSTUN struct{ net.PacketConn }

// ReadFrom returns what is no such request.
func (c oldSTUN) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		answer := oldAnswer(b[:n], from)
		if answer == nil {
			return n, from, nil
		}
		if _, err := c.WriteTo(answer, from); err != nil {
			return 0, from, err
		}
	}
}

// oldAnswer tells the sender of an RFC 3489 binding request its address; nil if
// the datagram is none.
func oldAnswer(request []byte, from net.Addr) []byte {
	addr, ok := from.(*net.UDPAddr)
	if !ok || len(request) < stunHeader || binary.BigEndian.Uint16(request) != bindingRequest ||
		binary.BigEndian.Uint32(request[4:]) == magicCookie || addr.IP.To4() == nil {
		return nil
	}
	answer := binary.BigEndian.AppendUint16(nil, bindingResponse)
	answer = binary.BigEndian.AppendUint16(answer, 4+mappedAddressLen)
	answer = append(answer, request[4:stunHeader]...)
	answer = binary.BigEndian.AppendUint16(answer, mappedAddress)
	answer = binary.BigEndian.AppendUint16(answer, mappedAddressLen)
	answer = binary.BigEndian.AppendUint16(answer, familyIPv4)
	answer = binary.BigEndian.AppendUint16(answer, uint16(addr.Port))
	return append(answer, addr.IP.To4()...)
}
