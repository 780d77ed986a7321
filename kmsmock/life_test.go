package kmsmock

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

// serverID asks for it, as clients do.
func (c *testClient) serverID() string {
	resp := c.request("connect", nil)
	return resp["result"].(map[string]any)["serverId"].(string)
}

// afterRestart is what transcript 38 shows of a server that was killed and
// started again.
func afterRestart(t *testing.T, before string, session, object string, kms *testClient) {
	t.Helper()
	if code, text := kms.fails("connect", map[string]any{"sessionId": session}); code != 40007 || text != "Invalid session" {
		t.Errorf("connect: %d %s", code, text)
	}
	if code, _ := kms.fails("invoke", map[string]any{"object": object, "operation": "getName", "sessionId": session}); code != 40101 {
		t.Errorf("invoke: %d", code)
	}
	if id := kms.serverID(); id == before {
		t.Error("the server id is the old one")
	}
	kms.create("MediaPipeline", nil)
}

func TestRestartInVirtualTime(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		l := s.gates[0].inner.(*memListener)
		pipe := newCall(t, kms, peers[0], peers[1])
		play(peers, 3*time.Second)
		session, id := s.Sessions()[0], s.State().ServerID
		s.Restart(RestartTime)
		kms.wg.Wait() // the connection ends
		d := websocket.Dialer{NetDialContext: l.dial}
		start := time.Now()
		for {
			ws, _, err := d.Dial("ws://mock/kurento", nil)
			if err == nil {
				_ = ws.Close()
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(start); took < 110*time.Millisecond || took > 130*time.Millisecond {
			t.Errorf("listens again after %v", took)
		}
		again := dialTest(t, l)
		defer again.close()
		afterRestart(t, id, session, pipe, again)
		got := peers[0].got("audio:B")
		time.Sleep(5 * time.Second)
		if more := peers[0].got("audio:B"); more > got+5 {
			t.Errorf("media goes on: %d and then %d", got, more)
		}
	})
}

func TestKillAndRestartOnSockets(t *testing.T) {
	s := Start(t, func(c *Config) { c.KeepLeft = true })
	kms := dialURL(t, s.URL(), nil)
	defer kms.close()
	pipe := kms.create("MediaPipeline", nil)
	session, id := s.Sessions()[0], s.State().ServerID
	s.Kill()
	kms.wg.Wait()
	if _, _, err := websocket.DefaultDialer.Dial(s.URL(), nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("dialing a dead server: %v", err)
	}
	if left := s.Left(); len(left) != 0 {
		t.Errorf("the dead server holds %q", left)
	}
	s.Restart(0)
	again := dialURL(t, s.URL(), redial)
	defer again.close()
	afterRestart(t, id, session, pipe, again)
}

func TestRefusedConnections(t *testing.T) {
	s := Start(t)
	kms := dialURL(t, s.URL(), nil)
	defer kms.close()
	s.Refuse(100 * time.Millisecond)
	kms.value("ping", map[string]any{})
	again := dialURL(t, s.URL(), redial) // succeeds once the time is over
	defer again.close()
	again.value("ping", map[string]any{})
}

func TestNoTimerOutlivesClose(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		do(t, s, Command{Do: "media_stall", Object: el, For: Span(time.Hour)})
		s.Refuse(time.Hour)
		s.Restart(time.Hour)
		s.mu.Lock()
		timers := slices.Collect(maps.Keys(s.timers))
		s.mu.Unlock()
		if len(timers) < 3 {
			t.Errorf("%d timers run, want one for each command", len(timers))
		}
		must(t, s.Close())
		for _, timer := range timers {
			if timer.Stop() {
				t.Error("a timer still runs after Close")
			}
		}
		s.Restart(time.Hour)
		if n := len(s.timers); n > len(timers) {
			t.Error("a timer was started after Close")
		}
	})
}

