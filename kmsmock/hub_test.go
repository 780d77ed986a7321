package kmsmock

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A meeting is a pipeline with a hub and peers on its ports.
type meeting struct {
	t     *testing.T
	srv   *Server
	kms   *testClient
	pipe  string
	hub   string
	ports []string
	ends  []string
	peers []*testPeer
}

// meet lets peers, named A, B, …, join a hub of a class in virtual time.
func meet(t *testing.T, class string, n int, f func(m *meeting)) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, n+1)
		s, l := startMock(t, Config{Net: nets[0]})
		m := &meeting{t: t, srv: s, kms: dialTest(t, l)}
		defer m.kms.close()
		m.pipe = m.kms.create("MediaPipeline", nil)
		m.hub = m.kms.create(class, map[string]any{"mediaPipeline": m.pipe})
		for i := range n {
			m.seat(newTestPeer(t, string(rune('A'+i)), nets[i+1], false))
		}
		for i, p := range m.peers {
			defer p.close()
			p.join(m.kms, m.ends[i])
		}
		f(m)
	})
}

// seat gives a peer an endpoint that is connected both ways with a port.
func (m *meeting) seat(p *testPeer) {
	port := m.kms.create("HubPort", map[string]any{"hub": m.hub})
	m.kms.subscribe(port, "MediaFlowInStateChanged", "MediaFlowOutStateChanged", "MediaTranscodingStateChanged", "ElementConnected", "ElementDisconnected")
	end := m.kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": m.pipe})
	m.kms.mu.Lock()
	before := m.kms.onEvent
	m.kms.onEvent = func(e testEvent) {
		if before != nil {
			before(e)
		}
		if e.object == end && e.typ == "IceCandidateFound" {
			p.candidate(e)
		}
	}
	m.kms.mu.Unlock()
	m.kms.subscribe(end, endpointEvents...)
	m.kms.invoke(end, "connect", map[string]any{"sink": port})
	m.kms.invoke(port, "connect", map[string]any{"sink": end})
	m.ports, m.ends, m.peers = append(m.ports, port), append(m.ends, end), append(m.peers, p)
}

// media are the events of an object about media.
func (m *meeting) media(object string) []string {
	var out []string
	for _, e := range eventsOf(m.kms, object) {
		if strings.HasPrefix(e, "MediaFlow") || strings.HasPrefix(e, "MediaTranscoding") {
			out = append(out, strings.Replace(strings.Replace(e, "StateChanged", "", 1), "Media", "", 1))
		}
	}
	slices.Sort(out)
	return out
}

// during counts what the peers receive in a time, as "A<audio:B".
func (m *meeting) during(d time.Duration) map[string]int {
	before := map[string]int{}
	all := func(f func(key string, n int)) {
		for _, p := range m.peers {
			for _, from := range m.peers {
				for _, kind := range []string{"audio", "video"} {
					f(p.name+"<"+kind+":"+from.name, p.got(kind+":"+from.name))
				}
			}
		}
	}
	all(func(key string, n int) { before[key] = n })
	time.Sleep(d)
	out := map[string]int{}
	all(func(key string, n int) {
		if n > before[key] {
			out[key] = n - before[key]
		}
	})
	return out
}

func (m *meeting) expect(what string, got map[string]int, want ...string) {
	m.t.Helper()
	for _, key := range want {
		if got[key] == 0 {
			m.t.Errorf("%s: no %s in %v", what, key, got)
		}
	}
	if len(got) != len(want) {
		m.t.Errorf("%s: got %v, want only %q", what, got, want)
	}
}

