package kmsmock

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc/v4"
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

// redial dials until somebody listens.
func redial(ctx context.Context, network, address string) (net.Conn, error) {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}
