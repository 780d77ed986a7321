package media

import "encoding/binary"

// What the VP8 writer below needs of the bitstream's tables.
const (
	// mosaicQuantizer is the coarsest one. A picture of flat macroblocks has one
	// coefficient each, which no quantizer makes blurred.
	mosaicQuantizer = 127
	// mosaicStep is how much one step of the coefficient Y2 DC changes, in 64ths of a
	// level of luma: 2 × 157 at that quantizer (RFC 6386 §9.6, §14.1).
	mosaicStep = 314
	mbSize     = 16
)

// Default probabilities of the token tree where the writer gets to (RFC 6386 §13.5).
var (
	vp8Y2First = [3][11]uint8{ // by how many of the macroblocks above and left have the coefficient
		{198, 35, 237, 223, 193, 187, 162, 160, 145, 155, 62},
		{131, 45, 198, 221, 172, 176, 220, 157, 252, 221, 1},
		{68, 47, 146, 208, 149, 167, 221, 162, 255, 223, 128},
	}
	// The end of a block behind a first coefficient, of 1 and of more, and of an empty block.
	vp8Y2End     = [2]uint8{184, 81}
	vp8EmptyEnds = [2]uint8{253, 253} // luma, chroma
)

// vp8MVUpdateProbs are the probabilities that those of motion vectors are kept (RFC 6386
// §17.2).
var vp8MVUpdateProbs = [2][19]uint8{
	{237, 246, 253, 253, 254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 250, 250, 252, 254, 254},
	{231, 243, 245, 253, 254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 251, 251, 254, 254, 254},
}

// vp8StillProbs are the probabilities that a block does not move, by how many of its
// neighbours do not: the one above and the one to the left count twice (RFC 6386 §19.3).
var vp8StillProbs = [6]uint8{7, 14, 135, 60, 159, 234}

// vp8Tokens are the kinds of coefficients greater than 4: their least value, the path to them
// in the token tree, as nodes and bits, and the probabilities of their extra bits
// (RFC 6386 §13.2).
var vp8Tokens = []struct {
	least int
	path  [][2]uint8
	extra []uint8
}{
	{35, [][2]uint8{{6, 1}, {8, 1}, {10, 0}}, []uint8{180, 157, 141, 134, 130}},
	{19, [][2]uint8{{6, 1}, {8, 0}, {9, 1}}, []uint8{176, 155, 140, 135}},
	{11, [][2]uint8{{6, 1}, {8, 0}, {9, 0}}, []uint8{173, 148, 140}},
	{7, [][2]uint8{{6, 0}, {7, 1}}, []uint8{165, 145}},
	{5, [][2]uint8{{6, 0}, {7, 0}}, []uint8{159}},
}

// boolWriter is the boolean entropy encoder (RFC 6386 §7.3).
type boolWriter struct {
	out    []byte
	low    uint32
	span   uint32 // range, in 128..255
	shifts int    // until the next byte is whole
}

func newBoolWriter(dst []byte) *boolWriter { return &boolWriter{out: dst, span: 255, shifts: 24} }

// bit writes a bit that is 0 with probability prob/256.
func (w *boolWriter) bit(prob, bit uint8) {
	split := 1 + (w.span-1)*uint32(prob)>>8
	if bit != 0 {
		w.low += split
		w.span -= split
	} else {
		w.span = split
	}
	for ; w.span < 128; w.span <<= 1 {
		if w.low>>31 != 0 {
			w.carry()
		}
		w.low <<= 1
		if w.shifts--; w.shifts == 0 {
			w.out = append(w.out, byte(w.low>>24))
			w.low &= 1<<24 - 1
			w.shifts = 8
		}
	}
}

func (w *boolWriter) carry() {
	i := len(w.out) - 1
	for ; w.out[i] == 0xFF; i-- {
		w.out[i] = 0
	}
	w.out[i]++
}

// literal writes n bits of v, all as likely.
func (w *boolWriter) literal(v uint32, n int) {
	for n--; n >= 0; n-- {
		w.bit(128, uint8(v>>n&1))
	}
}

// finish returns what was written, with all that a decoder looks ahead for.
func (w *boolWriter) finish() []byte {
	w.literal(0, 32)
	return w.out
}

// mosaic is a picture of flat squares of 16x16 pixels, one luma each, without colour.
type mosaic struct {
	columns, rows int
	luma          []uint8 // row by row
}

// appendKeyFrame appends the picture as a VP8 key frame. Levels are met to within 3.
func (m *mosaic) appendKeyFrame(dst []byte) []byte {
	w := newBoolWriter(nil)
	w.literal(0, 2) // colour space, clamping needed
	writeFrameSetup(w)
	w.literal(0, 5) // no quantizer differs
	w.literal(1, 1) // probabilities are kept for what follows
	writeNoUpdates(w)
	w.literal(1, 1) // macroblocks can be without coefficients
	w.literal(128, 8)
	tokens := newBoolWriter(nil)
	m.writeBlocks(w, tokens)
	first := w.finish()
	dst = appendFrameTag(dst, true, len(first))
	dst = append(dst, 0x9D, 0x01, 0x2A)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m.columns*mbSize))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m.rows*mbSize))
	return append(append(dst, first...), tokens.finish()...)
}