func TestCompositeFlowsBeforeAnybodySends(t *testing.T) {
	meet(t, "Composite", 2, func(m *meeting) {
		time.Sleep(5 * time.Second)
		for i := range m.peers {
			want := []string{"FlowOut VIDEO FLOWING", "Transcoding AUDIO TRANSCODING", "Transcoding VIDEO TRANSCODING"}
			if got := m.media(m.ports[i]); !slices.Equal(got, want) {
				t.Errorf("port: %q, want %q", got, want)
			}
			want = []string{"FlowIn AUDIO FLOWING", "FlowIn VIDEO FLOWING"}
			if got := m.media(m.ends[i]); !slices.Equal(got, want) {
				t.Errorf("endpoint: %q, want %q", got, want)
			}
			if m.kms.invoke(m.ports[i], "isMediaFlowingOut", map[string]any{"mediaType": "AUDIO"}) != true {
				t.Error("no silence comes out of the port")
			}
		}
	})
}

func TestCompositeFloor(t *testing.T) {
	meet(t, "Composite", 3, func(m *meeting) {
		a, b := m.peers[0], m.peers[1]
		time.Sleep(time.Second)
		a.play()
		time.Sleep(2 * time.Second)
		m.expect("alone", m.during(time.Second), "A<audio:A", "B<audio:A", "C<audio:A", "A<video:A", "B<video:A", "C<video:A")
		for _, want := range []string{"Transcoding AUDIO TRANSCODING", "Transcoding VIDEO TRANSCODING", "FlowOut VIDEO FLOWING"} {
			if got := m.media(m.ends[0]); !slices.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		keys := b.keys.Load()
		b.play()
		time.Sleep(2 * time.Second)
		m.expect("the last to speak", m.during(time.Second), "A<audio:B", "B<audio:B", "C<audio:B", "A<video:B", "B<video:B", "C<video:B")
		if b.keys.Load() == keys {
			t.Error("the new speaker was not asked for a key frame")
		}
		b.pause()
		time.Sleep(2 * time.Second)
		m.expect("the floor given back", m.during(time.Second), "A<audio:A", "B<audio:A", "C<audio:A", "A<video:A", "B<video:A", "C<video:A")
		m.kms.value("release", map[string]any{"object": m.ports[0]})
		time.Sleep(3 * time.Second)
		m.expect("a port is gone", m.during(time.Second))
		m.kms.value("release", map[string]any{"object": m.hub})
		if code, _ := m.kms.fails("invoke", map[string]any{"object": m.ports[1], "operation": "getName"}); code != 40101 {
			t.Errorf("port of a released hub answers %d", code)
		}
		time.Sleep(3 * time.Second)
		if got := m.media(m.ends[1]); !slices.Contains(got, "FlowIn AUDIO NOT_FLOWING") {
			t.Errorf("media of a released hub goes on: %q", got)
		}
	})
}

func TestDispatcher(t *testing.T) {
	meet(t, "Dispatcher", 3, func(m *meeting) {
		for _, p := range m.peers[:2] {
			p.play()
		}
		time.Sleep(2 * time.Second)
		m.expect("unconnected", m.during(time.Second))
		lead := func(from, to int) {
			m.kms.invoke(m.hub, "connect", map[string]any{"source": m.ports[from], "sink": m.ports[to]})
			time.Sleep(time.Second)
		}
		lead(0, 2)
		m.expect("A to C", m.during(time.Second), "C<audio:A", "C<video:A")
		lead(1, 2)
		m.expect("B to C", m.during(time.Second), "C<audio:B", "C<video:B")
		lead(1, 1)
		m.expect("B to itself too", m.during(time.Second), "C<audio:B", "C<video:B", "B<audio:B", "B<video:B")
		if got := m.media(m.ends[1]); !slices.Contains(got, "Transcoding VIDEO NOT_TRANSCODING") {
			t.Errorf("a dispatcher transcodes: %q", got)
		}
	})
}

func TestDispatcherOneToMany(t *testing.T) {
	meet(t, "DispatcherOneToMany", 3, func(m *meeting) {
		for _, p := range m.peers[:2] {
			p.play()
		}
		time.Sleep(2 * time.Second)
		m.expect("no source", m.during(time.Second))
		for i, from := range []string{"A", "B"} {
			m.kms.invoke(m.hub, "setSource", map[string]any{"source": m.ports[i]})
			time.Sleep(time.Second)
			var want []string
			for _, to := range []string{"A", "B", "C"} {
				want = append(want, fmt.Sprintf("%s<audio:%s", to, from), fmt.Sprintf("%s<video:%s", to, from))
			}
			m.expect("source "+from, m.during(time.Second), want...)
		}
		m.kms.invoke(m.hub, "removeSource", nil)
		time.Sleep(time.Second)
		m.expect("source removed", m.during(time.Second))
	})
}

func TestMixerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startMock(t, Config{})
		kms := dialTest(t, l)
		defer kms.close()
		pipe := kms.create("MediaPipeline", nil)
		hub := kms.create("Mixer", map[string]any{"mediaPipeline": pipe})
		port := kms.create("HubPort", map[string]any{"hub": hub})
		for _, c := range []struct{ operation, media, want string }{
			{"connect", "DATA", "Invalid media type"},
			{"disconnect", "DATA", "Invalid media type"},
			{"disconnect", "VIDEO", "Video disconnection is not implemented yet"},
		} {
			code, text := kms.fails("invoke", map[string]any{"object": hub, "operation": c.operation,
				"operationParams": map[string]any{"media": c.media, "source": port, "sink": port}})
			if code != 40005 || text != c.want {
				t.Errorf("%s %s: %d %q, want %q", c.operation, c.media, code, text, c.want)
			}
		}
	})
}

