package kmsmock

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/transport/v5"
)

// recorded are the transcripts of a real Kurento that the mock is held to.
var recorded = []struct {
	name   string
	config Config // what the server must be configured to do
	racy   string // events of this type may come or not
	only   string // why another server cannot be compared
}{
	{name: "01_connect_ping_keepalive"},
	{name: "02_create_pipeline"},
	{name: "03_create_webrtcendpoint"},
	{name: "04_subscribe_unsubscribe"},
	{name: "05_process_offer"},
	{name: "06_gather_candidates"},
	{name: "07_add_ice_candidate"},
	{name: "08_generate_offer_process_answer"},
	{name: "09_process_offer_twice"},
	{name: "10_connect_disconnect"},
	{name: "14_release_endpoint"},
	{name: "15_release_pipeline_with_children"},
	{name: "16_describe"},
	{name: "17_server_manager"},
	{name: "18a_errors_rpc"},
	{name: "18a2_errors_rpc_disableRequestCache", config: Config{DisableRequestCache: true}, only: "disableRequestCache"},
	{name: "18b_errors_rpc_non_object_params"},
	{name: "18c_errors_json_and_frames"},
	{name: "18d_ws_path_and_subprotocols"},
	{name: "19a_session_reconnect"},
	// The connection belongs to the session only once the transaction that
	// makes the events is answered.
	{name: "20_transactions", racy: "ElementConnected"},
	{name: "21_batch"},
	{name: "22_loopback_media"},
	{name: "22x_pion_session_level_fingerprint_dtls_failed"},
	{name: "23_one2one_media"},
	{name: "25_peer_vanishes"},
	{name: "26_pipelining_order", only: "load figures come back under later ids, from the cache"},
	{name: "32_close_session"},
	{name: "34_raw_bytes"},
	{name: "zgc_session_garbage_collection", config: Config{CollectorPeriod: 8 * time.Second}, only: "garbageCollectorPeriod 8"},
}

// missingClasses are those that the mock does not have. The player passes over
// requests and events about their objects.
var missingClasses = []string{"Composite", "HubPort", "RtpEndpoint", "GStreamerFilter", "FaceOverlayFilter"}

// TestConform replays the recordings: against the mock in virtual time, or
// against the server at CALLBENCH_KMS_URL, which proves the player itself.
func TestConform(t *testing.T) {
	server := os.Getenv("CALLBENCH_KMS_URL")
	for _, r := range recorded {
		t.Run(r.name, func(t *testing.T) {
			lines := loadTranscript(t, r.name)
			if server != "" {
				if r.only != "" {
					t.Skip(r.only)
				}
				p := &player{racy: r.racy, t: t, lines: lines, url: server, dial: (&net.Dialer{}).DialContext}
				p.run()
				return
			}
			synctest.Test(t, func(t *testing.T) {
				cfg := r.config
				nets := virtualNet(t, 12)
				cfg.Net = nets[0]
				_, l := startMock(t, cfg)
				p := &player{racy: r.racy, t: t, lines: lines, url: "ws://mock/kurento", dial: l.dial, nets: nets[1:]}
				p.run()
			})
		})
	}
}

// A line is one line of a transcript.
type line struct {
	number     int
	Dir        string          `json:"dir"`
	Conn       string          `json:"conn"`
	Note       string          `json:"note"`
	At         float64         `json:"t_ms"`
	Msg        json.RawMessage `json:"msg"`
	Raw        *string         `json:"raw"`
	RawQuoted  *string         `json:"raw_quoted"`
	RawLen     int             `json:"raw_len"`
	Opcode     string          `json:"opcode"`
	HTTPStatus int             `json:"http_status"`
	URL        string          `json:"url"`
	CloseCode  int             `json:"close_code"`
	CloseText  string          `json:"close_text"`
	Status     int             `json:"status"`
	Peer       string          `json:"peer"`
}

func loadTranscript(t *testing.T, name string) []line {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "transcripts", name+".jsonl"))
	must(t, err)
	defer f.Close()
	var out []line
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 10<<20)
	for scanner.Scan() {
		l := line{number: len(out) + 1}
		must(t, json.Unmarshal(scanner.Bytes(), &l))
		out = append(out, l)
	}
	must(t, scanner.Err())
	return out
}

