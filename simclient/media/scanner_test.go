package media

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/image/draw"
)

// paint draws the barcode's picture in its own size.
func paint(b Barcode) *image.Gray {
	m := b.picture()
	img := image.NewGray(image.Rect(0, 0, BarcodeWidth, BarcodeHeight))
	for y := range BarcodeHeight {
		for x := range BarcodeWidth {
			img.SetGray(x, y, color.Gray{Y: m.luma[y/mbSize*barcodeColumns+x/mbSize]})
		}
	}
	return img
}

func participant(i int) Identity {
	return Identity{Call: "room-7", Participant: fmt.Sprintf("user-%d", i), Track: 1}
}

// mix lays the barcodes of n participants out as a mixer does: columns are the root of n rounded up,
// tiles are filled from the left, pictures keep their shape and bars fill the rest.
func mix(n, width, height int) *image.Gray {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = barcodeDark
	}
	columns := int(math.Ceil(math.Sqrt(float64(n))))
	rows := (n + columns - 1) / columns
	w, h := width/columns, height/rows
	pw, ph := min(w, h*4/3), min(h, w*3/4)
	for i := range n {
		x, y := i%columns*w+(w-pw)/2, i/columns*h+(h-ph)/2
		draw.BiLinear.Scale(img, image.Rect(x, y, x+pw, y+ph), paint(BarcodeOf(participant(i))), image.Rect(0, 0, BarcodeWidth, BarcodeHeight), draw.Src, nil)
	}
	return img
}

// coarse codes the picture as JPEG and back.
func coarse(t testing.TB, img image.Image, quality int) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	out, err := jpeg.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func noisy(img *image.Gray, amplitude float64) *image.Gray {
	rng := rand.New(rand.NewPCG(1, uint64(amplitude)))
	for i, v := range img.Pix {
		img.Pix[i] = uint8(min(max(float64(v)+rng.NormFloat64()*amplitude, 0), 255))
	}
	return img
}

func wantAll(t *testing.T, what string, found []Sighting, n int) {
	t.Helper()
	if len(found) != n {
		t.Errorf("%s: %d barcodes of %d", what, len(found), n)
		return
	}
	for i := range n {
		if !slices.ContainsFunc(found, func(s Sighting) bool { return s.Names(participant(i)) }) {
			t.Errorf("%s: participant %d was not found", what, i)
		}
	}
}

func TestScannerReadsMixes(t *testing.T) {
	var s Scanner
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 16, 17, 25, 36, 49, 64} {
		img := mix(n, 800, 600)
		wantAll(t, fmt.Sprint(n), s.Scan(img), n)
		wantAll(t, fmt.Sprint(n, " coarse"), s.Scan(coarse(t, img, 10)), n)
		if n <= 36 {
			wantAll(t, fmt.Sprint(n, " noisy"), s.Scan(noisy(img, 25)), n)
		}
	}
	for _, size := range [][2]int{{320, 240}, {640, 360}, {1280, 720}, {1920, 1080}} {
		for _, n := range []int{1, 2, 3, 4, 9} {
			wantAll(t, fmt.Sprint(n, " in ", size), s.Scan(coarse(t, mix(n, size[0], size[1]), 20)), n)
		}
	}
}

// A picture is found where it is, in its size.
func TestScannerTellsWhere(t *testing.T) {
	var s Scanner
	found := s.Scan(mix(4, 800, 600))
	if len(found) != 4 {
		t.Fatalf("%d barcodes", len(found))
	}
	for i, f := range found {
		x, y := i%2*400, i/2*300
		if abs(f.X-x) > 3 || abs(f.Y-y) > 3 || abs(f.Width-400) > 4 || abs(f.Height-300) > 4 {
			t.Errorf("tile %d: %+v", i, f)
		}
	}
}