// TestMixerConnectEndsTheProcess: the client sees its connection cut.
func TestMixerConnectEndsTheProcess(t *testing.T) {
	s, err := New(Config{Timing: Fast})
	must(t, err)
	defer s.Close()
	c := &conn{srv: s}
	s.serve(c, []byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`))
	s.mu.Lock()
	hub, err := s.create(s.model.byName["Mixer"], "s", object{"mediaPipeline": s.sortedObjects()[1]})
	must(t, err)
	port, err := s.create(s.model.byName["HubPort"], "s", object{"hub": hub})
	must(t, err)
	s.mu.Unlock()
	s.serve(c, []byte(`{"jsonrpc":"2.0","id":2,"method":"invoke","params":{"object":"`+hub.id+
		`","operation":"connect","operationParams":{"media":"AUDIO","source":"`+port.id+`","sink":"`+port.id+`"}}}`))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.crashed {
		t.Error("the server lives on")
	}
}

func TestAlphaBlendingGivesSilenceOnly(t *testing.T) {
	meet(t, "AlphaBlending", 1, func(m *meeting) {
		time.Sleep(3 * time.Second)
		want := []string{"FlowOut AUDIO FLOWING", "Transcoding AUDIO TRANSCODING"}
		if got := m.media(m.ports[0]); !slices.Equal(got, want) {
			t.Errorf("port: %q, want %q", got, want)
		}
		if got := m.media(m.ends[0]); !slices.Equal(got, []string{"FlowIn AUDIO FLOWING"}) {
			t.Errorf("endpoint: %q", got)
		}
	})
}

func TestVoice(t *testing.T) {
	for _, c := range []struct {
		codec   string
		payload []byte
		want    bool
	}{
		{"OPUS", []byte{0xf8, 0xff, 0xfe}, false},
		{"OPUS", []byte{0xfc, 1, 2, 3}, true},
		{"PCMU", []byte{0xff, 0x7f, 0xff}, false},
		{"PCMU", []byte{0xff, 0x70, 0xff}, true},
		{"PCMA", []byte{0xd5, 0x55}, false},
		{"PCMA", []byte{0xd5, 0x54}, true},
	} {
		if got := isVoice(c.codec, c.payload); got != c.want {
			t.Errorf("%s % x: %v", c.codec, c.payload, got)
		}
	}
}
