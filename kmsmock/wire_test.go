package kmsmock

import (
	"errors"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestBreachesOfTheProtocolAreToldInKurentosWords sends frames that a client
// must not send. The close frames are recorded from a real server.
func TestBreachesOfTheProtocolAreToldInKurentosWords(t *testing.T) {
	_, l := startMock(t, Config{Timing: Fast})
	const masked = 0x80
	control := make([]byte, 132)
	for name, tc := range map[string]struct {
		frame []byte
		code  int
		text  string
	}{
		"reserved bit":            {[]byte{0xc1, masked, 0, 0, 0, 0}, 1002, "Invalid use of reserved bits"},
		"unknown opcode":          {[]byte{0x83, masked, 0, 0, 0, 0}, 1002, "invalid opcode"},
		"not masked":              {[]byte{0x81, 0}, 1002, "Clients may not send unmasked frames"},
		"continuation of nothing": {[]byte{0x80, masked, 0, 0, 0, 0}, 1002, "Invalid message continuation"},
		"text within a text":      {[]byte{0x01, masked, 0, 0, 0, 0, 0x81, masked, 0, 0, 0, 0}, 1002, "Invalid message continuation"},
		"long ping":               {append([]byte{0x89, masked | 126, 0, 126}, control...), 1002, "Control messages are limited to fewer than 125 characters"},
		"ping in parts":           {[]byte{0x09, masked, 0, 0, 0, 0}, 1002, "Control messages cannot be fragmented"},
		"close code 1005":         {[]byte{0x88, masked | 2, 0, 0, 0, 0, 0x03, 0xed}, 1002, "Invalid close code"},
		"close reason no UTF-8":   {[]byte{0x88, masked | 3, 0, 0, 0, 0, 0x03, 0xe8, 0xff}, 1002, "Invalid close reason"},
		"33 MB announced":         {[]byte{0x81, masked | 127, 0, 0, 0, 0, 0x01, 0xf7, 0x8a, 0x40, 0, 0, 0, 0}, 1009, "A message was too large"},
		"close without a code":    {[]byte{0x88, masked, 0, 0, 0, 0}, 1000, ""},
		"close 1001":              {[]byte{0x88, masked | 5, 0, 0, 0, 0, 0x03, 0xe9, 'b', 'y', 'e'}, 1001, "bye"},
	} {
		t.Run(name, func(t *testing.T) {
			d := websocket.Dialer{NetDialContext: l.dial}
			ws, _, err := d.Dial("ws://mock/kurento", nil)
			must(t, err)
			defer ws.Close()
			go func() { _, _ = ws.NetConn().Write(tc.frame) }()
			_, _, err = ws.ReadMessage()
			var closed *websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != tc.code || closed.Text != tc.text {
				t.Errorf("ended with %v, want %d %q", err, tc.code, tc.text)
			}
		})
	}
}

// A connection may be closed while frames for it are gathered: the close frame
// goes out though they do not.
func TestCloseFrameAmongGatheredOnes(t *testing.T) {
	s := Start(t)
	ws, _, err := websocket.DefaultDialer.Dial(s.URL(), nil)
	must(t, err)
	defer ws.Close()
	must(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"interval":1000}}`)))
	_, _, err = ws.ReadMessage()
	must(t, err)
	s.mu.Lock()
	c := s.sortedConns()[0]
	s.mu.Unlock()
	must(t, ws.SetReadDeadline(time.Now().Add(15*time.Second)))
	c.wire.begin()
	closeWith(c.ws, websocket.CloseNormalClosure, "bye")
	if err := c.writeBatch([][]byte{[]byte("{}")}); !errors.Is(err, websocket.ErrCloseSent) {
		t.Errorf("written after a close frame: %v", err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("read %v, want the close frame", err)
	}
}