// text is the frame of a send or recv line as it went over the wire.
func (l *line) text(t *testing.T) string {
	switch {
	case l.Raw != nil:
		return *l.Raw
	case l.RawQuoted != nil:
		s, err := strconv.Unquote(*l.RawQuoted)
		must(t, err)
		return s
	}
	return string(l.Msg)
}

// A player sends the frames of a transcript as they were sent, with ids and
// descriptions of this run, and compares what comes back.
type player struct {
	t     *testing.T
	lines []line
	url   string
	dial  func(context.Context, string, string) (net.Conn, error)
	racy  string
	nets  []transport.Net // of peers; nil: the machine's loopback interface

	start    time.Time
	conns    map[string]*playedConn
	ids      map[string]string   // recorded UUID -> ours
	asked    map[string][]string // operations by connection and request id
	got      []testEvent
	raw      []map[string]any     // events of the recording
	peers    map[string]*testPeer // by name
	byObject map[string]*testPeer // by recorded endpoint
	newPeers []string             // names in order of appearance
	current  *line
	closing  int              // code for the next connection to close with
	missing  map[string]bool  // recorded UUIDs of objects that the mock does not have
	released map[string]int64 // when recorded ids were to be released, ms since 1970
}

type playedConn struct {
	ws     *websocket.Conn
	frames chan []byte
	ended  chan struct{}
	err    error
	stash  [][]byte // responses that were not asked for yet
	skip   []any    // ids of requests that were not sent
	broken bool     // the recording skipped something
}

func (p *player) run() {
	p.start = time.Now()
	p.conns, p.ids, p.asked = map[string]*playedConn{}, map[string]string{}, map[string][]string{}
	p.missing, p.released = map[string]bool{}, map[string]int64{}
	p.peers, p.byObject = map[string]*testPeer{}, map[string]*testPeer{}
	for _, l := range p.lines {
		if l.Peer != "" && !slices.Contains(p.newPeers, l.Peer) {
			p.newPeers = append(p.newPeers, l.Peer)
		}
	}
	for i := range p.lines {
		p.current = &p.lines[i]
		p.step(p.current)
	}
	time.Sleep(50 * time.Millisecond)
	for _, c := range p.conns {
		if c.ws != nil {
			_ = c.ws.Close()
			<-c.ended
		}
	}
	for _, peer := range p.peers {
		peer.close()
	}
	p.drain()
	p.compareEvents()
}

func (p *player) errorf(format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("line %d: %s", p.current.number, fmt.Sprintf(format, args...))
}

// until waits for the time at which the recording did something itself.
func (p *player) until(l *line) {
	time.Sleep(time.Until(p.start.Add(time.Duration(l.At * float64(time.Millisecond)))))
}

func (p *player) step(l *line) {
	switch {
	case l.HTTPStatus != 0:
		p.until(l)
		p.connect(l)
	case l.Dir == "send":
		p.until(l)
		p.send(l)
	case l.Dir == "recv":
		p.receive(l)
	case l.Status != 0:
		p.plain(l)
	case l.CloseCode != 0 && l.Conn != "":
		p.ending(l)
	case l.Note == "client closes websocket":
		p.until(l)
		if c := p.conns[l.Conn]; c.ws != nil && !c.over() {
			closeWith(c.ws, websocket.CloseNormalClosure, "")
		}
	case strings.HasPrefix(l.Note, "client drops TCP"):
		p.until(l)
		_ = p.conns[l.Conn].ws.Close()
	default:
		p.media(l)
	}
}

func (p *player) connect(l *line) {
	recorded, err := url.Parse(l.URL)
	must(p.t, err)
	target, err := url.Parse(p.url)
	must(p.t, err)
	target.Path, target.RawQuery = recorded.Path, recorded.RawQuery
	d := websocket.Dialer{NetDialContext: p.dial}
	ws, resp, err := d.Dial(target.String(), nil)
	if err != nil {
		p.errorf("dial %s: %v", target, err)
		return
	}
	if resp.StatusCode != l.HTTPStatus || resp.Header.Get("Server") != "WebSocket++/0.8.2" {
		p.errorf("upgrade answered %d %v", resp.StatusCode, resp.Header)
	}
	if p.closing != 0 {
		closeWith(ws, p.closing, "bye")
		p.closing = 0
	}
	c := &playedConn{ws: ws, frames: make(chan []byte, 4096), ended: make(chan struct{})}
	ws.SetPingHandler(nil)
	p.conns[l.Conn] = c
	go func() {
		defer close(c.ended)
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				c.err = err
				close(c.frames)
				return
			}
			c.frames <- b
		}
	}()
}