// writeBlocks predicts each macroblock from the mean of its neighbours, as decoders do, and
// writes the step to what it is to be.
func (m *mosaic) writeBlocks(modes, tokens *boolWriter) {
	shown := make([]int, len(m.luma))
	stepped := make([]int, len(m.luma)) // 1 where there is a coefficient
	for i, want := range m.luma {
		x, y := i%m.columns, i/m.columns
		predicted, context := 128, 0
		switch {
		case x > 0 && y > 0:
			predicted = (shown[i-1] + shown[i-m.columns] + 1) / 2
			context = stepped[i-1] + stepped[i-m.columns]
		case x > 0:
			predicted, context = shown[i-1], stepped[i-1]
		case y > 0:
			predicted, context = shown[i-m.columns], stepped[i-m.columns]
		}
		steps := nearest((int(want)-predicted)*64, mosaicStep)
		// The inverse transforms round twice (RFC 6386 §14.3, §14.4).
		shown[i] = min(max(predicted+((steps*mosaicStep+3)>>3+4)>>3, 0), 255)
		stepped[i] = min(abs(steps), 1)
		modes.bit(128, uint8(1-stepped[i]))
		modes.bit(145, 1) // the mean of neighbours, DC_PRED
		modes.bit(156, 0)
		modes.bit(163, 0)
		modes.bit(142, 0) // for colour too
		if steps != 0 {
			writeStep(tokens, steps, context)
		}
	}
}

func nearest(v, unit int) int {
	if v < 0 {
		return -nearest(-v, unit)
	}
	return (v + unit/2) / unit
}

func abs(v int) int { return max(v, -v) }

// writeStep writes the coefficients of a macroblock: Y2 DC, and nothing in any other block.
func writeStep(w *boolWriter, steps, context int) {
	p := &vp8Y2First[context]
	w.bit(p[0], 1) // not the end
	w.bit(p[1], 1) // not zero
	v := abs(steps)
	end := vp8Y2End[min(v-1, 1)]
	if v == 1 {
		w.bit(p[2], 0)
	} else {
		w.bit(p[2], 1)
		writeMagnitude(w, p, v)
	}
	sign := uint8(0)
	if steps < 0 {
		sign = 1
	}
	w.bit(128, sign)
	w.bit(end, 0)
	for range 16 {
		w.bit(vp8EmptyEnds[0], 0)
	}
	for range 8 {
		w.bit(vp8EmptyEnds[1], 0)
	}
}

// writeMagnitude writes a value from 2 to 66 from where it is known not to be 1.
func writeMagnitude(w *boolWriter, p *[11]uint8, v int) {
	if v <= 4 {
		w.bit(p[3], 0)
		if v == 2 {
			w.bit(p[4], 0)
			return
		}
		w.bit(p[4], 1)
		w.bit(p[5], uint8(v-3))
		return
	}
	w.bit(p[3], 1)
	for _, t := range vp8Tokens {
		if v < t.least {
			continue
		}
		for _, step := range t.path {
			w.bit(p[step[0]], step[1])
		}
		for i, prob := range t.extra {
			w.bit(prob, uint8((v-t.least)>>(len(t.extra)-1-i)&1))
		}
		return
	}
}

// appendStillFrame appends a VP8 frame that shows the last one again, without a step.
func appendStillFrame(dst []byte, columns, rows int) []byte {
	w := newBoolWriter(nil)
	writeFrameSetup(w)
	w.literal(0, 5) // no quantizer differs
	w.literal(0, 2) // the golden and the alternate frame stay
	w.literal(0, 4) // nor are they copies of others
	w.literal(0, 2) // their signs
	w.literal(1, 1) // probabilities are kept for what follows
	w.literal(1, 1) // this frame is the last one for the next
	writeNoUpdates(w)
	w.literal(1, 1) // macroblocks can be without coefficients, and nearly all are
	w.literal(1, 8)
	w.literal(1, 8)   // nearly all are predicted from another frame,
	w.literal(255, 8) // which is the last one
	w.literal(128, 8)
	w.literal(0, 2) // no mode's probabilities change
	for _, component := range vp8MVUpdateProbs {
		for _, prob := range component {
			w.bit(prob, 0)
		}
	}
	for i := range columns * rows {
		still := 0
		if i >= columns { // above
			still += 2
		}
		if i%columns > 0 { // left
			still += 2
		}
		if still == 4 { // above and left
			still++
		}
		w.bit(1, 1)   // no coefficients
		w.bit(1, 1)   // predicted from another frame,
		w.bit(255, 0) // the last one,
		w.bit(vp8StillProbs[still], 0)
	}
	first := w.finish()
	dst = append(appendFrameTag(dst, false, len(first)), first...)
	return append(dst, 0, 0) // an empty partition of coefficients
}

// appendFrameTag appends the tag that a frame begins with (RFC 6386 §9.1): version 0, shown.
func appendFrameTag(dst []byte, key bool, firstPartition int) []byte {
	tag := uint32(firstPartition)<<5 | 1<<4
	if !key {
		tag |= 1
	}
	return append(dst, byte(tag), byte(tag>>8), byte(tag>>16))
}

// writeFrameSetup writes what both kinds of frames have in their headers: no segments, no
// loop filter, one partition of coefficients, the quantizer (RFC 6386 §9.3 to §9.6).
func writeFrameSetup(w *boolWriter) {
	w.literal(0, 1)  // segments
	w.literal(0, 10) // filter: type, level, sharpness
	w.literal(0, 1)  // deltas of its level
	w.literal(0, 2)  // partitions
	w.literal(mosaicQuantizer, 7)
}

// writeNoUpdates keeps every coefficient probability.
func writeNoUpdates(w *boolWriter) {
	for _, plane := range vp8UpdateProbs {
		for _, band := range plane {
			for _, context := range band {
				for _, prob := range context {
					w.bit(prob, 0)
				}
			}
		}
	}
}
