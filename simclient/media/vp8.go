package media

// vp8Payload is what the payload descriptor of an RTP packet says (RFC 7741 §4.2).
type vp8Payload struct {
	data []byte
	// frameStart is set in the packet that begins a frame (S=1 and PID=0).
	frameStart bool
}

// parseVP8Payload steps over the payload descriptor.
func parseVP8Payload(b []byte) (vp8Payload, bool) {
	if len(b) == 0 {
		return vp8Payload{}, false
	}
	size := 1
	if b[0]&0x80 != 0 { // X
		if len(b) < 2 {
			return vp8Payload{}, false
		}
		size = 2 + vp8ExtensionSize(b)
	}
	if len(b) <= size {
		return vp8Payload{}, false
	}
	return vp8Payload{data: b[size:], frameStart: b[0]&0x10 != 0 && b[0]&0x0F == 0}, true
}

// vp8ExtensionSize counts the bytes behind the extension flags in b[1].
func vp8ExtensionSize(b []byte) (size int) {
	if b[1]&0x80 != 0 { // I
		size++
		if len(b) > 2 && b[2]&0x80 != 0 { // M: 15-bit PictureID
			size++
		}
	}
	if b[1]&0x40 != 0 { // L
		size++
	}
	if b[1]&0x30 != 0 { // T or K
		size++
	}
	return size
}

// vp8KeyFrame tells whether a frame that begins with b is a key frame (RFC 6386 §9.1).
func vp8KeyFrame(b []byte) bool { return len(b) > 0 && b[0]&1 == 0 }