func (c *playedConn) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// plain is a request without upgrade.
func (p *player) plain(l *line) {
	u := strings.Replace(p.url, "ws", "http", 1)
	method := l.Note[strings.LastIndexByte(l.Note, ' ')+1:]
	req, err := http.NewRequest(method, u, nil)
	must(p.t, err)
	tr := &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		p.errorf("%s: %v", method, err)
		return
	}
	defer resp.Body.Close()
	resp.Header.Del("Content-Length")
	if resp.StatusCode != l.Status || len(resp.Header) != 1 || resp.Header.Get("Server") != "WebSocket++/0.8.2" {
		p.errorf("%s answered %d %v", method, resp.StatusCode, resp.Header)
	}
}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// ours replaces recorded ids by those of this run.
func (p *player) ours(s string) string {
	return uuidPattern.ReplaceAllStringFunc(s, func(id string) string {
		if own, ok := p.ids[id]; ok {
			return own
		}
		return id
	})
}

func (p *player) send(l *line) {
	c := p.conns[l.Conn]
	if c == nil && l.Conn == "" { // a recording of one nameless connection
		p.connect(&line{URL: p.url, HTTPStatus: 101})
		c = p.conns[""]
	}
	text := l.text(p.t)
	if l.RawLen > len(text) {
		c.broken = true // the recording holds only the beginning
		return
	}
	var msg map[string]any
	if json.Unmarshal([]byte(text), &msg) == nil {
		if p.passOver(c, text, msg) {
			return
		}
		p.note(l.Conn, msg)
		if edited := p.withPeer(msg); edited != nil {
			b, err := json.Marshal(edited)
			must(p.t, err)
			text = string(b)
		}
	}
	kind := websocket.TextMessage
	if l.Opcode == "binary" {
		kind = websocket.BinaryMessage
	}
	_ = c.ws.WriteMessage(kind, []byte(p.ours(text)))
}

// passOver tells whether a request is about a class that the mock lacks.
func (p *player) passOver(c *playedConn, text string, msg map[string]any) bool {
	params, _ := msg["params"].(map[string]any)
	typ, _ := params["type"].(string)
	if os.Getenv("CALLBENCH_KMS_URL") != "" {
		return false
	}
	if (msg["method"] == "create" && slices.Contains(missingClasses, typ)) || p.mentionsMissing(text) {
		c.skip = append(c.skip, msg["id"])
		return true
	}
	return false
}

func (p *player) mentionsMissing(text string) bool {
	return slices.ContainsFunc(uuidPattern.FindAllString(text, -1), func(id string) bool { return p.missing[id] })
}

// note remembers which operation a request is for.
func (p *player) note(conn string, msg map[string]any) {
	params, _ := msg["params"].(map[string]any)
	name, _ := msg["method"].(string)
	if op, ok := params["operation"].(string); ok {
		name = op
	}
	if object, ok := params["object"].(string); ok && name == "release" {
		p.released[object] = time.Now().UnixMilli()
	}
	key := fmt.Sprint(conn, " ", msg["id"])
	p.asked[key] = append(p.asked[key], name)
}

