package record

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A session is a client's connection with its own to the server: HTTP requests,
// and from an upgrade on a websocket.
type session struct {
	proxy    *Proxy
	up, down *tap // from the client, from the server

	asked   chan request
	verdict chan bool     // whether an upgrade was granted
	over    chan struct{} // closed when the server's direction has ended
	name    string        // of the websocket; set before verdict
	sent    frameReader   // of the client's messages

	clientClosed, clientGone, serverClosed atomic.Bool
}

type request struct {
	*http.Request
	at      time.Time
	upgrade bool
}

// pipelined is how many requests may wait for their responses.
const pipelined = 256

func newSession(p *Proxy, client, server net.Conn) *session {
	up := newTap(client, server)
	return &session{proxy: p, up: up, down: newTap(server, client), sent: frameReader{from: up},
		asked: make(chan request, pipelined), verdict: make(chan bool, 1), over: make(chan struct{})}
}

// run returns when both directions have ended.
func (s *session) run() {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(s.over)
		s.responses()
		s.serverEnds()
		s.down.end()
	})
	s.requests()
	s.clientEnds()
	s.up.end()
	wg.Wait()
}

// requests reads what the client sends.
func (s *session) requests() {
	for {
		if _, err := s.up.Peek(1); err != nil {
			return
		}
		r, err := http.ReadRequest(s.up.Reader)
		if err != nil {
			s.up.drain()
			return
		}
		q := request{r, s.up.at, websocket.IsWebSocketUpgrade(r)}
		select {
		case s.asked <- q:
		case <-s.over:
			return
		}
		if !q.upgrade {
			_, _ = io.Copy(io.Discard, r.Body)
			continue
		}
		if s.up.err = s.up.flush(); s.up.err != nil {
			return
		}
		select {
		case granted := <-s.verdict:
			if granted {
				s.messages(s.up, &s.sent, transcript.Send)
				return
			}
		case <-s.over:
			return
		}
	}
}

// responses reads what the server sends.
func (s *session) responses() {
	for {
		if _, err := s.down.Peek(1); err != nil {
			return
		}
		var q request
		select {
		case q = <-s.asked:
		default: // a response to what is no request
			q.at = s.down.at
		}
		granted, err := s.response(q)
		if err != nil {
			s.down.drain()
			return
		}
		if granted {
			s.messages(s.down, &frameReader{from: s.down}, transcript.Recv)
			return
		}
	}
}

