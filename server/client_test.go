package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/signaling"
)

// client is a client of either level. It reads all the time, answers pings, and
// keeps what it was sent.
type client struct {
	w     *world
	name  string
	ws    *websocket.Conn
	raw   net.Conn
	link  *netsim.Link // the client's own
	ended chan struct{}
	mute  atomic.Bool // does not answer pings

	mu      sync.Mutex
	frames  []signaling.Frame
	texts   []string // the same, as they came
	err     error
	lastSeq uint64
	nextID  int
	frozen  chan struct{} // not nil: does not read until it is closed
	fresh   bool          // a welcome to a new session begins the numbers anew
}

// dial opens a WebSocket and says nothing.
func (w *world) dial(name string, header http.Header) *client {
	w.t.Helper()
	return w.dialURL(name, "ws://server/ws", header)
}

func (w *world) dialURL(name, url string, header http.Header) *client {
	w.t.Helper()
	c := &client{w: w, name: name, ended: make(chan struct{}), link: netsim.NewLink(netsim.LinkConfig{})}
	w.clients = append(w.clients, c)
	n := len(w.clients)
	w.streams.AddHost(fmt.Sprint(name, n), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), c.link)
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := w.streams.Dial(ctx, c.link, "server:80")
		c.raw = conn
		return conn, err
	}}
	ws, _, err := d.Dial(url, header)
	if err != nil {
		w.t.Fatalf("%s dials: %v", name, err)
	}
	c.ws = ws
	pong := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		if c.mute.Load() {
			return nil
		}
		return pong(data)
	})
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.ended)
	for {
		c.mu.Lock()
		frozen := c.frozen
		c.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			c.ws.Close()
			return
		}
		var f signaling.Frame
		if err := json.Unmarshal(b, &f); err != nil {
			c.w.t.Errorf("%s was sent %q: %v", c.name, b, err)
		}
		c.took(f, string(b))
	}
}

func (c *client) took(f signaling.Frame, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w.journal.add("%s<- %s", c.name, describe(f))
	if f.Type == signaling.TypeWelcome && c.fresh {
		var w signaling.Welcome
		if f.Into(&w) == nil && !w.Resumed {
			c.lastSeq = 0
		}
	}
	if f.Seq != 0 {
		if f.Seq != c.lastSeq+1 {
			c.w.t.Errorf("%s got seq %d after %d", c.name, f.Seq, c.lastSeq)
		}
		c.lastSeq = f.Seq
	}
	c.frames = append(c.frames, f)
	c.texts = append(c.texts, text)
}

// describe is a frame for the journal: its kind and what distinguishes it.
func describe(f signaling.Frame) string {
	var d signaling.RTC
	_ = f.Into(&d)
	s := f.Kind()
	if d.SDP != "" {
		s += " sdp"
	}
	if d.Reason != "" {
		s += " " + string(d.Reason)
	}
	if d.UserID != "" && f.Type == signaling.TypeRTC {
		s += " of " + d.UserID
	}
	return s
}

// hello begins a session and returns the welcome.
func (c *client) hello(h signaling.Hello) signaling.Welcome {
	c.w.t.Helper()
	h.Version = 1
	f := c.request(signaling.TypeHello, "", h)
	if f.Type != signaling.TypeWelcome {
		c.w.t.Fatalf("%s was not welcomed: %s %s", c.name, f.Kind(), f.Data)
	}
	var w signaling.Welcome
	if err := f.Into(&w); err != nil {
		c.w.t.Fatal(err)
	}
	return w
}

// join dials and begins a session.
func (w *world) join(name string) *client {
	w.t.Helper()
	c, _ := w.enter(name)
	return c
}

func (w *world) enter(name string) (*client, signaling.Welcome) {
	w.t.Helper()
	c := w.dial(name, nil)
	return c, c.hello(signaling.Hello{Token: token(w.t, name), Device: fmt.Sprint("device ", len(w.clients))})
}

// rejoin resumes a session on a new connection.
func (w *world) rejoin(old *client, resume string) (*client, signaling.Welcome) {
	w.t.Helper()
	c := w.dial(old.name, nil)
	old.mu.Lock()
	c.lastSeq, c.nextID = old.lastSeq, old.nextID
	old.mu.Unlock()
	return c, c.hello(signaling.Hello{Resume: resume, LastSeq: c.lastSeq})
}