func (p *player) receive(l *line) {
	c := p.conns[l.Conn]
	if c == nil || c.broken {
		return
	}
	text := l.text(p.t)
	var want map[string]any
	must(p.t, json.Unmarshal([]byte(text), &want))
	if want["method"] == "onEvent" {
		if !p.mentionsMissing(text) && !p.dying(want) {
			p.raw = append(p.raw, want)
		}
		return
	}
	if slices.Contains(c.skip, want["id"]) {
		if result, ok := want["result"].(map[string]any); ok && want["id"] != nil {
			value, _ := result["value"].(string)
			ids := uuidPattern.FindAllString(value, -1)
			if len(ids) > 1 && !p.missing[ids[len(ids)-1]] {
				p.missing[ids[len(ids)-1]] = true
			}
		}
		return
	}
	frame, ok := p.response(c, want["id"])
	if !ok {
		p.errorf("no response, want %.200s", text)
		return
	}
	var got map[string]any
	if err := json.Unmarshal(frame, &got); err != nil {
		p.errorf("response %q: %v", frame, err)
		return
	}
	key, op := fmt.Sprint(l.Conn, " ", want["id"]), ""
	if len(p.asked[key]) > 0 {
		op, p.asked[key] = p.asked[key][0], p.asked[key][1:]
	}
	p.unify(op, "", want, got)
	p.answered(op, want, got)
}

// dying tells whether an event is an ElementDisconnected of an object that is
// being released with its pipeline: a race that Kurento decides either way.
func (p *player) dying(event map[string]any) bool {
	v := event["params"].(map[string]any)["value"].(map[string]any)
	object := v["object"].(string)
	return v["type"] == "ElementDisconnected" && p.released[strings.Split(object, "/")[0]] != 0
}

// response is the response to a request: frames may have been recorded in
// another order than they were sent in, by a few microseconds.
func (p *player) response(c *playedConn, id any) ([]byte, bool) {
	answers := func(frame []byte) bool {
		var m map[string]any
		return json.Unmarshal(frame, &m) == nil && m["id"] == id
	}
	if i := slices.IndexFunc(c.stash, answers); i >= 0 {
		frame := c.stash[i]
		c.stash = slices.Delete(c.stash, i, i+1)
		return frame, true
	}
	deadline := time.After(15 * time.Second)
	for {
		select {
		case frame, ok := <-c.frames:
			switch {
			case !ok:
				return nil, false
			case p.isEvent(frame):
			case answers(frame):
				return frame, true
			default:
				c.stash = append(c.stash, frame)
				if len(c.stash) > 8 {
					return c.stash[0], true
				}
			}
		case <-deadline:
			if len(c.stash) > 0 {
				return c.stash[0], true
			}
			return nil, false
		}
	}
}

func (p *player) isEvent(frame []byte) bool {
	var m struct {
		Method string
		Params struct {
			Value struct {
				Object, Type string
				Data         map[string]any
			}
		}
	}
	if json.Unmarshal(frame, &m) != nil || m.Method != "onEvent" {
		return false
	}
	e := testEvent{at: time.Now(), object: m.Params.Value.Object, typ: m.Params.Value.Type, data: m.Params.Value.Data}
	if !p.dyingHere(e) {
		p.got = append(p.got, e)
	}
	for recorded, peer := range p.byObject {
		if p.ours(recorded) == e.object && e.typ == "IceCandidateFound" {
			peer.candidate(e)
		}
	}
	return true
}

// dyingHere is dying for an event of this run.
func (p *player) dyingHere(e testEvent) bool {
	at, _ := strconv.ParseInt(e.data["timestampMillis"].(string), 10, 64)
	for object, released := range p.released {
		if e.typ == "ElementDisconnected" && !strings.Contains(object, "/") && strings.HasPrefix(e.object, p.ours(object)) && at >= released {
			return true
		}
	}
	return false
}

func (p *player) drain() {
	for _, c := range p.conns {
		for frame := range c.frames {
			p.isEvent(frame)
		}
	}
}

// ending compares how a connection ended.
func (p *player) ending(l *line) {
	c := p.conns[l.Conn]
	if c.broken {
		return
	}
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		p.errorf("connection %s is still open, want close %d", l.Conn, l.CloseCode)
		return
	}
	var ce *websocket.CloseError
	code, text := websocket.CloseAbnormalClosure, ""
	if errors.As(c.err, &ce) && ce.Code != websocket.CloseAbnormalClosure {
		code, text = ce.Code, ce.Text
	}
	want := l.CloseText
	if l.CloseCode == websocket.CloseAbnormalClosure {
		want = ""
	}
	if code != l.CloseCode || text != want {
		p.errorf("connection ended with %d %q, want %d %q", code, text, l.CloseCode, want)
	}
}
