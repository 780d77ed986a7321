package media

import "encoding/binary"

// wantsKeyFrame finds a picture loss indication or a full intra request in a compound
// RTCP packet: both are payload-specific feedback (206), with format 1 and 4. It
// reads the headers only, so it costs no allocation for the reports that make up
// nearly all of RTCP.
func wantsKeyFrame(packet []byte) bool {
	const (
		headerSize      = 4
		payloadFeedback = 206
		pictureLoss     = 1
		fullIntra       = 4
	)
	for len(packet) >= headerSize {
		format, typ := packet[0]&0x1F, packet[1]
		size := headerSize + 4*int(binary.BigEndian.Uint16(packet[2:]))
		if size > len(packet) {
			return false
		}
		if typ == payloadFeedback && (format == pictureLoss || format == fullIntra) {
			return true
		}
		packet = packet[size:]
	}
	return false
}
