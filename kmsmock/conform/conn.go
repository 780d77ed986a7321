package conform

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A conn is a websocket connection of the recording, as it is in this run.
type conn struct {
	ws     *websocket.Conn // nil: it could not be opened
	pongs  chan string
	writes sync.Mutex
	err    error // why reading ended; once over

	over  bool
	asked []asked  // requests whose responses' lines have not been reached, in order
	owed  []any    // ids of the requests that the server has not answered, in order
	came  [][]byte // responses that their lines have not been reached for, in order
}

// conn is the connection that a line is about. A recording of one nameless
// connection does not tell that it was opened.
func (p *player) conn(l *transcript.Line) *conn {
	if c := p.conns[l.Conn]; c != nil {
		return c
	}
	if l.Conn == "" {
		p.connect(&transcript.Line{Number: l.Number, URL: p.target.URL, HTTPStatus: http.StatusSwitchingProtocols})
	}
	if p.conns[l.Conn] == nil {
		p.differs("the recording has not opened connection %q", l.Conn)
		p.conns[l.Conn] = &conn{}
	}
	return p.conns[l.Conn]
}

// anyConn is the first open connection.
func (p *player) anyConn() *conn {
	for _, name := range slices.Sorted(keys(p.conns)) {
		if c := p.conns[name]; c.ws != nil && !c.over {
			return c
		}
	}
	return &conn{}
}

// where is the target's address with the path of a recorded one.
func (p *player) where(recorded string) (string, error) {
	was, err := url.Parse(recorded)
	if err != nil {
		return "", err
	}
	to, err := url.Parse(p.target.URL)
	if err != nil {
		return "", err
	}
	to.Path, to.RawQuery = was.Path, was.RawQuery
	return to.String(), nil
}

const serverHeader = "WebSocket++/0.8.2"

func (p *player) connect(l *transcript.Line) {
	p.conns[l.Conn] = &conn{}
	where, err := p.where(l.URL)
	if err != nil {
		p.differs("the recorded URL: %v", err)
		return
	}
	d := websocket.Dialer{NetDialContext: p.target.Dial}
	ws, resp, err := d.DialContext(p.ctx, where, nil)
	if errors.Is(err, websocket.ErrBadHandshake) && resp.StatusCode == l.HTTPStatus {
		return
	}
	if err != nil {
		p.differs("dial %s: %v", where, err)
		return
	}
	if resp.StatusCode != l.HTTPStatus || resp.Header.Get("Server") != serverHeader || resp.Header.Get("Sec-WebSocket-Protocol") != "" {
		p.differs("the upgrade is answered %d %v", resp.StatusCode, resp.Header)
	}
	c := &conn{ws: ws, pongs: make(chan string, 8)}
	ws.SetPongHandler(func(data string) error { c.pongs <- data; return nil })
	p.conns[l.Conn] = c
	if p.closing != 0 {
		c.close(p.closing, "bye")
		p.closing = 0
	}
	go c.read(p.inbox)
}

// read ends with the connection; the player waits for that.
func (c *conn) read(inbox chan<- arrival) {
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			c.err = err
			_ = c.ws.Close()
			inbox <- arrival{conn: c, at: time.Now()}
			return
		}
		inbox <- arrival{c, b, time.Now()}
	}
}

// drop ends the TCP connection without a close frame.
func (c *conn) drop() {
	if c.ws != nil {
		_ = c.ws.Close()
	}
}

func (c *conn) close(code int, text string) {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}

// write sends a frame. What the server thinks of it shows in what it does next.
func (c *conn) write(binary bool, text string) {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	_ = c.ws.WriteMessage(kind, []byte(text))
}

