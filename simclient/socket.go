package simclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

const (
	// writeTimeout bounds one write. A socket that takes nothing for so long is dead.
	writeTimeout = 5 * time.Second
	// closeTimeout is how long the server's close frame is awaited.
	closeTimeout = time.Second
)

// Why a socket ended, when this side found out.
const (
	causePong    = "pong_timeout"
	causeLate    = "late_welcome" // the server speaks level 1 after all
	causeWelcome = "welcome_timeout"
	causeWrite   = "write_error"
	causeRead    = "read_error"
	causeServer  = "server"  // it sent a close frame
	causeDropped = "dropped" // Client.Drop
	causeClosed  = "closed"  // Client.Close
	causeCrashed = "crashed" // Client.Crash
)

// socket is one WebSocket. Writes are done in order on a queue of its own, so
// that a network that takes nothing holds up nobody. It ends when its reader
// does, and the reader is what tells.
type socket struct {
	ws    *websocket.Conn
	out   serial.Queue
	cause atomic.Pointer[string] // why this side ended it, if it did
}

// dialSocket opens a WebSocket and shows the token in its request. The end of
// ctx interrupts it wherever it is.
func dialSocket(ctx context.Context, cfg *Config, token string) (*socket, error) {
	watched := func() bool { return true }
	dialer := websocket.Dialer{TLSClientConfig: cfg.TLS, NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := cfg.Dial(ctx, network, addr)
		if err == nil { // gorilla minds ctx's deadline, but not its cancellation
			watched = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}}
	var header http.Header
	if token != "" {
		header = http.Header{"Authorization": {"Bearer " + token}}
	}
	ws, resp, err := dialer.DialContext(ctx, cfg.URL, header)
	if err == nil && !watched() {
		ws.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		watched()
		switch {
		case resp == nil:
		case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
			err = signaling.Errorf(signaling.CodeUnauthorized, "%s", resp.Status)
		default:
			err = fmt.Errorf("%w: %s", err, resp.Status)
		}
		address, _, _ := strings.Cut(cfg.URL, "?") // what is behind it may be a secret
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	ws.SetReadLimit(signaling.MaxFrame)
	return &socket{ws: ws}, nil
}

// read hands every frame to onFrame and every pong to onPong until the socket
// ends, and returns why. Nothing of the socket runs any more then.
func (s *socket) read(onFrame func([]byte), onPong func()) error {
	s.ws.SetPongHandler(func(string) error {
		onPong()
		return nil
	})
	for {
		_, b, err := s.ws.ReadMessage()
		if err != nil {
			s.ws.Close()
			s.out.Close()
			return err
		}
		onFrame(b)
	}
}

// send queues one text message.
func (s *socket) send(b []byte) { s.sendThen(b, func() {}) }

// sendThen queues one text message, and then runs after it was written.
func (s *socket) sendThen(b []byte, then func()) {
	s.write(func() error {
		err := s.ws.WriteMessage(websocket.TextMessage, b)
		if err == nil {
			then()
		}
		return err
	})
}

// sendBinary queues one binary message.
func (s *socket) sendBinary(b []byte) {
	s.write(func() error { return s.ws.WriteMessage(websocket.BinaryMessage, b) })
}

// ping queues a WebSocket ping.
func (s *socket) ping() {
	s.write(func() error { return s.ws.WriteMessage(websocket.PingMessage, nil) })
}

// shut queues a close frame, after which the server ends the connection. One
// that does not is cut off after a while.
func (s *socket) shut(code int, cause string) {
	s.cause.CompareAndSwap(nil, &cause)
	s.write(func() error {
		s.ws.SetReadDeadline(time.Now().Add(closeTimeout))
		return s.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
	})
}

func (s *socket) write(f func() error) {
	s.out.Do(func() {
		s.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := f(); err != nil {
			s.kill(causeWrite)
		}
	})
}

// kill ends the connection without a word. The first cause counts.
func (s *socket) kill(cause string) {
	s.cause.CompareAndSwap(nil, &cause)
	s.ws.NetConn().Close()
}

// closeCode is the WebSocket close code of a read error, 1006 if there was no
// close frame (RFC 6455 §7.1.5), and why the socket ended.
func (s *socket) closeCode(err error) (code int, cause string) {
	code, cause = websocket.CloseAbnormalClosure, causeRead
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		code, cause = closed.Code, causeServer
	}
	if own := s.cause.Load(); own != nil {
		cause = *own
	}
	return code, cause
}
