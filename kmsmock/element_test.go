package kmsmock

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A graph is a pipeline whose elements have names.
type graph struct {
	t   *testing.T
	kms *testClient
	ids map[string]string
}

func newGraph(t *testing.T, elements string) *graph {
	_, l := startMock(t, Config{Timing: Fast})
	g := &graph{t: t, kms: dialTest(t, l), ids: map[string]string{}}
	t.Cleanup(g.kms.close)
	pipe := g.kms.create("MediaPipeline", nil)
	for _, name := range strings.Fields(elements) {
		g.ids[name] = g.kms.create("PassThrough", map[string]any{"mediaPipeline": pipe})
		g.kms.subscribe(g.ids[name], "ElementConnected", "ElementDisconnected")
	}
	return g
}

func (g *graph) name(id any) string {
	for name, own := range g.ids {
		if own == id {
			return name
		}
	}
	return fmt.Sprint(id)
}

// call invokes "a connect b VIDEO s k" and the like.
func (g *graph) call(text string) {
	g.t.Helper()
	words := strings.Fields(text)
	args := map[string]any{"sink": g.ids[words[2]]}
	for i, name := range []string{"mediaType", "sourceMediaDescription", "sinkMediaDescription"} {
		if len(words) > 3+i {
			args[name] = words[3+i]
		}
	}
	g.kms.invoke(g.ids[words[0]], words[1], args)
}

// links lists connections as "a>b VIDEO default>default".
func (g *graph) links(of, operation string, args map[string]any) []string {
	var out []string
	for _, v := range g.kms.invoke(g.ids[of], operation, args).([]any) {
		c := v.(map[string]any)
		out = append(out, fmt.Sprintf("%s>%s %v %v>%v", g.name(c["source"]), g.name(c["sink"]), c["type"], c["sourceDescription"], c["sinkDescription"]))
	}
	return out
}

func (g *graph) wantLinks(of, operation string, args map[string]any, want ...string) {
	g.t.Helper()
	if got := g.links(of, operation, args); !slices.Equal(got, want) {
		g.t.Errorf("%s of %s %v: %q, want %q", operation, of, args, got, want)
	}
}

// events are the events since the last call, as "a Disconnected b VIDEO s>k".
func (g *graph) events() []string {
	time.Sleep(100 * time.Millisecond)
	g.kms.mu.Lock()
	defer g.kms.mu.Unlock()
	var out []string
	for _, e := range g.kms.events {
		out = append(out, fmt.Sprintf("%s %s %s %v %v>%v", g.name(e.object), strings.TrimPrefix(e.typ, "Element"), g.name(e.data["sink"]),
			e.data["mediaType"], e.data["sourceMediaDescription"], e.data["sinkMediaDescription"]))
	}
	g.kms.events = nil
	return out
}

func (g *graph) wantEvents(want ...string) {
	g.t.Helper()
	if got := g.events(); !slices.Equal(got, want) {
		g.t.Errorf("events %q, want %q", got, want)
	}
}

func TestMediaDescriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraph(t, "x y")
		g.call("x connect y VIDEO")
		g.wantEvents("x Connected y VIDEO default>default")
		g.call("x connect y VIDEO s1")
		g.wantEvents("x Disconnected y VIDEO s1>default", "x Connected y VIDEO s1>default")
		g.call("x connect y VIDEO default k1")
		g.wantEvents("x Connected y VIDEO default>k1")
		g.wantLinks("y", "getSourceConnections", nil, "x>y VIDEO s1>default", "x>y VIDEO default>k1")
		g.wantLinks("y", "getSourceConnections", map[string]any{"mediaType": "VIDEO", "description": "k1"}, "x>y VIDEO default>k1")
		g.wantLinks("x", "getSinkConnections", map[string]any{"mediaType": "VIDEO", "description": "s1"}, "x>y VIDEO s1>default")
		if got := g.links("x", "getSinkConnections", map[string]any{"description": "s1"}); len(got) != 3 {
			t.Errorf("a description without mediaType is not ignored: %q", got)
		}
		g.call("x disconnect y VIDEO s1")
		g.wantLinks("y", "getSourceConnections", nil, "x>y VIDEO default>k1")
	})
}

func TestForgottenSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraph(t, "a b d")
		g.call("a connect b VIDEO")
		g.call("d disconnect b VIDEO")
		g.wantLinks("b", "getSourceConnections", nil)
		g.call("a disconnect b VIDEO")
		g.wantLinks("a", "getSinkConnections", nil, "a>b VIDEO default>default")
		g.call("a connect b VIDEO")
		g.wantLinks("a", "getSinkConnections", nil, "a>b VIDEO default>default", "a>b VIDEO default>default")
		g.events()
		g.kms.value("release", map[string]any{"object": g.ids["b"]})
		g.wantEvents("a Disconnected b VIDEO default>default")
		g.wantLinks("a", "getSinkConnections", nil)
	})
}

func TestReleaseInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraph(t, "a b c")
		g.call("a connect b")
		g.call("b connect c")
		g.call("b connect b DATA")
		g.events()
		g.kms.value("release", map[string]any{"object": g.ids["b"]})
		g.wantEvents("a Disconnected b AUDIO default>default", "a Disconnected b VIDEO default>default")
		g.wantLinks("a", "getSinkConnections", nil)
		g.wantLinks("c", "getSourceConnections", nil)
	})
}

// TestTranscodingBegins: the state is told once, and again when a sink with
// another codec comes.
func TestTranscodingBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := virtualNet(t, 2)
		_, l := startMock(t, Config{Net: nets[0], Timing: Fast})
		kms := dialTest(t, l)
		defer kms.close()
		pipe := kms.create("MediaPipeline", nil)
		a := newTestPeer(t, "A", nets[1], false)
		defer a.close()
		end := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
		kms.onEvent = func(e testEvent) {
			if e.typ == "IceCandidateFound" {
				a.candidate(e)
			}
		}
		kms.subscribe(end, endpointEvents...)
		through := kms.create("PassThrough", map[string]any{"mediaPipeline": pipe})
		filter := kms.create("GStreamerFilter", map[string]any{"mediaPipeline": pipe, "command": "videoflip method=4"})
		kms.subscribe(through, "MediaFlowInStateChanged", "MediaFlowOutStateChanged")
		kms.invoke(end, "connect", map[string]any{"sink": through})
		a.join(kms, end)
		a.play()
		time.Sleep(time.Second)
		if a.keys.Load() == 0 {
			t.Error("the sender of a new video was not asked for a key frame")
		}
		if got := eventsOf(kms, through); len(got) != 4 {
			t.Errorf("an element without sinks reports %q", got)
		}
		kms.invoke(end, "connect", map[string]any{"sink": filter})
		time.Sleep(time.Second)
		var states []string
		for _, e := range kms.seen() {
			if e.object == end && e.typ == "MediaTranscodingStateChanged" && e.data["mediaType"] == "VIDEO" {
				states = append(states, e.data["state"].(string))
			}
		}
		if want := []string{"NOT_TRANSCODING", "TRANSCODING"}; !slices.Equal(states, want) {
			t.Errorf("states %q, want %q", states, want)
		}
	})
}
