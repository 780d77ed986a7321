package kurento

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/gorilla/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

// keepBuffer is the largest receive buffer kept for the next message, in bytes.
const keepBuffer = 256 << 10

// stream is the jsonrpc2.ObjectStream of a link. It keeps events to itself:
// jsonrpc2 would decode each of them three times, and its handlers either
// block the read loop or lose the order.
type stream struct {
	link    *link
	onEvent func(Event)
	buf     bytes.Buffer
}

// WriteObject writes one message; jsonrpc2 calls it from one goroutine at a
// time.
func (s *stream) WriteObject(obj any) error {
	data, err := marshal(obj)
	if err != nil {
		return err
	}
	ws := s.link.ws
	if err = ws.SetWriteDeadline(time.Now().Add(s.link.cfg.WriteTimeout)); err == nil {
		err = ws.WriteMessage(websocket.TextMessage, data)
	}
	if err != nil {
		err = fmt.Errorf("write: %w", err)
		s.link.abort(err)
	}
	return err
}

// ReadObject reads on until a message comes that is not an event. The cause of
// a loss is noted here and reported by the client, so jsonrpc2 is told of an
// end that it does not report too.
func (s *stream) ReadObject(v any) error {
	if err := s.read(v); err != nil {
		s.link.setCause(err)
		close(s.link.readDone) // jsonrpc2 reads no more after an error
		return io.EOF
	}
	return nil
}

func (s *stream) read(v any) error {
	for {
		data, err := s.next()
		if err != nil {
			return err
		}
		if isResponse(data) {
			return unmarshal(data, v)
		}
		var n notification
		if err := json.Unmarshal(data, &n); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch n.Method {
		case "":
			return unmarshal(data, v)
		case methodOnEvent:
			s.onEvent(Event(n.Params.Value))
		}
	}
}

// next returns the next message, valid until the call after.
func (s *stream) next() ([]byte, error) {
	if s.buf.Cap() > keepBuffer {
		s.buf = bytes.Buffer{}
	}
	s.buf.Reset()
	_, r, err := s.link.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if _, err := s.buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return s.buf.Bytes(), nil
}

// Close ends the connection; jsonrpc2 calls it when the link is lost.
func (s *stream) Close() error { return s.link.ws.Close() }

// marshal and unmarshal call jsonrpc2's methods directly: through package json
// every message would be scanned once more.
func marshal(v any) ([]byte, error) {
	if m, ok := v.(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	return json.Marshal(v)
}

func unmarshal(data []byte, v any) error {
	if u, ok := v.(json.Unmarshaler); ok {
		return u.UnmarshalJSON(data)
	}
	return json.Unmarshal(data, v)
}

// refusingHandler is for requests from the other side, which never come: the
// stream has taken the events out.
type refusingHandler struct{}

func (refusingHandler) Handle(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request) {}

// protocolLog receives what jsonrpc2 complains about.
type protocolLog struct{ log *slog.Logger }

func (p protocolLog) Printf(format string, args ...any) {
	p.log.Warn("kms.protocol", "error", fmt.Sprintf(format, args...))
}
