package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kmsmock/conform"
	"github.com/callbench/callbench/kmsmock/transcript"
)

// A paper is where a proxy writes.
type paper struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

// startProxy records what goes to a server until end is called, which returns
// the transcript.
func startProxy(t *testing.T, target string, mask bool) (url string, end func() []transcript.Line) {
	t.Helper()
	out := &paper{}
	p, err := New(Config{Target: target, Name: t.Name(), Mask: mask, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	end = sync.OnceValue(func() []transcript.Line {
		if err := errors.Join(p.Close(), <-served); err != nil {
			t.Error(err)
		}
		lines, err := transcript.Read(&out.b)
		if err != nil {
			t.Fatal(err)
		}
		return lines
	})
	t.Cleanup(func() { end() })
	return "ws://" + l.Addr().String() + "/kurento", end
}

func startMock(t *testing.T) string {
	return kmsmock.Start(t, func(c *kmsmock.Config) {
		c.Timing, c.NoNagle, c.KeepLeft, c.Warm = kmsmock.Recorded, false, true, true
	}).URL()
}

// play plays recordings of the mock's own against a server.
func play(t *testing.T, url string, names ...string) {
	t.Helper()
	for _, name := range names {
		file := filepath.Join("..", "testdata", "transcripts", name+".jsonl")
		lines, err := transcript.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range conform.Play(t.Context(), file, lines, conform.Target{URL: url, Dial: (&net.Dialer{}).DialContext, Shared: true}) {
			t.Errorf("while it is recorded: %v", d)
		}
	}
}

// replays checks that a mock does what was recorded.
func replays(t *testing.T, lines []transcript.Line) {
	t.Helper()
	if len(lines) < 10 {
		t.Fatalf("%d lines are recorded", len(lines))
	}
	synctest.Test(t, func(t *testing.T) {
		for _, d := range conform.PlayMock(context.Background(), "recorded.jsonl", lines) {
			t.Error(d)
		}
	})
}

// TestReplay records sessions without media and replays them.
func TestReplay(t *testing.T) {
	for _, mask := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "masked"}[mask], func(t *testing.T) {
			url, end := startProxy(t, startMock(t), mask)
			play(t, url, "02_create_pipeline", "05_process_offer", "09_process_offer_twice", "18a_errors_rpc",
				"18d_ws_path_and_subprotocols", "19a_session_reconnect", "20_transactions", "32_close_session")
			lines := end()
			replays(t, lines)
			if masked := has(lines, func(l transcript.Line) bool { return l.Note == "masked" }); masked != mask {
				t.Errorf("a note says that it is masked: %v", masked)
			}
		})
	}
}

// TestReplayMedia records a call with media, of the mock and of the server at
// CALLBENCH_KMS_URL, and replays it.
func TestReplayMedia(t *testing.T) { replayMedia(t, startMock) }

// TestServiceReplayMedia records a real server instead of the mock.
func TestServiceReplayMedia(t *testing.T) {
	url := os.Getenv("CALLBENCH_KMS_URL")
	if url == "" {
		t.Skip("CALLBENCH_KMS_URL names no server")
	}
	replayMedia(t, func(*testing.T) string { return url })
}

func replayMedia(t *testing.T, server func(t *testing.T) string) {
	if testing.Short() {
		t.Skip("takes as long as the call")
	}
	for _, mask := range []bool{false, true} {
		call := map[bool]string{false: "23_one2one_media", true: "44_chromium_pion_vp8_edited_offer"}[mask]
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			url, end := startProxy(t, server(t), mask)
			play(t, url, call)
			lines := end()
			replays(t, lines)
			for i := range lines {
				if lines[i].Note == transcript.PeersUnseen {
					lines[i].Note = "nobody says that there were peers"
				}
			}
			synctest.Test(t, func(t *testing.T) {
				if len(conform.PlayMock(context.Background(), "recorded.jsonl", lines)) == 0 {
					t.Error("it replays without peers")
				}
			})
		})
	}
}

func has(lines []transcript.Line, match func(transcript.Line) bool) bool {
	return slices.ContainsFunc(lines, match)
}

// A bareServer takes one connection and hands it out.
func bareServer(t *testing.T) (url string, conns <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	return "ws://" + l.Addr().String() + "/kurento", accepted
}