// response reads the answer to a request and tells whether it begins a websocket.
func (s *session) response(q request) (granted bool, err error) {
	for {
		resp, err := http.ReadResponse(s.down.Reader, q.Request)
		if err != nil {
			return false, err
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue // 100 Continue: the answer is still to come
		}
		granted = q.upgrade && resp.StatusCode == http.StatusSwitchingProtocols
		s.tellResponse(q, resp)
		if q.upgrade {
			select {
			case s.verdict <- granted:
			case <-s.proxy.ctx.Done():
			}
		}
		if !granted {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		return granted, err
	}
}

func (s *session) tellResponse(q request, resp *http.Response) {
	at := s.down.at
	l := transcript.Line{Took: milliseconds(at.Sub(q.at)), Header: resp.Header}
	if q.Request != nil {
		where := *s.proxy.target
		where.User, where.Path, where.RawPath, where.RawQuery = nil, q.URL.Path, q.URL.RawPath, q.URL.RawQuery
		l.URL = where.String()
	}
	if !q.upgrade {
		l.Note, l.Status = "plain HTTP", resp.StatusCode
		if q.Request != nil {
			l.Note += " " + q.Method
		}
		s.proxy.journal.note(at, l)
		return
	}
	s.name = s.proxy.name()
	l.Note, l.Conn, l.HTTPStatus = "ws connected", s.name, resp.StatusCode
	if resp.StatusCode != http.StatusSwitchingProtocols {
		l.Note = "ws refused"
	}
	l.RequestedSubprotocols, l.Subprotocol = websocket.Subprotocols(q.Request), resp.Header.Get("Sec-Websocket-Protocol")
	s.proxy.journal.note(at, l)
	s.proxy.cfg.Log.Info("record.websocket", "conn", s.name, "status", resp.StatusCode)
}

// messages notes what one side sends over the websocket.
func (s *session) messages(t *tap, r *frameReader, dir string) {
	for {
		m, err := r.next()
		if err != nil {
			if t.err == nil { // no frame, but it still comes
				s.note(t.at, transcript.Line{Note: dir + " is no websocket frame: " + err.Error()})
				t.drain()
			}
			return
		}
		s.tell(dir, m, t.at)
	}
}

func (s *session) note(at time.Time, l transcript.Line) {
	l.Conn = s.name
	s.proxy.journal.note(at, l)
}

func (s *session) tell(dir string, m message, at time.Time) {
	switch m.opcode {
	case websocket.CloseMessage:
		s.tellClose(dir, m, at)
	case websocket.PingMessage, websocket.PongMessage:
		s.note(at, controlNote(dir, m))
	default:
		l := transcript.Line{Dir: dir, Conn: s.name}
		if m.opcode == websocket.BinaryMessage {
			l.Opcode = "binary"
		}
		if m.length > len(m.data) {
			l.RawLen = m.length
		}
		if s.serverClosed.Load() && dir == transcript.Send {
			return // nobody has read it
		}
		s.proxy.journal.write(entry{line: l, frame: m.data, at: at})
	}
}

// controlNote is the note of a ping or pong, as the player knows it.
func controlNote(dir string, m message) transcript.Line {
	name := map[bool]string{true: "ping", false: "pong"}[m.opcode == websocket.PingMessage]
	l := transcript.Line{Note: "recv ws " + strings.ToUpper(name) + " frame", Payload: strings.ToValidUTF8(string(m.data), "\uFFFD")}
	if dir == transcript.Send {
		l.Note = "websocket-level " + name + " frame"
	}
	return l
}

func (s *session) tellClose(dir string, m message, at time.Time) {
	code, text := m.closeCode()
	if dir == transcript.Recv {
		s.tellPartial(at)
		s.serverClosed.Store(true)
		ce := &websocket.CloseError{Code: code, Text: text}
		s.note(at, transcript.Line{Note: "ws read ended: " + ce.Error(), CloseCode: code, CloseText: text})
		return
	}
	s.clientClosed.Store(true)
	l := transcript.Line{Note: "client closes websocket"}
	if code != websocket.CloseNormalClosure || text != "" {
		l.CloseCode, l.CloseText = code, text
	}
	s.note(at, l)
}

// tellPartial notes the message in whose midst the server ends the connection: as
// far as it has been sent, for it may be the reason.
func (s *session) tellPartial(at time.Time) {
	if m := s.sent.partial.Load(); m != nil {
		s.tell(transcript.Send, message{opcode: m.opcode, data: m.data[:min(len(m.data), maxPartial)], length: m.length}, at)
	}
}

// maxPartial is how much of such a message is kept, in bytes.
const maxPartial = 64 << 10

// clientEnds notes an end without a close frame.
func (s *session) clientEnds() {
	if s.name == "" || !s.up.gone() || s.clientClosed.Load() || s.serverClosed.Load() {
		return
	}
	s.clientGone.Store(true)
	s.note(time.Now(), transcript.Line{Note: "client drops TCP connection without close frame"})
}

// serverEnds notes an end without a close frame that the client did not cause.
func (s *session) serverEnds() {
	if s.name == "" || !s.down.gone() || s.serverClosed.Load() || s.clientGone.Load() {
		return
	}
	s.tellPartial(time.Now())
	s.serverClosed.Store(true)
	why := s.down.err
	if why == io.EOF {
		why = &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: io.ErrUnexpectedEOF.Error()}
	}
	s.note(time.Now(), transcript.Line{Note: "ws read ended: " + cause(why).Error(), CloseCode: websocket.CloseAbnormalClosure,
		CloseText: io.ErrUnexpectedEOF.Error()})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// publicHeaders are the headers of a response that a masked transcript keeps.
func publicHeaders(h http.Header) http.Header {
	kept := http.Header{}
	for _, name := range []string{"Connection", "Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Server", "Upgrade"} {
		if values, ok := h[name]; ok {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}
