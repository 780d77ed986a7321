package kmsmock

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// A hijacker hands the websocket library a connection whose writes can be held
// back and sent together.
type hijacker struct {
	http.ResponseWriter
	wire *wire
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.wire = &wire{Conn: raw}
	return h.wire, rw, nil
}

// A wire is the connection under the websocket.
type wire struct {
	net.Conn
	mu      sync.Mutex
	deaf    atomic.Bool // nothing is sent any more
	holding bool
	held    []byte
}

// tune sets TCP_NODELAY as the timing asks for; false means that there is no
// TCP underneath.
func (w *wire) tune(ackDelay time.Duration) bool {
	tcp, ok := w.Conn.(*net.TCPConn)
	if ok {
		_ = tcp.SetNoDelay(ackDelay == 0)
	}
	return ok
}

func (w *wire) Write(p []byte) (int, error) {
	p = inKurentosWords(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holding {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if w.deaf.Load() {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

func (w *wire) begin() {
	w.mu.Lock()
	w.holding = true
	w.mu.Unlock()
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = false
	if w.deaf.Load() {
		w.held = w.held[:0]
	}
	_, err := w.Conn.Write(w.held)
	w.held = w.held[:0]
	return err
}

// breaches are the words of this package's websocket library for what a client
// does wrong, as they begin, and those of Kurento's.
var breaches = []struct{ ours, theirs string }{
	{"RSV", "Invalid use of reserved bits"},
	{"bad opcode", "invalid opcode"},
	{"len > 125", "Control messages are limited to fewer than 125 characters"},
	{"FIN not set", "Control messages cannot be fragmented"},
	{"data before FIN", "Invalid message continuation"},
	{"continuation after FIN", "Invalid message continuation"},
	{"bad MASK", "Clients may not send unmasked frames"},
	{"bad close code", "Invalid close code"},
	{"invalid utf8 payload", "Invalid close reason"},
}

const (
	closeFrame = 0x80 | websocket.CloseMessage
	tooLarge   = "A message was too large"
)

// inKurentosWords gives a close frame that the websocket library writes by
// itself the text that Kurento's has.
func inKurentosWords(frame []byte) []byte {
	if len(frame) < 4 || frame[0] != closeFrame {
		return frame
	}
	code, text := int(binary.BigEndian.Uint16(frame[2:])), string(frame[4:])
	switch code {
	case websocket.CloseMessageTooBig:
		text = tooLarge
	case websocket.CloseProtocolError:
		for _, b := range breaches {
			if strings.HasPrefix(text, b.ours) {
				text = b.theirs
				break
			}
		}
	}
	body := websocket.FormatCloseMessage(code, text)
	return append([]byte{closeFrame, byte(len(body))}, body...)
}
