// Package conform holds a Kurento Media Server, real or imitated, against
// recordings of a real one: it sends the frames of a transcript as they were
// sent, with the ids of this run, plays the peers of the recording with Pion,
// and compares all that comes back.
//
// Shape, keys, values and error texts are compared exactly; ids, times, ports,
// keys and figures of load by pattern. Responses must come in the order of
// their requests. Events are free among themselves and against responses, as
// Kurento promises no order, but the states of one object that were further
// apart than its worker threads explain must come in the recorded order, and
// each event about when it was recorded.
package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A Target is the server that is held against recordings.
type Target struct {
	URL  string // ws://host:port/kurento
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// PeerNet gives each peer of the recording a network; nil means that all are
	// on this machine's loopback interface.
	PeerNet func() transport.Net
	// Stop ends the server as SIGKILL does, Start brings it back; nil if the
	// target cannot be ended.
	Stop, Start func() error
	// Shared says that others use the server too: what they make and end is
	// passed over.
	Shared bool

	// addresses maps those of the recording (host:port of TURN and STUN servers)
	// to those of this run.
	addresses map[string]string
	stun      []string          // of them, asked for addresses
	turn      *webrtc.ICEServer // of relay-only peers
}

// A Difference is something that came otherwise than recorded, or not at all.
type Difference struct {
	File string
	Line int // of the transcript
	Text string
}

func (d Difference) String() string { return fmt.Sprintf("%s:%d: %s", d.File, d.Line, d.Text) }

// Play replays one transcript and returns the differences. It takes as long as
// the recording took. TURN and STUN servers that the recording had are started
// on loopback; it then fails only if that cannot be done.
func Play(ctx context.Context, file string, lines []transcript.Line, target Target) []Difference {
	relays, err := startRelays(NeedsOf(filepath.Base(file), lines), began(lines), &target)
	if err != nil {
		return []Difference{{filepath.Base(file), 1, err.Error()}}
	}
	out := play(ctx, file, lines, target)
	for _, stop := range relays {
		if err := stop(); err != nil {
			out = append(out, Difference{filepath.Base(file), len(lines), "close the TURN server: " + err.Error()})
		}
	}
	return out
}

func play(ctx context.Context, file string, lines []transcript.Line, target Target) []Difference {
	lines = reveal(lines)
	p := &player{
		ctx: ctx, file: file, lines: lines, target: target, start: time.Now(), inbox: make(chan arrival, inboxSize),
		conns: map[string]*conn{}, ids: map[string]string{},
		peers: map[string]*peer{}, byObject: map[string]*peer{}, released: map[string]int64{},
		offers: map[string]string{}, signed: map[string]bool{},
	}
	p.cast()
	for i := range lines {
		p.current, p.position = &lines[i], i
		if ctx.Err() != nil {
			p.differs("stopped: %v", context.Cause(ctx))
			break
		}
		p.step(p.current)
	}
	p.finished = time.Since(p.start)
	p.finish()
	p.compareEvents()
	return p.differences
}

// arrival is a frame that came, or the end of a connection.
type arrival struct {
	conn  *conn
	frame []byte // nil: the connection has ended
	at    time.Time
}

// inboxSize is how many frames may wait for the player.
const inboxSize = 1 << 12

// A player plays one transcript. Frames of all connections come to it through
// one channel, so that all else is done by one goroutine.
type player struct {
	ctx    context.Context
	file   string
	lines  []transcript.Line
	target Target

	start       time.Time
	inbox       chan arrival
	current     *transcript.Line
	position    int // of it in lines
	differences []Difference
	conns       map[string]*conn
	ids         map[string]string // recorded UUID -> ours
	ends        []endOf
	released    map[string]int64 // recorded ids: when they were to be released, ms since 1970

	peers    map[string]*peer // by name
	byObject map[string]*peer // by recorded endpoint
	all      []*peer
	parts    []*part           // of the recorded peers, in the order of their descriptions
	offers   map[string]string // of the server, by recorded endpoint
	signed   map[string]bool   // recorded endpoints whose peers sign their candidates
	endpoint string            // that the response at hand is from, in this run
	stopping bool              // the server ends before the next connection does
	closing  int               // code for the next connection to close with
	withheld []string          // kinds of candidates that the recorded client kept from its peer

	expected []event // of the recording
	missed   int     // of them, waited for in vain
	got      []event
	certain  int           // of them, those that must come
	finished time.Duration // when the last line was done
}

func (p *player) differs(format string, args ...any) {
	p.differences = append(p.differences, Difference{filepath.Base(p.file), p.current.Number, fmt.Sprintf(format, args...)})
}

// take sorts what has come: events are looked at, responses wait for their line.
func (p *player) take(a arrival) {
	switch {
	case a.frame == nil:
		a.conn.over = true
	case !p.isEvent(a):
		a.conn.came = append(a.conn.came, a.frame)
		if id, late := a.conn.paid(idOf(a.frame)); late {
			p.differs("the response to %v comes before the one to %v", idOf(a.frame), id)
		}
	}
}

func (p *player) step(l *transcript.Line) {
	switch {
	case l.HTTPStatus != 0:
		p.until(l)
		p.connect(l)
	case l.Dir == transcript.Send:
		p.until(l)
		p.send(l)
	case l.Dir == transcript.Recv:
		p.receive(l)
	case l.Status != 0:
		p.plain(l)
	case l.CloseCode != 0 && l.Conn != "" && !strings.HasPrefix(l.Note, clientCloses):
		p.ending(l)
	default:
		p.note(l)
	}
}