func TestRefusedConnectionsInVirtualTime(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		s.Refuse(time.Minute)
		if ws, _, err := (&websocket.Dialer{NetDialContext: l.dial}).Dial("ws://mock/kurento", nil); err == nil {
			_ = ws.Close()
			t.Error("a connection was accepted")
		}
		kms.value("invoke", getName(el))
		time.Sleep(time.Minute + time.Millisecond)
		dialTest(t, l).close()
	})
}

func TestConnectToPipelineKillsTheServer(t *testing.T) {
	for _, spared := range []bool{false, true} {
		inRules(t, Config{NoCrash: spared}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
			kms.value("invoke", map[string]any{"object": el, "operation": "disconnect", "operationParams": map[string]any{"sink": pipe}})
			kms.ask("invoke", map[string]any{"object": el, "operation": "connect", "operationParams": map[string]any{"sink": pipe}})
			synctest.Wait()
			if s.State().Crashed == spared {
				t.Errorf("crashed %v with NoCrash %v", s.State().Crashed, spared)
			}
		})
	}
}

// do carries a command out that must succeed.
func do(t *testing.T, s *Server, c Command) {
	t.Helper()
	must(t, s.Do(c))
}

func TestICEFailure(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		newCall(t, kms, peers[0], peers[1])
		play(peers, 3*time.Second)
		do(t, s, Command{Do: "ice_failure", Object: peers[0].endpoint})
		time.Sleep(40 * time.Second)
		if !slices.Contains(eventsOf(kms, peers[0].endpoint), "IceComponentStateChanged 1 FAILED") {
			t.Errorf("events %q", eventsOf(kms, peers[0].endpoint))
		}
		if got := peers[0].pc.ConnectionState(); got != webrtc.PeerConnectionStateFailed {
			t.Errorf("A is %s", got)
		}
		if got := peers[1].pc.ConnectionState(); got != webrtc.PeerConnectionStateConnected {
			t.Errorf("B is %s", got)
		}
	})
}

func TestDTLSFailure(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		newCall(t, kms, peers[0], peers[1])
		play(peers, 3*time.Second)
		kms.subscribe(peers[0].endpoint, "Error")
		do(t, s, Command{Do: "dtls_failure", Object: peers[0].endpoint})
		time.Sleep(time.Second)
		var codes []float64
		failed := 0
		for _, e := range kms.seen() {
			switch {
			case e.typ == "Error":
				codes = append(codes, e.data["errorCode"].(float64))
			case e.typ == "DtlsConnectionStateChange" && e.data["state"] == "FAILED":
				failed++
			}
		}
		slices.Sort(codes)
		if codes = slices.Compact(codes); !slices.Equal(codes, []float64{1, 9}) || failed != 2 {
			t.Errorf("errors %v, %d times FAILED", codes, failed)
		}
		if err := s.Do(Command{Do: "dtls_stall", Object: peers[1].endpoint}); err == nil {
			t.Error("a handshake that is over was stalled")
		}
	})
}

// TestMediaFaults plays each fault of one endpoint's video and looks at what
// its peer gets and what is reported.
func TestMediaFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		c        Command
		got      int // at most, of about 150 frames in 10 s
		least    int
		reported bool // NOT_FLOWING
	}{
		"stall":   {Command{Do: "media_stall", Media: "VIDEO"}, 5, 0, true},
		"stalled": {Command{Do: "media_stall", Media: "VIDEO", For: Span(4 * time.Second)}, 220, 60, true},
		"silence": {Command{Do: "media_silence", Media: "VIDEO"}, 5, 0, false},
		"flap":    {Command{Do: "media_flap", Media: "VIDEO", On: Span(time.Second), Off: Span(5 * time.Second)}, 160, 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
				newCall(t, kms, peers[0], peers[1])
				play(peers, 3*time.Second)
				tc.c.Object = peers[0].endpoint
				do(t, s, tc.c)
				video, audio := peers[0].got("video:B"), peers[0].got("audio:B")
				time.Sleep(10 * time.Second)
				if n := peers[0].got("video:B") - video; n > tc.got || n < tc.least {
					t.Errorf("A got %d frames", n)
				}
				if n := peers[0].got("audio:B") - audio; n < 400 {
					t.Errorf("A got %d packets of audio", n)
				}
				if said := slices.Contains(eventsOf(kms, peers[0].endpoint), "MediaFlowInStateChanged VIDEO NOT_FLOWING"); said != tc.reported {
					t.Errorf("NOT_FLOWING reported: %v", said)
				}
				do(t, s, Command{Do: "media_restore", Object: peers[0].endpoint})
				video = peers[0].got("video:B")
				time.Sleep(5 * time.Second)
				if n := peers[0].got("video:B") - video; n < 60 {
					t.Errorf("A got %d frames after that", n)
				}
			})
		})
	}
}

