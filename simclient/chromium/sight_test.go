package chromium

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/callbench/callbench/simclient/media"
)

// picture is a rendered frame with a barcode in it, as package media lays it out.
func picture(user string, count uint8) frame {
	b := media.BarcodeOf(media.Identity{Call: "r", Participant: user, Track: 1})
	code := binary.BigEndian.AppendUint32(nil, b.Participant)
	code = append(binary.BigEndian.AppendUint16(code, b.Call), b.Track, count)
	sum := crc32.Checksum(append(slices.Clone(code), 1), crc32.MakeTable(crc32.Castagnoli))
	code = binary.BigEndian.AppendUint32(code, sum)
	cells := make([]int, 16*12)
	for i := range cells {
		x, y := i%16-2, i/16-2
		switch bit := y*12 + x; {
		case x >= 0 && x < 12 && y >= 0 && y < 8:
			cells[i] = int(code[bit/8]>>(7-bit%8)) & 1
		case x >= -1 && x < 13 && y >= -1 && y < 9:
			cells[i] = 1
		}
	}
	img := enlarged(cells)
	return frame{img.Rect.Dx(), img.Rect.Dy(), 0, img.Pix}
}

// plain is a frame of one brightness.
func plain(bright uint8) frame {
	return frame{64, 48, 0, slices.Repeat([]byte{bright}, 64*48)}
}

// What is rendered is told when it changes and each second: who is seen, and
// whether the picture moves, stands still, is black, or shows nothing known.
func TestSight(t *testing.T) {
	var told []string
	s := &sight{name: func(b media.Barcode) string {
		if b.Participant == media.ParticipantHash("bob") {
			return "bob"
		}
		return ""
	}}
	begin := time.Unix(1000, 0)
	s.tell = func(kind string, attrs ...slog.Attr) {
		if kind == "media.picture" {
			told = append(told, value(attrs, "state")+" "+value(attrs, "from"))
		}
	}
	at := 0
	show := func(f frame, times int) {
		for range times {
			s.look(f, begin.Add(time.Duration(at)*250*time.Millisecond))
			at++
		}
	}
	for n := range uint8(6) { // 1.5 s: told at once, and after a second
		show(picture("bob", n), 1)
	}
	show(picture("bob", 5), 14) // 3.5 s: moving for 2.5 s, and then not
	show(plain(0), 2)
	show(plain(128), 1)
	show(picture("eve", 1), 1)
	show(picture("bob", 1), 1)
	want := []string{"moving bob", "moving bob", "moving bob", "moving bob", "frozen bob", "frozen bob", "black ", "unknown ", "moving ", "moving bob"}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
}