const (
	upgradeRequest = "GET /kurento?x=1&y HTTP/1.1\r\nhOSt: elsewhere.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: kurento, x\r\nX-Odd:  two  spaces\r\n\r\n"
	upgradeResponse = "HTTP/1.1 101 Switching Protocols\r\nServer: WebSocket++/0.8.2\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// A wire is a client and a server with a proxy between them.
type wire struct {
	t              *testing.T
	client, server net.Conn
	end            func() []transcript.Line
}

func newWire(t *testing.T) *wire {
	t.Helper()
	target, conns := bareServer(t)
	url, end := startProxy(t, target, false)
	client, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/kurento"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, client: client, server: <-conns, end: end}
	t.Cleanup(func() { _, _ = w.client.Close(), w.server.Close() })
	return w
}

func (w *wire) upgrade() {
	w.t.Helper()
	w.passes(w.client, w.server, upgradeRequest)
	w.passes(w.server, w.client, upgradeResponse)
}

// passes sends bytes and wants them on the other side, just as they are.
func (w *wire) passes(from, to net.Conn, data string) {
	w.t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(from, data)
		sent <- err
	}()
	got := make([]byte, len(data))
	_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.ReadFull(to, got); err != nil || string(got) != data {
		w.t.Fatalf("%.200q came, %v, want %.200q", got[:n], err, data)
	}
	if err := <-sent; err != nil {
		w.t.Fatal(err)
	}
}

// TestBytes passes frames that hardly any client sends, and wants them noted.
func TestBytes(t *testing.T) {
	w := newWire(t)
	w.upgrade()
	big := strings.Repeat("y", 70_000)
	key := "\x01\x02\x03\x04"
	masked := func(s string) string {
		b := []byte(s)
		for i := range b {
			b[i] ^= key[i%4]
		}
		return key + string(b)
	}
	for _, data := range []string{
		"\x81\x85" + masked("hello"),
		"\x82\x83" + masked("\x00\xff\xfe"),
		"\x81\x82" + masked("\xc3("),
		"\x01\x83" + masked("{\"i"),                              // a fragment,
		"\x89\x82" + masked("hi"),                                // a ping between,
		"\x80\x86" + masked("d\":07}"),                           // and the rest
		"\x81\xff\x00\x00\x00\x00\x00\x01\x11\x70" + masked(big), // a length in 8 bytes
		"\x81\xfe\x00\x02" + masked("[]"),                        // and one in 2 that needs none
	} {
		w.passes(w.client, w.server, data)
	}
	// Half of a frame does not wait for the other half.
	w.passes(w.client, w.server, "\x81\x87"+key)
	w.passes(w.client, w.server, masked("{\"a\":1}")[4:])
	for _, data := range []string{"\x81\x07{\"b\":2}", "\x8a\x02hi", "\x89\x00", "\x81\x09{ \"c\":3 }"} {
		w.passes(w.server, w.client, data)
	}
	w.passes(w.client, w.server, "\x88\x85"+masked("\x03\xe9bye"))
	w.passes(w.server, w.client, "\x88\x02\x03\xe9")
	_ = w.server.Close()
	var got []string
	for _, l := range w.end()[2:] {
		got = append(got, strings.TrimSpace(l.Dir+" "+l.Conn+" "+l.Opcode+" "+l.Note+" "+l.Payload+" "+l.Frame()))
	}
	want := []string{"note A  ws connected", "send A   hello", "send A binary   \x00\xff\xfe", "send A    \xc3(", "note A  websocket-level ping frame hi",
		`send A    {"id":07}`, "send A    " + big, "send A    []", `send A    {"a":1}`, `recv A    {"b":2}`, "note A  recv ws PONG frame hi",
		"note A  recv ws PING frame", `recv A    { "c":3 }`, "note A  client closes websocket", "note A  ws read ended: websocket: close 1001 (going away)"}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d: %.2000q", len(got), len(want), got)
	}
	for i := range want {
		if strings.Join(strings.Fields(got[i]), " ") != strings.Join(strings.Fields(want[i]), " ") {
			t.Errorf("line %d is %.200q, want %.200q", i, got[i], want[i])
		}
	}
	lines := w.end()
	if l := lines[2]; l.URL[strings.LastIndexByte(l.URL, '/'):] != "/kurento?x=1&y" || !slices.Equal(l.RequestedSubprotocols, []string{"kurento", "x"}) || l.HTTPStatus != 101 {
		t.Errorf("the upgrade is noted as %+v", l)
	}
	if l := lines[len(lines)-2]; l.CloseCode != 1001 || l.CloseText != "bye" {
		t.Errorf("the client's close is noted as %+v", l)
	}
}