func (c *client) sendRaw(text string) {
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.w.journal.add("%s cannot send: %v", c.name, err)
	}
}

// sendID sends a frame with this id and does not wait.
func (c *client) sendID(id string, typ signaling.Type, action signaling.Action, data any) {
	c.w.t.Helper()
	f, err := signaling.New(typ, action, data)
	if err != nil {
		c.w.t.Fatal(err)
	}
	f.ID = id
	b, err := signaling.Encode(f)
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.w.journal.add("%s-> %s", c.name, describe(f))
	c.sendRaw(string(b))
}

// send sends a request and returns its id.
func (c *client) send(typ signaling.Type, action signaling.Action, data any) string {
	c.w.t.Helper()
	c.nextID++
	id := fmt.Sprint(c.nextID)
	c.sendID(id, typ, action, data)
	return id
}

// answer is the frame that answers a request, once everything has settled.
func (c *client) answer(id string) (signaling.Frame, bool) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.frames, func(f signaling.Frame) bool { return f.ID == id })
	if i < 0 {
		return signaling.Frame{}, false
	}
	return c.frames[i], true
}

// request sends a request and returns what it is answered, at the latest after
// a minute.
func (c *client) request(typ signaling.Type, action signaling.Action, data any) signaling.Frame {
	c.w.t.Helper()
	id := c.send(typ, action, data)
	for range 60_000 {
		if f, ok := c.answer(id); ok {
			return f
		}
		time.Sleep(time.Millisecond)
	}
	c.w.t.Fatalf("%s got no answer to %s/%s", c.name, typ, action)
	return signaling.Frame{}
}

// rtc sends an rtc request that must be acknowledged.
func (c *client) rtc(action signaling.Action, data signaling.RTC) signaling.RTC {
	c.w.t.Helper()
	f := c.request(signaling.TypeRTC, action, data)
	if f.Type != signaling.TypeAck {
		c.w.t.Fatalf("%s: %s was answered %s %s", c.name, action, f.Kind(), f.Data)
	}
	var d signaling.RTC
	if err := f.Into(&d); err != nil {
		c.w.t.Fatal(err)
	}
	return d
}

// refused sends an rtc request that must be refused with this code.
func (c *client) refused(code signaling.Code, action signaling.Action, data signaling.RTC) {
	c.w.t.Helper()
	c.isError(code, c.request(signaling.TypeRTC, action, data))
}

func (c *client) isError(code signaling.Code, f signaling.Frame) {
	c.w.t.Helper()
	var e signaling.Error
	if err := f.Into(&e); err != nil || f.Type != signaling.TypeError || e.Code != code {
		c.w.t.Fatalf("%s got %s %s, want error %s", c.name, f.Kind(), f.Data, code)
	}
}

// got are the frames of this kind so far, once everything has settled.
func (c *client) got(kind string) (frames []signaling.Frame) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.Kind() == kind {
			frames = append(frames, f)
		}
	}
	return frames
}

// one is the data of the only frame of this kind.
func (c *client) one(kind string) signaling.RTC {
	c.w.t.Helper()
	frames := c.got(kind)
	if len(frames) != 1 {
		c.w.t.Fatalf("%s got %d of %s, want 1; what happened:\n%s", c.name, len(frames), kind, strings.Join(c.w.journal.list(), "\n"))
	}
	var d signaling.RTC
	if err := frames[0].Into(&d); err != nil {
		c.w.t.Fatal(err)
	}
	return d
}

// freeze keeps the client from reading on until the channel is closed.
func (c *client) freeze() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = make(chan struct{})
	return c.frozen
}

// drop cuts the connection without a word.
func (c *client) drop() {
	c.raw.Close()
	<-c.ended
	synctest.Wait()
}

// closeCode is the code that the server closed with, once it has.
func (c *client) closeCode() int {
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	var ce *websocket.CloseError
	if !errors.As(c.err, &ce) {
		c.w.t.Fatalf("%s lost its connection without a close code: %v", c.name, c.err)
	}
	return ce.Code
}

// receives says that the client has every push so far.
func (c *client) receives() {
	synctest.Wait()
	c.mu.Lock()
	seq := c.lastSeq
	c.mu.Unlock()
	if seq > 0 {
		c.send(signaling.TypeAck, "", signaling.Receipt{Seq: seq})
	}
}