func TestTranscodingReported(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "MediaTranscodingStateChanged")
		do(t, s, Command{Do: "transcoding", Object: el, Media: "AUDIO"})
		time.Sleep(time.Second)
		if seen := kms.seen(); len(seen) != 1 || seen[0].String() != "MediaTranscodingStateChanged AUDIO TRANSCODING" {
			t.Errorf("seen %v", seen)
		}
	})
}

func TestRecorderFailures(t *testing.T) {
	for failure, want := range map[string][]string{
		"no_space": {"RESOURCE_ERROR_NO_SPACE_LEFT 14"}, "open": {"RESOURCE_ERROR_OPEN 6", "UNEXPECTED_ELEMENT_ERROR 4"},
		"write": {"RESOURCE_ERROR_WRITE 10"},
	} {
		inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
			rec := kms.create("RecorderEndpoint", map[string]any{"mediaPipeline": pipe, "uri": "file:///nowhere.webm"})
			kms.subscribe(rec, "Error")
			do(t, s, Command{Do: "recorder_failure", Object: rec, Failure: failure})
			time.Sleep(time.Second)
			if got := errorsOf(kms, rec); !slices.Equal(got, want) {
				t.Errorf("%s: errors %q, want %q", failure, got, want)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if got := s.recorderFault(s.objects[rec]); got != failure {
				t.Errorf("the recorder is told %q, want %q", got, failure)
			}
		})
	}
}

func TestCommandsWithoutSenseAreRefused(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		rtp := kms.create("RtpEndpoint", map[string]any{"mediaPipeline": pipe})
		for want, c := range map[string]Command{
			"RtpEndpoint has no ICE": {Do: "dtls_failure", Object: rtp},
			"no command":             {Do: "dance"}, "not found": {Do: "ice_failure"}, "no ICE": {Do: "ice_failure", Object: el},
			"no media": {Do: "media_stall", Object: pipe}, "AUDIO or VIDEO": {Do: "media_stall", Object: el, Media: "SMELL"},
			"for must": {Do: "refuse"}, "on and off": {Do: "media_flap", Object: el}, "about no object": {Do: "gc", Object: el},
			"records nothing": {Do: "recorder_failure", Object: el}, "cross is": {Do: "cross_media", Cross: "over"},
			"no connection": {Do: "cut", Session: "nobody's"},
		} {
			if err := s.Do(c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", c, err, want)
			}
		}
	})
}

// TestManySessionsLeaveNothing opens ten thousand sessions and drops their
// connections.
func TestManySessionsLeaveNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections; run without -short")
	}
	synctest.Test(t, func(t *testing.T) {
		s, l := startMock(t, Config{Timing: Fast, CollectorPeriod: 8 * time.Second})
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 10_000 {
			kms := dialTest(t, l)
			pipe := kms.create("MediaPipeline", nil)
			kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
			kms.close()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		st := s.State()
		if len(st.Objects)+len(st.Sessions)+len(st.Connections) > 0 {
			t.Errorf("left: %d objects, %d sessions, %d connections", len(st.Objects), len(st.Sessions), len(st.Connections))
		}
		// The count is the process's, in which a few of the runtime's own come and go.
		if n := runtime.NumGoroutine(); n > before+10 {
			t.Errorf("%d goroutines, %d before", n, before)
		}
	})
}

func TestSessionsOnSocketsLeaveNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("served", func(t *testing.T) {
		s := Start(t)
		files := openFiles(t)
		sessions := 10_000
		if testing.Short() {
			sessions = 200
		}
		for range sessions {
			kms := dialURL(t, s.URL(), nil)
			kms.create("MediaPipeline", nil)
			kms.close()
		}
		for len(s.State().Connections) > 0 {
			runtime.Gosched()
		}
		s.CollectGarbage() // clears the marks
		s.CollectGarbage()
		s.Empty(t)
		if n := len(s.Sessions()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if n := openFiles(t); n > files {
			t.Errorf("%d files are open, %d before", n, files)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("open files cannot be counted here: %v", err)
	}
	return len(list)
}

// A failure collects what a helper says to a test.
type failure struct {
	text    string
	cleanup []func()
}

func (f *failure) Helper()                        {}
func (f *failure) Errorf(format string, a ...any) { f.text += format }
func (f *failure) Fatalf(format string, a ...any) { panic(format) }
func (f *failure) Cleanup(g func())               { f.cleanup = append(f.cleanup, g) }

func TestWhatIsLeftFailsTheTest(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var f failure
		s := Start(&f, func(c *Config) { c.KeepLeft = keep })
		kms := dialURL(t, s.URL(), nil)
		kms.create("MediaPipeline", nil)
		kms.close()
		for _, g := range f.cleanup {
			g()
		}
		if failed := f.text != ""; failed == keep {
			t.Errorf("failed %v (%q) with KeepLeft %v", failed, f.text, keep)
		}
	}
}

func TestDumpTellsWhoHoldsWhat(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "ElementConnected")
		kms.invoke(el, "connect", map[string]any{"sink": el})
		got := s.Dump()
		for _, want := range []string{
			"2 objects, 1 sessions", "MediaPipeline " + pipe + " sessions=1", "\n  PassThrough " + el, "    -> AUDIO " + el,
			"on ElementConnected: session " + s.Sessions()[0], "session " + s.Sessions()[0] + ": connection 1, holds 2",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	})
}

// redial dials until somebody listens.
func redial(ctx context.Context, network, address string) (net.Conn, error) {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}

func control(t *testing.T, s *Server, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, s.ControlURL()+path, strings.NewReader(body))
	must(t, err)
	if len(header) > 0 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Errorf("%s %s gives %q: %v", method, path, b, err)
	}
	return resp.StatusCode, out
}

func TestControl(t *testing.T) {
	s := Start(t, func(c *Config) { c.KeepLeft = true })
	kms := dialURL(t, s.URL(), nil)
	defer kms.close()
	pipe := kms.create("MediaPipeline", nil)
	if code, got := control(t, s, "GET", "", ""); code != 200 || len(got["objects"].([]any)) != 1 || len(got["connections"].([]any)) != 1 {
		t.Errorf("%d %v", code, got)
	}
	code, got := control(t, s, "POST", "/rules", `{"name":"slow","match":{"method":"ping"},"do":"error","error":{"code":7,"message":"no"}}`)
	if code != 200 || got["name"] != "slow" {
		t.Errorf("%d %v", code, got)
	}
	if code, _ := kms.fails("ping", map[string]any{}); code != 7 {
		t.Errorf("the rule gives %d", code)
	}
	if code, got := control(t, s, "DELETE", "/rules/slow", ""); code != 200 {
		t.Errorf("%d %v", code, got)
	}
	kms.value("ping", map[string]any{})
	if code, got := control(t, s, "PUT", "/modes", `{"shuffle":true,"noCrash":true}`); code != 200 || !s.Modes().Shuffle || !s.Modes().NoCrash {
		t.Errorf("%d %v", code, got)
	}
	if code, got := control(t, s, "POST", "/commands", `{"do":"thread_limit","limit":1}`); code != 200 {
		t.Errorf("%d %v", code, got)
	}
	if code, _ := kms.fails("create", map[string]any{"type": "MediaPipeline"}); code != 40009 {
		t.Errorf("create gives %d", code)
	}
	kms.value("release", map[string]any{"object": pipe})
}