// A distorted shape is no obstacle: mixers may stretch pictures to their tiles.
func TestScannerReadsStretched(t *testing.T) {
	var s Scanner
	for _, r := range []image.Rectangle{image.Rect(10, 20, 180, 590), image.Rect(3, 100, 799, 180)} {
		img := mix(1, 800, 600)
		clear(img.Pix)
		draw.BiLinear.Scale(img, r, paint(BarcodeOf(participant(0))), image.Rect(0, 0, BarcodeWidth, BarcodeHeight), draw.Src, nil)
		wantAll(t, r.String(), s.Scan(coarse(t, img, 30)), 1)
	}
}

// What is damaged is not read as something else, and the rest of the mix is read all the same.
func TestScannerNoticesDamage(t *testing.T) {
	var s Scanner
	for bit := range bitColumns * bitRows {
		img := mix(4, 800, 600)
		const cell = 25
		x, y := (barcodeRim+bit%bitColumns)*cell, (barcodeRim+bit/bitColumns)*cell
		level := uint8(barcodeBright)
		if img.GrayAt(x+cell/2, y+cell/2).Y > brightFrom {
			level = barcodeDark
		}
		draw.Draw(img, image.Rect(x, y, x+cell, y+cell), image.NewUniform(color.Gray{Y: level}), image.Point{}, draw.Src)
		found := s.Scan(img)
		if len(found) != 3 || !found[0].Names(participant(1)) || s.Unreadable != uint64(bit+1) {
			t.Fatalf("bit %d: %d found, %d unreadable", bit, len(found), s.Unreadable)
		}
	}
}

func TestScannerSeesNothing(t *testing.T) {
	var s Scanner
	for name, img := range map[string]image.Image{
		"empty":  image.NewGray(image.Rect(0, 0, 0, 0)),
		"black":  image.NewGray(image.Rect(0, 0, 800, 600)),
		"noise":  noisy(image.NewGray(image.Rect(0, 0, 800, 600)), 250),
		"colour": image.NewRGBA(image.Rect(0, 0, 800, 600)),
		"short":  &image.Gray{Pix: make([]uint8, 10), Stride: 800, Rect: image.Rect(0, 0, 800, 600)},
	} {
		if found := s.Scan(img); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestScannerDoesNotAllocate(t *testing.T) {
	var s Scanner
	img := coarse(t, mix(9, 800, 600), 20)
	s.Scan(img)
	if n := testing.AllocsPerRun(10, func() { s.Scan(img) }); n > 0 {
		t.Errorf("%v allocations a picture", n)
	}
}

// FuzzScanner looks at pictures of any bytes: nothing that was not drawn is found, and nothing crashes.
func FuzzScanner(f *testing.F) {
	small := mix(1, 96, 72)
	f.Add(small.Pix, uint16(96), []byte{})
	f.Add(small.Pix, uint16(95), []byte{5, 200, 255})
	f.Add(mix(4, 192, 144).Pix, uint16(192), []byte{40, 3, 255, 2, 80, 0})
	var s Scanner
	f.Fuzz(func(t *testing.T, pix []byte, width uint16, spots []byte) {
		pix = bytes.Clone(pix)
		w := max(int(width), 1)
		img := &image.Gray{Pix: pix, Stride: w, Rect: image.Rect(0, 0, w, len(pix)/w)}
		for ; len(spots) >= 3; spots = spots[3:] { // changes that keep most of a barcode
			if i := int(spots[0])*w + int(spots[1]); i < len(pix) {
				pix[i] = spots[2]
			}
		}
		for _, found := range s.Scan(img) {
			if !found.Names(participant(0)) && !found.Names(participant(1)) && !found.Names(participant(2)) && !found.Names(participant(3)) {
				t.Errorf("found %v", found)
			}
			if found.Width < minCell*barcodeColumns || found.Height < minCell*barcodeRows {
				t.Errorf("found in %+v", found)
			}
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	for _, n := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var s Scanner
			img := coarse(b, mix(n, 800, 600), 20)
			b.ReportAllocs()
			for b.Loop() {
				if len(s.Scan(img)) != n {
					b.Fatal("not all were read")
				}
			}
		})
	}
}