// TestLongFrame is noted as soon as its header is there: the server may refuse it.
func TestLongFrame(t *testing.T) {
	w := newWire(t)
	w.upgrade()
	w.passes(w.client, w.server, "\x81\xff\x00\x00\x00\x00\x01\xf4\x00\x00\x00\x00\x00\x00xxxx")
	w.passes(w.server, w.client, "\x88\x02\x03\xf1")
	_, _ = w.server.Close(), w.client.Close()
	lines := w.end()
	i := slices.IndexFunc(lines, func(l transcript.Line) bool { return l.Dir == transcript.Send })
	if i != 3 || lines[i].RawLen != 0x1f40000 || lines[4].CloseCode != 1009 {
		t.Errorf("noted %+v", lines)
	}
}

// TestRefusedFragments notes a message in whose midst the server closes, first.
func TestRefusedFragments(t *testing.T) {
	w := newWire(t)
	w.upgrade()
	w.passes(w.client, w.server, "\x01\x82\x00\x00\x00\x00{\"")
	w.passes(w.client, w.server, "\x00\x81\x00\x00\x00\x00x")
	w.passes(w.server, w.client, "\x88\x02\x03\xf1")
	w.passes(w.client, w.server, "\x80\x81\x00\x00\x00\x00y")
	_, _ = w.server.Close(), w.client.Close()
	lines := w.end()
	if len(lines) != 5 || lines[3].Dir != transcript.Send || lines[3].Frame() != `{"x` || lines[4].CloseCode != 1009 {
		t.Errorf("noted %+v", lines)
	}
}

// TestAbnormalEnds wants each end without a close frame to arrive as it is.
func TestAbnormalEnds(t *testing.T) {
	fin := func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }
	for name, c := range map[string]struct {
		end    func(net.Conn)
		client bool
		eof    bool // else a reset
		want   string
	}{
		"client ends":   {fin, true, true, "client drops TCP connection without close frame"},
		"client resets": {reset, true, false, "client drops TCP connection without close frame"},
		"server ends":   {fin, false, true, "ws read ended: websocket: close 1006 (abnormal closure): unexpected EOF"},
		"server resets": {reset, false, false, "ws read ended: connection reset by peer"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			w.upgrade()
			ends, other := w.server, w.client
			if c.client {
				ends, other = w.client, w.server
			}
			c.end(ends)
			_ = other.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := other.Read(make([]byte, 1)); errors.Is(err, io.EOF) != c.eof || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the other side ends with %v", err)
			}
			_ = other.Close()
			if c.eof { // the way back still works
				if _, err := ends.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the way back ends with %v", err)
				}
			}
			lines := w.end()
			if len(lines) != 4 || lines[3].Note != c.want || lines[3].Conn != "A" {
				t.Errorf("noted %+v, want %s", lines[2:], c.want)
			}
		})
	}
}

// TestPlainRequests pass and are noted, several on one connection too.
func TestPlainRequests(t *testing.T) {
	mock := kmsmock.Start(t)
	url, end := startProxy(t, mock.URL(), false)
	base := strings.Replace(strings.TrimSuffix(url, "/kurento"), "ws:", "http:", 1)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/_control", "/_control", "/kurento"} {
		resp, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || (path == "/_control") != strings.HasPrefix(string(b), "{") {
			t.Errorf("%s: %q, %v", path, b, err)
		}
		_ = resp.Body.Close()
	}
	client.CloseIdleConnections()
	var noted []int
	for _, l := range end() {
		if l.Note == "plain HTTP GET" {
			noted = append(noted, l.Status)
		}
	}
	if !slices.Equal(noted, []int{200, 200, 426}) {
		t.Errorf("noted %v", noted)
	}
}

// TestNoServer wants clients to be turned away and the reason noted.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := "ws://" + l.Addr().String() + "/kurento"
	_ = l.Close()
	url, end := startProxy(t, target, false)
	if ws, _, err := websocket.DefaultDialer.Dial(url, nil); err == nil {
		_ = ws.Close()
		t.Error("the proxy accepts a websocket")
	}
	if lines := end(); lines[len(lines)-1].Note != "the server cannot be reached: connection refused" {
		t.Errorf("noted %+v", lines)
	}
	for _, target := range []string{"", "http://127.0.0.1/", "ws:///kurento", "ws://%zz"} {
		if p, err := New(Config{Target: target, Out: io.Discard}); err == nil {
			t.Errorf("%q is taken", target)
			_ = p.Close()
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestFullDisk goes on passing and tells at the end.
func TestFullDisk(t *testing.T) {
	p, err := New(Config{Target: startMock(t), Out: fullDisk{}})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	if !p.admit(far) {
		t.Fatal("it does not take connections")
	}
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return near, nil }}
	ws, _, err := d.Dial("ws://kms/kurento", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"id":1,"jsonrpc":"2.0","method":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.ReadMessage(); err != nil || !strings.Contains(string(b), "pong") {
		t.Errorf("%s, %v", b, err)
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Close says %v", err)
	}
}