// finish ends what is left of the run and takes the last events in.
func (p *player) finish() {
	if n := len(p.lines); n > 0 { // whose connections end too: what comes just then may be lost
		p.ends = append(p.ends, endOf{object: "", was: p.lines[n-1].Duration(), is: time.Since(p.start)})
	}
	p.takeUntil(time.After(settleTime), func() bool { return false })
	for _, name := range slices.Sorted(keys(p.conns)) {
		c := p.conns[name]
		if c.ws != nil {
			c.drop()
			p.takeUntil(nil, func() bool { return c.over })
		}
	}
	for _, x := range p.all {
		x.close()
	}
}

// settleTime is how long events may come behind the last line of a recording.
const settleTime = 60 * time.Millisecond

func keys[M ~map[string]V, V any](m M) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// endOf is when an object was released: in the recording and in this run.
type endOf struct {
	object  string // recorded id, "" for the whole run
	was, is time.Duration
}

// asked is a request on its way.
type asked struct {
	id    any
	line  int // index of the request in the recording
	calls []call
}

// operation is what a request is about if it is about one thing.
func (q asked) operation() string {
	if len(q.calls) != 1 {
		return ""
	}
	return q.calls[0].operation
}

// send sends a recorded frame with the ids, descriptions and addresses of this run.
func (p *player) send(l *transcript.Line) {
	c := p.conn(l)
	if c.ws == nil {
		return
	}
	text := l.Frame()
	var msg map[string]any
	if json.Unmarshal([]byte(text), &msg) == nil {
		if edited := p.withPeer(p.position, msg); edited {
			b, err := json.Marshal(msg)
			if err != nil {
				p.differs("edit the request: %v", err)
				return
			}
			text = string(b)
		}
		c.ask(p.request(msg))
	}
	c.write(l.Opcode == "binary", p.ours(text))
}

// request notes what a request is about.
func (p *player) request(msg map[string]any) asked {
	q := asked{id: msg["id"], line: p.position, calls: p.calls(p.position, msg)}
	for _, c := range q.calls {
		if c.operation == "release" && c.endpoint != "" {
			p.released[c.endpoint] = time.Now().UnixMilli()
			p.ends = append(p.ends, endOf{c.endpoint, p.current.Duration(), time.Since(p.start)})
		}
	}
	return q
}

// receive compares a response; events are put aside for the end.
func (p *player) receive(l *transcript.Line) {
	c := p.conn(l)
	text := l.Frame()
	var want map[string]any
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		p.differs("the recording is no JSON: %v", err)
		return
	}
	if want["method"] == "onEvent" {
		e := newEvent(want, l.Number, l.Duration())
		if !p.dying(want) && !p.isByChance(p.ours(e.object), e.data) {
			p.expected = append(p.expected, e)
		}
		if x := p.byObject[e.object]; x != nil && e.typ == "DataChannelClosed" {
			// The only trace of a channel that the recorded peer closed.
			p.until(l)
			x.closeChannel()
		}
		return
	}
	if c.ws == nil {
		return
	}
	frame, ok := p.response(c, want["id"])
	if !ok {
		p.differs("no response, want %.300s", text)
		return
	}
	var got map[string]any
	if err := json.Unmarshal(frame, &got); err != nil {
		p.differs("response %.300q: %v", frame, err)
		return
	}
	p.form(frame)
	q := c.answered(want["id"])
	p.adjust(l, q)
	p.endpoint = ""
	if len(q.calls) == 1 {
		p.endpoint = p.ours(q.calls[0].endpoint)
	}
	p.unify(q.operation(), "", want, got)
	p.hand(q, got)
}

// form checks how a frame is written: compact, keys in alphabetical order.
func (p *player) form(frame []byte) {
	if problem := written(frame); problem != "" {
		p.differs("the frame %.200q %s", frame, problem)
	}
}

// dying tells whether an event is an ElementDisconnected of an object that is
// being released with its pipeline: a race that Kurento decides either way.
func (p *player) dying(event map[string]any) bool {
	v := eventValue(event)
	object, _ := v["object"].(string)
	return v["type"] == "ElementDisconnected" && p.released[strings.Split(object, "/")[0]] != 0
}

// responseTime is how long a response may take.
const responseTime = 15 * time.Second

// response is the next response on a connection, which must be the one to id:
// requests of a connection are answered in their order.
func (p *player) response(c *conn, id any) ([]byte, bool) {
	i := -1
	found := func() bool {
		i = slices.IndexFunc(c.came, func(frame []byte) bool { return idOf(frame) == id })
		return i >= 0
	}
	timeout := time.After(responseTime)
	p.takeUntil(timeout, func() bool { return found() || c.over || len(c.came) > len(c.asked) })
	if i < 0 && len(c.came) == 0 {
		return nil, false
	}
	i = max(i, 0) // another response than recorded: it will be compared with the one that was
	frame := c.came[i]
	c.came = slices.Delete(c.came, i, i+1)
	return frame, true
}

func idOf(frame []byte) any {
	var m map[string]any
	if json.Unmarshal(frame, &m) != nil {
		return nil
	}
	return m["id"]
}
