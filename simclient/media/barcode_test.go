package media

import (
	"bytes"
	"fmt"
	"math/bits"
	"testing"
)

var testIdentity = Identity{Call: "call-1", Participant: "alice", Track: 1}

// The picture that a decoder shows is the one that was drawn, square by square.
func TestBarcodeKeyFramesDecode(t *testing.T) {
	clip := mustLoad(t, ClipBarcode).of(testIdentity)
	keys := uint8(0)
	for i := range clip.Len() {
		frame, key := clip.Unit(i)
		if !key {
			continue
		}
		b := BarcodeOf(testIdentity)
		b.Count = keys
		keys++
		marked, err := AppendMarked(nil, VP8, frame, testMarker)
		if err != nil {
			t.Fatal(err)
		}
		img, want := decodeKeyFrame(t, marked), b.picture()
		if img.Rect.Dx() != BarcodeWidth || img.Rect.Dy() != BarcodeHeight {
			t.Fatalf("size %v", img.Rect)
		}
		for y := range BarcodeHeight {
			for x := range BarcodeWidth {
				got, want := int(img.Y[y*img.YStride+x]), int(want.luma[y/mbSize*barcodeColumns+x/mbSize])
				if abs(got-want) > 3 {
					t.Fatalf("second %d: luma %d at %d,%d, want %d", keys, got, x, y, want)
				}
			}
		}
		if bytes.Count(img.Cb, []byte{128}) != len(img.Cb) || bytes.Count(img.Cr, []byte{128}) != len(img.Cr) {
			t.Fatal("the picture has colour")
		}
	}
	if keys != barcodeSeconds {
		t.Errorf("%d key frames", keys)
	}
}

// Every decoder shows each key frame for a second, whatever is behind the frames.
func TestFFmpegDecodesBarcodes(t *testing.T) {
	ffmpeg := findFFmpeg(t)
	clip := mustLoad(t, ClipBarcode).of(testIdentity)
	file := writeFile(t, "barcode.ivf", ivf(markedUnits(t, clip)))
	for _, decoder := range []string{"vp8", "libvpx"} {
		luma := decode(t, ffmpeg, decoder, file, "rawvideo")
		const size = BarcodeWidth * BarcodeHeight * 3 / 2
		if len(luma) != clip.Len()*size {
			t.Fatalf("%s: %d bytes, want %d frames of %d", decoder, len(luma), clip.Len(), size)
		}
		b := BarcodeOf(testIdentity)
		for i := range clip.Len() {
			b.Count = uint8(i / 30)
			frame, want := luma[i*size:][:size], b.picture()
			for cell, w := range want.luma {
				x, y := cell%barcodeColumns*mbSize, cell/barcodeColumns*mbSize
				for _, at := range []int{y*BarcodeWidth + x, (y+mbSize-1)*BarcodeWidth + x + mbSize - 1} {
					if abs(int(frame[at])-int(w)) > 3 {
						t.Fatalf("%s: frame %d, cell %d: %d, want %d", decoder, i, cell, frame[at], w)
					}
				}
			}
		}
	}
}

// A sum of checksums of up to three wrong bits is one of up to six; as no two are equal, no six
// wrong bits pass. Nor does any odd number: the polynomial has the factor x+1.
func TestBarcodeChecksumNoticesSevenWrongBits(t *testing.T) {
	const n = bitColumns * bitRows
	var zero [barcodeSize]byte
	clean := barcodeChecksum(&zero)
	var syndromes [n]uint32
	for i := range n {
		if i >= 64 {
			syndromes[i] = 1 << (n - 1 - i)
			continue
		}
		code := zero
		code[i/8] = 1 << (7 - i%8)
		syndromes[i] = barcodeChecksum(&code) ^ clean
	}
	// Each syndrome counts as odd: with weights modulo x+1, sets of odd and even size differ.
	seen := map[uint32]string{0: "no bit"}
	add := func(s uint32, what string) {
		if old, ok := seen[s]; ok {
			t.Fatalf("%s and %s have one checksum", old, what)
		}
		seen[s] = what
	}
	for i := range n {
		add(syndromes[i], "1 bit")
		for j := range i {
			add(syndromes[i]^syndromes[j], "2 bits")
			for k := range j {
				add(syndromes[i]^syndromes[j]^syndromes[k], "3 bits")
			}
		}
	}
	// Odd: were an odd number of syndromes to sum to 0, some linear function that is 1 on
	// each of them could not exist.
	if !parityFunction(syndromes[:]) {
		t.Error("an odd number of wrong bits can pass")
	}
}

// parityFunction tells whether a mask has odd overlap with every syndrome.
func parityFunction(syndromes []uint32) bool {
	// The last 32 syndromes are single bits, so only the mask of all of them can do.
	for _, s := range syndromes {
		if bits.OnesCount32(s)%2 == 0 {
			return false
		}
	}
	return true
}

func TestBarcodeClipSize(t *testing.T) {
	for _, bitrate := range []int{0, 200_000, 500_000} {
		clip := NewBarcodeClip(bitrate).of(testIdentity)
		total := 0
		for i := range clip.Len() {
			frame, _ := clip.Unit(i)
			total += len(frame) + MarkerSize
		}
		got := total * 8 / barcodeSeconds
		t.Logf("%d bit/s: %d bit/s", bitrate, got)
		if low, high := bitrate*98/100, max(bitrate, 40_000); got < low || got > high {
			t.Errorf("%d bit/s became %d", bitrate, got)
		}
	}
}

func ExampleBarcodeOf() {
	fmt.Println(BarcodeOf(Identity{Call: "call-1", Participant: "alice"}).Names(Identity{Call: "call-1", Participant: "bob"}))
	// Output: false
}