// TestRulesSayWhatTheyLack looks at the texts for mistakes that are easily made.
func TestRulesSayWhatTheyLack(t *testing.T) {
	s := Start(t)
	for body, want := range map[string]string{
		`{"do":"delay"}`:             "rule: do delay needs delay",
		`{"name":"x","do":"error"}`:  `rule "x": do error needs error`,
		`{"do":"drop","delay":"1s"}`: "delay belongs to do delay; this rule does drop",
		`{"do":"delay","delay":300}`: `delay must be a duration such as "300ms"`,
		`{"do":"slow"}`:              "must be one of delay, error, drop",
	} {
		if status, got := control(t, s, "POST", "/rules", body); status != 400 || !strings.Contains(got["message"].(string), want) {
			t.Errorf("%s: %d %v, want %q", body, status, got, want)
		}
	}
	if _, got := control(t, s, "GET", "", ""); got["objects"] == nil || got["sessions"] == nil {
		t.Errorf("an idle server shows %v", got)
	}
}

// deaf is a T that counts failures.
type deaf struct {
	failures int
	cleanup  []func()
}

func (d *deaf) Helper()               {}
func (d *deaf) Errorf(string, ...any) { d.failures++ }
func (d *deaf) Fatalf(string, ...any) { d.failures++ }
func (d *deaf) Cleanup(f func())      { d.cleanup = append(d.cleanup, f) }

// TestLeftIsToldOnce holds the end of a test to not repeat what Empty said, and
// to say it if Empty was not called.
func TestLeftIsToldOnce(t *testing.T) {
	for _, asks := range []bool{true, false} {
		d := &deaf{}
		s := Start(d)
		kms := dialURL(t, s.URL(), nil)
		kms.create("MediaPipeline", nil)
		if asks {
			s.Empty(d)
		}
		kms.close()
		for _, f := range d.cleanup {
			f()
		}
		if d.failures != 1 {
			t.Errorf("%d failures if the test calls Empty: %v", d.failures, asks)
		}
	}
}

func TestControlRefuses(t *testing.T) {
	s := Start(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/rules", `{"do":"drop","colour":"red"}`, 400, "malformed"},
		{"POST", "/rules", `{"do":"drop"} x`, 400, "malformed"},
		{"POST", "/rules", `{"do":"delay","delay":"soon"}`, 400, "malformed"},
		{"POST", "/rules", `{"do":"burn"}`, 400, "refused"},
		{"POST", "/commands", `{"do":"refuse"}`, 400, "refused"},
		{"POST", "/commands", `{"do":"thread_limit","limit":-1}`, 400, "refused"},
		{"POST", "/rules", "", 400, "malformed"},
		{"POST", "/rule", `{"do":"drop"}`, 404, "not_found"},
		{"GET", "/rules", "", 404, "not_found"},
		{"POST", "/scripts", `{}`, 400, "refused"},
		{"POST", "/rules", strings.Repeat(" ", maxControl+1), 413, "too_large"},
		{"DELETE", "/rules/none", "", 404, "not_found"},
	} {
		if status, got := control(t, s, tc.method, tc.path, tc.body); status != tc.status || got["code"] != tc.code || got["message"] == "" {
			t.Errorf("%s %s %.40s: %d %v", tc.method, tc.path, tc.body, status, got)
		}
	}
	if status, got := control(t, s, "GET", "", "", "Origin", "http://evil.example"); status != 403 || got["code"] != "forbidden" {
		t.Errorf("a web page gets %d %v", status, got)
	}
	for allow, from := range map[bool]string{false: "192.0.2.1:7", true: "192.0.2.1:7"} {
		s.cfg.Control = allow
		if got := s.mayControl(&http.Request{RemoteAddr: from, Header: http.Header{}}); got != allow {
			t.Errorf("%s may control: %v, with Config.Control %v", from, got, allow)
		}
	}
}
