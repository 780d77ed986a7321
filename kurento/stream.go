package kurento

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/goccy/go-json"
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
	params  []byte            // of the request that is about to be sent; nil if it has none. Whoever holds link.sending sets it
	request *jsonrpc2.Request // the latest to be written
	out     []byte
}

// announce is told by jsonrpc2 of every request just before it has it written.
func (s *stream) announce(request *jsonrpc2.Request, _ *jsonrpc2.Response) { s.request = request }

// announced reports whether the writing of a request was begun. Only the
// holder of link.sending may ask.
func (s *stream) announced(id jsonrpc2.ID) bool { return s.request != nil && s.request.ID == id }

// WriteObject writes the request that was announced; jsonrpc2 calls both with
// its lock held. It knows nothing of the parameters: its own encoding would copy
// them, an SDP with processOffer, three times over.
func (s *stream) WriteObject(any) error {
	s.out = appendRequest(s.out[:0], s.request, s.params)
	ws := s.link.ws
	err := ws.SetWriteDeadline(time.Now().Add(s.link.cfg.WriteTimeout))
	if err == nil {
		err = ws.WriteMessage(websocket.TextMessage, s.out)
	}
	if cap(s.out) > keepBuffer {
		s.out = nil
	}
	if err != nil {
		err = fmt.Errorf("write: %w", err)
		s.link.setCause(err)
		// KMS may have said why, and that is still to be read.
		_ = ws.SetReadDeadline(time.Now().Add(closeTimeout))
	}
	return err
}

// appendRequest appends the frame of a request whose id is of idSource, and so
// needs no escaping.
func appendRequest(b []byte, r *jsonrpc2.Request, params []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":"`...)
	b = append(b, r.ID.Str...)
	b = append(b, `","method":`...)
	method, _ := json.Marshal(r.Method)
	b = append(b, method...)
	if params != nil {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
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
		done, err := s.decode(data, v)
		if err != nil {
			return fmt.Errorf("message that is not JSON-RPC: %w", err)
		}
		if done {
			return nil
		}
	}
}

// decode decodes a message into v, or hands it out as an event.
func (s *stream) decode(data []byte, v any) (done bool, err error) {
	if isResponse(data) {
		return true, unmarshal(s.spare(data), v)
	}
	var n notification
	if err := json.Unmarshal(data, &n); err != nil {
		return false, err
	}
	switch n.Method {
	case "":
		return true, unmarshal(data, v)
	case methodOnEvent:
		s.onEvent(Event(n.Params.Value))
	}
	return false, nil
}

// spare lays the result of a response aside for the call that waits for it, and
// returns the response without it: jsonrpc2 would scan an SDP six times over. What
// is not as KMS writes its responses is returned as it is.
func (s *stream) spare(data []byte) []byte {
	id, result, ok := cutResponse(data)
	if !ok || s.link == nil || !s.link.answer(id, result) {
		return data
	}
	return append(append([]byte(`{"id":"`), id...), `","result":null}`...)
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

// unmarshal calls jsonrpc2's method directly: through package json every
// message would be scanned once more.
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