// ping sends a ping of the websocket protocol, which must come back as it is.
func (p *player) ping(l *transcript.Line) {
	c := p.anyConn()
	if l.Conn != "" {
		c = p.conn(l)
	}
	if c.ws == nil {
		return
	}
	data := cmp.Or(l.Payload, "hello")
	_ = c.ws.WriteControl(websocket.PingMessage, []byte(data), time.Now().Add(time.Second))
	select {
	case got := <-c.pongs:
		if got != data {
			p.differs("the pong says %q, want %q", got, data)
		}
	case <-time.After(responseTime):
		p.differs("no pong")
	}
}

func (c *conn) ask(q asked) {
	c.asked = append(c.asked, q)
	c.owed = append(c.owed, q.id)
}

// paid takes a response off what is owed. One without id is to the oldest
// request; late says that an older one was to be answered first.
func (c *conn) paid(id any) (older any, late bool) {
	if len(c.owed) == 0 {
		return nil, false
	}
	i := slices.Index(c.owed, id)
	if id == nil || i < 0 {
		i = 0
	}
	older, late = c.owed[0], i > 0
	c.owed = slices.Delete(c.owed, i, i+1)
	return older, late
}

// answered takes the request of that id off the list.
func (c *conn) answered(id any) asked {
	i := slices.IndexFunc(c.asked, func(q asked) bool { return q.id == id })
	if i < 0 { // an answer with id null: to a notification, or to what is no request
		i = slices.IndexFunc(c.asked, func(q asked) bool { return q.id == nil })
	}
	if i < 0 {
		return asked{}
	}
	q := c.asked[i]
	c.asked = slices.Delete(c.asked, i, i+1)
	return q
}

// plain is a request without upgrade.
func (p *player) plain(l *transcript.Line) {
	where := p.target.URL
	if l.URL != "" {
		var err error
		if where, err = p.where(l.URL); err != nil {
			p.differs("the recorded URL: %v", err)
			return
		}
	}
	where = strings.Replace(where, "ws", "http", 1)
	method := l.Note[strings.LastIndexByte(l.Note, ' ')+1:]
	req, err := http.NewRequestWithContext(p.ctx, method, where, nil)
	if err != nil {
		p.differs("%v", err)
		return
	}
	tr := &http.Transport{DialContext: p.target.Dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		p.differs("%s: %v", method, err)
		return
	}
	defer resp.Body.Close()
	resp.Header.Del("Content-Length")
	if resp.StatusCode != l.Status || len(resp.Header) != 1 || resp.Header.Get("Server") != serverHeader {
		p.differs("%s is answered %d %v", method, resp.StatusCode, resp.Header)
	}
}

// ending compares how a connection ended.
func (p *player) ending(l *transcript.Line) {
	c := p.conn(l)
	if c.ws == nil {
		return
	}
	if p.stopping {
		p.stopping = false
		p.stopServer(l)
	}
	if !p.takeUntil(time.After(responseTime), func() bool { return c.over }) {
		p.differs("connection %s is still open, want close %d", l.Conn, l.CloseCode)
		return
	}
	code, text := closeOf(c.err)
	want := l.CloseText
	if l.CloseCode == websocket.CloseAbnormalClosure {
		want = ""
	}
	if code != l.CloseCode || text != want {
		p.differs("connection %s ended with %d %q, want %d %q", l.Conn, code, text, l.CloseCode, want)
	}
}

// closeOf is the close code of a read error, 1006 if there was no close frame.
func closeOf(err error) (int, string) {
	var ce *websocket.CloseError
	if errors.As(err, &ce) && ce.Code != websocket.CloseAbnormalClosure {
		return ce.Code, ce.Text
	}
	return websocket.CloseAbnormalClosure, ""
}

// dialFails checks that nobody listens.
func (p *player) dialFails(l *transcript.Line) {
	where, err := p.where(l.URL)
	if err != nil {
		p.differs("the recorded URL: %v", err)
		return
	}
	d := websocket.Dialer{NetDialContext: p.target.Dial}
	ws, _, err := d.DialContext(p.ctx, where, nil)
	if err == nil {
		_ = ws.Close()
		p.differs("the stopped server accepts connections")
	}
}
