package record

import (
	"net/http"
	"strings"
	"testing"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// TestMaskText wants each secret masked and everything else as it was.
func TestMaskText(t *testing.T) {
	f := strings.Repeat("AB:", 31) + "CD"
	masked := strings.Repeat("00:", 31) + "01"
	for in, want := range map[string]string{
		`a=ice-pwd:abcdefghijklmnopqrstuv\r\n`:                                       `a=ice-pwd:masked0000000000000001\r\n`,
		`a=fingerprint:sha-256 ` + f + `\r\n`:                                        `a=fingerprint:sha-256 ` + masked + `\r\n`,
		`"turnUrl":"alice:s3cr/et=@8.8.8.8:3478?transport=tcp"`:                      `"turnUrl":"user1:secret1@203.0.113.1:3478?transport=tcp"`,
		`"turnUrl":"1795376467:alice:x:s3cr\/et@127.0.0.1:3478"`:                     `"turnUrl":"1795376467:user1:secret1@127.0.0.1:3478"`,
		`"uri":"rtsp:\/\/admin:hunter22@camera.example\/1"`:                          `"uri":"rtsp:\/\/user1:secret1@camera.example\/1"`,
		`candidate:1 1 UDP 2015363327 8.8.4.4 5 typ srflx raddr 10.0.0.1 rport 9`:    `candidate:1 1 UDP 2015363327 203.0.113.1 5 typ srflx raddr 10.0.0.1 rport 9`,
		`c=IN IP4 8.8.8.8\r\nc=IN IP4 8.8.4.4 8.8.8.8`:                               `c=IN IP4 203.0.113.1\r\nc=IN IP4 203.0.113.2 203.0.113.1`,
		`c=IN IP6 2a00:1450:4001::8\r\n fe80::1 ::1 fd00::2 ::`:                      `c=IN IP6 2001:db8::1\r\n fe80::1 ::1 fd00::2 ::`,
		`c=IN IP4 0.0.0.0 127.0.0.1 192.168.1.2 172.17.0.1 10.1.2.3 224.0.0.1`:       `c=IN IP4 0.0.0.0 127.0.0.1 192.168.1.2 172.17.0.1 10.1.2.3 224.0.0.1`,
		`udp 5 01234567-89ab-4def-8123-0123456789ab.local 9`:                         `udp 5 00000000-0000-4000-8000-000000000001.local 9`,
		`01234567-89ab-4def-8123-0123456789ab_kurento.MediaPipeline`:                 `01234567-89ab-4def-8123-0123456789ab_kurento.MediaPipeline`,
		`"time":"10:20:30","id":1,"jsonrpc":"2.0","version":"7.3.0","x":"node::add"`: `"time":"10:20:30","id":1,"jsonrpc":"2.0","version":"7.3.0","x":"node::add"`,
	} {
		m := newMask()
		if got := m.text(in); got != want {
			t.Errorf("%s\n\tis masked %s\n\twant      %s", in, got, want)
		}
		if got := m.text(in); got != want {
			t.Errorf("%s is masked %s the second time", in, got)
		}
	}
}

// TestMaskAgain finds a secret that comes again without its surroundings.
func TestMaskAgain(t *testing.T) {
	m := newMask()
	m.text(`a=ice-pwd:abcdefghijklmnopqrstuv\r\n "turnUrl":"alice:longsecret@10.0.0.1:3478"`)
	want := `masked0000000000000001 secret1 user1:secret1@10.0.0.1:3478`
	if got := m.text(`abcdefghijklmnopqrstuv longsecret "alice:longsecret@10.0.0.1:3478`); got != strings.Replace(want, " user1", ` "user1`, 1) {
		t.Errorf("masked %s, want %s", got, want)
	}
}

func TestMaskNote(t *testing.T) {
	m := newMask()
	l := transcript.Line{Note: "case c started 2026-01-02T03:04:05Z against wss://me:secret@kms.customer.example:8433/kurento",
		URL: "wss://kms.customer.example:8433/kurento?token=abcdefghij", CloseText: "go to 8.8.8.8", Payload: "8.8.8.8",
		Header: http.Header{"Server": {"WebSocket++/0.8.2"}, "Set-Cookie": {"secret"}}}
	m.note(&l)
	want := transcript.Line{Note: "case c started 2026-01-02T03:04:05Z against wss://kurento1.example:8433/kurento",
		URL: "wss://kurento1.example:8433/kurento?token=value1", CloseText: "go to 203.0.113.1", Payload: "203.0.113.1"}
	if l.Note != want.Note || l.URL != want.URL || l.CloseText != want.CloseText || l.Payload != want.Payload || len(l.Header) != 1 {
		t.Errorf("masked %+v", l)
	}
	for in, want := range map[string]string{"ws://127.0.0.1:8888/kurento": "ws://127.0.0.1:8888/kurento", "ws://[::1]/": "ws://[::1]/",
		"ws://[2a00::1]:80/": "ws://[2001:db8::1]:80/", "ws://localhost:1/x": "ws://localhost:1/x", "ws://8.8.8.8/": "ws://203.0.113.1/"} {
		if got := m.url(in); got != want {
			t.Errorf("%s is masked %s, want %s", in, got, want)
		}
	}
}
