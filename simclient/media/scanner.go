package media

import (
	"cmp"
	"image"
	"slices"
)

const (
	// brightFrom is the luma from which on a pixel counts as bright: halfway between the two
	// levels of a barcode.
	brightFrom = (barcodeDark + barcodeBright + 1) / 2
	// ringColumns and ringRows are the size of the ring in cells.
	ringColumns, ringRows = bitColumns + 2, bitRows + 2
	// minCell is the least size of a cell in pixels that is tried.
	minCell = 3
	// minContrast is the least difference of bright and dark cells that is believed.
	minContrast = 60
)

// Scanner finds barcodes in decoded pictures, wherever and in whatever size they are, upright:
// it looks for bright areas, and in their bounding boxes for the ring and the bits. Cells of
// 3 pixels suffice in a clean picture, 6 in a coarsely coded one: a barcode of 96x72 pixels, so a
// mix of 800x600 is legible with 64 participants.
//
// A reading is believed when all cells of the ring are bright and the checksum is right. It notices any 7 wrong
// bits of the 96, and all but one in 2^32 of other errors; that a picture without a
// barcode passes takes a ring of 44 cells besides.
//
// A scanner reuses its memory; it serves one goroutine at a time.
type Scanner struct {
	runs  []run
	areas []area
	found []Sighting
	// Unreadable counts barcodes that were seen by their ring, and whose checksum was wrong.
	Unreadable uint64
}

// run is a row's run of bright pixels, from x0 up to x1.
type run struct {
	x0, x1 int32
	area   int32
}

// area is a set of runs that touch, and the box around it.
type area struct {
	parent         int32 // the area that this one became part of, or itself
	x0, y0, x1, y1 int32
}

// plane is the luma of a picture.
type plane struct {
	pix                   []uint8
	stride, width, height int
}

// Scan returns the barcodes in a picture, ordered by Y and X. The result is good until the next
// call. Pictures of other kinds than [image.YCbCr] and [image.Gray] are not
// read.
func (s *Scanner) Scan(img image.Image) []Sighting {
	s.found = s.found[:0]
	p, ok := lumaOf(img)
	if !ok {
		return nil
	}
	s.findAreas(p)
	for i := range s.areas {
		if a := &s.areas[i]; int(a.parent) == i {
			s.read(p, a)
		}
	}
	slices.SortFunc(s.found, func(a, b Sighting) int { return cmp.Or(a.Y-b.Y, a.X-b.X) })
	return s.found
}

func lumaOf(img image.Image) (plane, bool) {
	r := img.Bounds()
	p := plane{width: r.Dx(), height: r.Dy()}
	switch img := img.(type) {
	case *image.YCbCr:
		p.pix, p.stride = img.Y, img.YStride
	case *image.Gray:
		p.pix, p.stride = img.Pix, img.Stride
	}
	// A sub-image keeps its first pixel first.
	return p, p.width > 0 && p.height > 0 && len(p.pix) >= (p.height-1)*p.stride+p.width
}

// findAreas joins the bright runs of each row with those above them that they touch.
func (s *Scanner) findAreas(p plane) {
	s.runs, s.areas = s.runs[:0], s.areas[:0]
	above := 0 // first run of the row above
	for y := range p.height {
		row := p.pix[y*p.stride:][:p.width]
		begin := len(s.runs)
		next := above // first run above that can touch the next one
		for x := 0; x < len(row); {
			if row[x] < brightFrom {
				x++
				continue
			}
			r := run{x0: int32(x), area: -1}
			for x < len(row) && row[x] >= brightFrom {
				x++
			}
			r.x1 = int32(x)
			for next < begin && s.runs[next].x1 <= r.x0 {
				next++
			}
			for i := next; i < begin && s.runs[i].x0 < r.x1; i++ {
				r.area = s.join(r.area, s.runs[i].area)
			}
			s.runs = append(s.runs, s.placed(r, int32(y)))
		}
		above = begin
	}
}

// root returns the area that an area is part of by now.
func (s *Scanner) root(a int32) int32 {
	for s.areas[a].parent != a {
		s.areas[a].parent = s.areas[s.areas[a].parent].parent
		a = s.areas[a].parent
	}
	return a
}

// join makes two areas one; a is -1 for none.
func (s *Scanner) join(a, b int32) int32 {
	b = s.root(b)
	if a < 0 || a == b {
		return b
	}
	if b < a {
		a, b = b, a
	}
	into, from := &s.areas[a], &s.areas[b]
	from.parent = a
	into.x0, into.y0 = min(into.x0, from.x0), min(into.y0, from.y0)
	into.x1, into.y1 = max(into.x1, from.x1), max(into.y1, from.y1)
	return a
}

// placed adds the run to its area, or to one of its own.
func (s *Scanner) placed(r run, y int32) run {
	if r.area < 0 {
		r.area = int32(len(s.areas))
		s.areas = append(s.areas, area{r.area, r.x0, y, r.x1, y + 1})
		return r
	}
	a := &s.areas[r.area]
	a.x0, a.x1, a.y1 = min(a.x0, r.x0), max(a.x1, r.x1), y+1
	return r
}

// read reads the box of an area as a ring with bits in it.
func (s *Scanner) read(p plane, a *area) {
	w, h := int(a.x1-a.x0), int(a.y1-a.y0)
	if w < minCell*ringColumns || h < minCell*ringRows {
		return
	}
	var cells [ringRows][ringColumns]int
	dark := 255
	for y := range ringRows {
		for x := range ringColumns {
			cells[y][x] = p.cell(a, x, y)
			dark = min(dark, cells[y][x])
		}
	}
	bright, ok := ring(&cells)
	if !ok || bright-dark < minContrast {
		return
	}
	var code [barcodeSize]byte
	for bit := range bitColumns * bitRows {
		if cells[1+bit/bitColumns][1+bit%bitColumns] > (bright+dark)/2 {
			code[bit/8] |= 1 << (7 - bit%8)
		}
	}
	b, ok := decodeBarcode(&code)
	if !ok {
		s.Unreadable++
		return
	}
	s.found = append(s.found, Sighting{Barcode: b, X: int(a.x0) - w/ringColumns, Y: int(a.y0) - h/ringRows,
		Width: w * barcodeColumns / ringColumns, Height: h * barcodeRows / ringRows})
}

// cell returns the mean of the middle of a cell, a quarter of its area.
func (p plane) cell(a *area, x, y int) int {
	span := func(from, to int32, i, n int) (int, int) {
		size := int(to - from)
		begin := int(from) + size*(4*i+1)/(4*n)
		return begin, max(int(from)+size*(4*i+3)/(4*n), begin+1)
	}
	x0, x1 := span(a.x0, a.x1, x, ringColumns)
	y0, y1 := span(a.y0, a.y1, y, ringRows)
	sum := 0
	for y := y0; y < y1; y++ {
		for _, v := range p.pix[y*p.stride+x0 : y*p.stride+x1] {
			sum += int(v)
		}
	}
	return sum / ((x1 - x0) * (y1 - y0))
}

// ring returns the mean of the cells around the bits; ok is false if one is not bright.
func ring(cells *[ringRows][ringColumns]int) (mean int, ok bool) {
	sum, n := 0, 0
	for y := range ringRows {
		for x := range ringColumns {
			if x > 0 && x < ringColumns-1 && y > 0 && y < ringRows-1 {
				continue
			}
			if cells[y][x] < brightFrom {
				return 0, false
			}
			sum += cells[y][x]
			n++
		}
	}
	return sum / n, true
}
