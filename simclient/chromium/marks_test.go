package chromium

import (
	"encoding/hex"
	"encoding/json"
	"image"
	"os/exec"
	"testing"

	"github.com/callbench/callbench/simclient/media"
)

// script prints a marker, and barcodes as rows of cells.
const script = `import { barcode, marker } from './page/marks.js';
const id = { call: 'r-1', user: 'zoë', track: 1 };
console.log(JSON.stringify({
  marker: Buffer.from(marker(id, 4294967295, 1700000000123456789n)).toString('hex'),
  pictures: [0, 7, 255].map((n) => barcode(id, n).map(Number)),
}));`

// The page writes the marks that package media reads.
func TestMarksAreMedias(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Node.js; run without -short")
	}
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", script)
	out, err := cmd.Output()
	if _, missing := exec.LookPath("node"); missing != nil {
		t.Skip("there is no Node.js on the path: ", missing)
	}
	if err != nil {
		t.Fatal(err, string(out))
	}
	var got struct {
		Marker   string
		Pictures [][]int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	id := media.Identity{Call: "r-1", Participant: "zoë", Track: 1}
	want := media.AppendMarker(nil, media.Marker{Call: media.CallHash(id.Call), Participant: media.ParticipantHash(id.Participant), Track: 1,
		Sequence: 4294967295, Capture: 1700000000123456789})
	if got.Marker != hex.EncodeToString(want) {
		t.Errorf("marker %s, want %x", got.Marker, want)
	}
	for i, count := range []uint8{0, 7, 255} {
		found := new(media.Scanner).Scan(enlarged(got.Pictures[i]))
		b := media.BarcodeOf(id)
		b.Count = count
		if len(found) != 1 || found[0].Barcode != b {
			t.Errorf("barcode %d is read as %v, want %v", count, found, b)
		}
	}
}

// enlarged is a picture of 16x12 cells with 8 pixels a side.
func enlarged(cells []int) *image.Gray {
	const size = 8
	img := image.NewGray(image.Rect(0, 0, 16*size, 12*size))
	for y := range 12 * size {
		for x := range 16 * size {
			img.Pix[y*img.Stride+x] = uint8(255 * cells[y/size*16+x/size])
		}
	}
	return img
}
