package conform

import (
	"bytes"
	"encoding/hex"
	"net"
	"testing"
)

func TestOldAnswer(t *testing.T) {
	from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 0x1234}
	id := "000102030405060708090a0b0c0d0e0f"
	request, _ := hex.DecodeString("00010000" + id)
	want, _ := hex.DecodeString("0101000c" + id + "00010008" + "00011234" + "7f000001")
	if got := oldAnswer(request, from); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	cookie, _ := hex.DecodeString("00010000" + "2112a442" + id[8:])
	for name, other := range map[string][]byte{"with a cookie": cookie, "short": request[:19], "data": append([]byte{0x40, 1}, request[2:]...)} {
		if got := oldAnswer(other, from); got != nil {
			t.Errorf("%s: answered %x", name, got)
		}
	}
}
