package kmsmock

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// inRules runs a test in virtual time with a client, a pipeline, and an
// element of it.
func inRules(t *testing.T, cfg Config, f func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string)) {
	t.Helper()
	if !cfg.Shuffle { // without delays nothing comes before the answer
		cfg.Timing = Fast
	}
	synctest.Test(t, func(t *testing.T) {
		s, l := startMock(t, cfg)
		kms := dialTest(t, l)
		defer kms.close()
		pipe := kms.create("MediaPipeline", nil)
		f(t, s, l, kms, pipe, kms.create("PassThrough", map[string]any{"mediaPipeline": pipe}))
	})
}

func addRule(t *testing.T, s *Server, r Rule) string {
	t.Helper()
	name, err := s.AddRule(r)
	must(t, err)
	return name
}

func getName(id string) map[string]any { return map[string]any{"object": id, "operation": "getName"} }

// ask sends a request whose answer may never come.
func (c *testClient) ask(method string, params map[string]any) chan map[string]any {
	out := make(chan map[string]any, 2)
	c.mu.Lock()
	c.id++
	id := c.id
	c.pending[id] = out
	c.mu.Unlock()
	must(c.t, c.ws.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
	return out
}

func TestRuleDelays(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		addRule(t, s, Rule{Match: Match{Method: "invoke", Operation: "getName", Class: "MediaElement"}, Do: Slow, Delay: Delay{Mean: 3 * time.Second}})
		start := time.Now()
		kms.value("invoke", getName(pipe))
		if d := time.Since(start); d > time.Second {
			t.Errorf("a pipeline's took %v", d)
		}
		kms.value("invoke", getName(el))
		if d := time.Since(start); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("an element's took %v", d)
		}
	})
}

func TestRuleRefuses(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		addRule(t, s, Rule{Match: Match{Method: "invoke", Object: el}, Do: Refuse, Nth: 2, Count: 1,
			Error: &Refusal{Code: 40101, Type: "MEDIA_OBJECT_NOT_FOUND", Message: "gone"}})
		kms.value("invoke", getName(el))
		if code, text := kms.fails("invoke", getName(el)); code != 40101 || text != "gone" {
			t.Errorf("%d %s", code, text)
		}
		kms.value("invoke", getName(el))
	})
}

func TestRuleDropsAnswersAndEvents(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "ElementConnected")
		addRule(t, s, Rule{Match: Match{Event: "ElementConnected"}, Do: Drop, Count: 1})
		addRule(t, s, Rule{Match: Match{Operation: "connect"}, Do: Drop})
		answer := kms.ask("invoke", map[string]any{"object": el, "operation": "connect", "operationParams": map[string]any{"sink": el}})
		time.Sleep(time.Second)
		if len(answer) != 0 || len(kms.seen()) != 2 {
			t.Errorf("%d answers, events %v", len(answer), kms.seen())
		}
	})
}

func TestRuleDuplicatesReordersAndHolds(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		twice := addRule(t, s, Rule{Match: Match{Method: "ping"}, Do: Duplicate})
		answer := kms.ask("ping", map[string]any{})
		time.Sleep(time.Second)
		if len(answer) != 2 {
			t.Errorf("%d answers", len(answer))
		}
		s.RemoveRule(twice)

		kms.subscribe(el, "ElementConnected")
		late := addRule(t, s, Rule{Match: Match{Event: "ElementConnected"}, Do: Reorder, Count: 1})
		connect := map[string]any{"object": el, "operation": "connect", "operationParams": map[string]any{"sink": el}}
		kms.value("invoke", connect)
		time.Sleep(time.Second)
		var order []string
		for _, e := range kms.seen() {
			order = append(order, e.data["mediaType"].(string))
		}
		if want := []string{"VIDEO", "AUDIO", "DATA"}; !slices.Equal(order, want) {
			t.Errorf("order %q, want %q", order, want)
		}
		s.RemoveRule(late)

		held := addRule(t, s, Rule{Match: Match{Method: "ping"}, Do: Hold})
		answer = kms.ask("ping", map[string]any{})
		time.Sleep(time.Minute)
		if len(answer) != 0 || s.Rules()[0].Held != 1 {
			t.Errorf("%d answers, rules %+v", len(answer), s.Rules())
		}
		s.RemoveRule(held)
		if resp := <-answer; resp["result"] == nil {
			t.Errorf("released %v", resp)
		}
	})
}

func TestReorderWithoutAnythingElseComesAfterAll(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		addRule(t, s, Rule{Match: Match{Method: "ping"}, Do: Reorder})
		start := time.Now()
		kms.request("ping", map[string]any{})
		if d := time.Since(start); d < reorderPatience || d > time.Second {
			t.Errorf("answered after %v", d)
		}
	})
}

func TestRuleEndsConnections(t *testing.T) {
	for stroke, want := range map[Stroke]int{Cut: websocket.CloseAbnormalClosure, Hangup: 1011} {
		t.Run(string(stroke), func(t *testing.T) {
			inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
				r := Rule{Match: Match{Method: "ping"}, Do: stroke}
				if stroke == Hangup {
					r.Close = &Closing{Code: 1011, Reason: "tired"}
				}
				addRule(t, s, r)
				ws, _, err := (&websocket.Dialer{NetDialContext: l.dial}).Dial("ws://mock/kurento", nil)
				must(t, err)
				defer ws.Close()
				must(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)))
				_, b, err := ws.ReadMessage()
				if !websocket.IsCloseError(err, want) && !(stroke == Cut && err != nil && len(b) == 0) {
					t.Errorf("read %q, %v", b, err)
				}
				kms.value("invoke", getName(el)) // the other connection lives
			})
		})
	}
}

func TestHalfOpenConnectionSaysNothingMore(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "ElementConnected")
		addRule(t, s, Rule{Match: Match{Method: "ping"}, Do: HalfOpen, Count: 1})
		first := kms.ask("ping", map[string]any{})
		second := kms.ask("ping", map[string]any{})
		other := dialTest(t, l)
		defer other.close()
		other.invoke(el, "connect", map[string]any{"sink": el})
		time.Sleep(time.Minute)
		if len(first)+len(second) != 0 || len(kms.seen()) != 0 {
			t.Errorf("%d and %d answers, events %v", len(first), len(second), kms.seen())
		}
		if n := len(s.State().Connections); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestProbabilityIsSeeded shows that chance repeats with the seed, and that
// other rules do not change it.
func TestProbabilityIsSeeded(t *testing.T) {
	strikes := func(seed uint64, names ...string) (out string) {
		inRules(t, Config{Seed: seed}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
			for _, name := range names {
				addRule(t, s, Rule{Name: name, Match: Match{Method: "ping"}, Do: Refuse, Probability: 0.5, Error: &Refusal{Code: 1, Message: name}})
			}
			for range 32 {
				s.mu.Lock()
				before := s.rules[len(s.rules)-1].Struck
				s.mu.Unlock()
				kms.request("ping", map[string]any{})
				s.mu.Lock()
				out += string("01"[s.rules[len(s.rules)-1].Struck-before])
				s.mu.Unlock()
			}
		})
		return out
	}
	a := strikes(1, "chance")
	if b := strikes(1, "chance"); b != a {
		t.Errorf("%s and %s with one seed", a, b)
	}
	if b := strikes(2, "chance"); b == a {
		t.Errorf("%s with two seeds", a)
	}
	if !strings.Contains(a, "0") || !strings.Contains(a, "1") {
		t.Errorf("%s is no chance", a)
	}
}

func TestDelaysAreDistributed(t *testing.T) {
	for _, d := range []Delay{{"uniform", time.Second, time.Second / 2}, {"normal", time.Second, time.Second / 10}, {"lognormal", time.Second, time.Second / 2}} {
		r := &rule{}
		r.rand = newDice(7, d.Distribution)
		var sum, low, high time.Duration = 0, time.Hour, 0
		for range 10_000 {
			x := d.draw(r.rand)
			sum, low, high = sum+x, min(low, x), max(high, x)
		}
		if mean := sum / 10_000; mean < 970*time.Millisecond || mean > 1030*time.Millisecond {
			t.Errorf("%s: mean %v", d.Distribution, mean)
		}
		if d.Distribution == "uniform" && (low < time.Second/2 || high > 3*time.Second/2 || high-low < 950*time.Millisecond) {
			t.Errorf("uniform from %v to %v", low, high)
		}
		if d.Distribution == "lognormal" && high < 2*time.Second {
			t.Errorf("the longest of lognormal is %v", high)
		}
	}
}

func TestSenselessRulesAreRefused(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		for want, r := range map[string]Rule{
			"do is":                {Do: "burn"},
			"nth and count":        {Do: Drop, Nth: -1},
			"probability":          {Do: Drop, Probability: 2},
			"not both":             {Do: Drop, Match: Match{Event: "Error", Method: "ping"}},
			"event cannot":         {Do: Refuse, Match: Match{Event: "Error"}, Error: &Refusal{Code: 1}},
			"do error needs error": {Do: Refuse},
			"close belongs":        {Do: Drop, Close: &Closing{Code: 1000}},
			"do delay needs delay": {Do: Slow},
			"close frame":          {Do: Hangup, Close: &Closing{Code: 1006}},
			"distribution is":      {Do: Slow, Delay: Delay{Distribution: "weird", Mean: 1}},
			"no spread":            {Do: Slow, Delay: Delay{Mean: 1, Spread: 1}},
			"needs mean":           {Do: Slow, Delay: Delay{Distribution: "normal", Mean: 1}},
		} {
			if _, err := s.AddRule(r); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", r, err, want)
			}
		}
	})
}

func TestStrokesAreLogged(t *testing.T) {
	var log bytes.Buffer
	inRules(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		addRule(t, s, Rule{Name: "nope", Match: Match{Method: "invoke"}, Do: Refuse, Error: &Refusal{Code: 1, Message: "x"}})
		kms.fails("invoke", getName(el))
	})
	if want := "msg=kms.fault type=error rule=nope number=1 object="; !strings.Contains(log.String(), want) {
		t.Errorf("log has no %q:\n%s", want, log.String())
	}
}

func TestScript(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		must(t, s.AddScript(Script{Name: "odd", Steps: []Step{
			{Expect: &Match{Method: "ping"}, Swallow: true},
			{Send: `{"id":$id,"jsonrpc":"2.0","result":{"value":"pang"}}`},
			{Expect: &Match{Operation: "getName"}},
			Wait(time.Second),
			{Event: &ScriptEvent{Object: el, Type: "Error", Data: []byte(`{"errorCode":7}`)}},
			{Close: &Closing{Code: 1012}},
		}}))
		if v := kms.value("ping", map[string]any{}); v != "pang" {
			t.Errorf("ping gives %v", v)
		}
		if v := kms.value("ping", map[string]any{}); v != "pong" {
			t.Errorf("the second ping gives %v", v)
		}
		start := time.Now()
		kms.value("invoke", getName(el))
		kms.wg.Wait()
		seen := kms.seen()
		if len(seen) != 1 || seen[0].data["errorCode"] != 7.0 || seen[0].at.Sub(start) != time.Second {
			t.Errorf("seen %v", seen)
		}
		if n := len(s.State().Scripts); n != 0 {
			t.Errorf("%d scripts are left", n)
		}
	})
}

func TestSenselessScriptsAreRefused(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		ping := &Match{Method: "ping"}
		for want, steps := range map[string][]Step{
			"no steps": {}, "must be expect": {{Cut: true}}, "not exactly one": {{Expect: ping, Cut: true}},
			"swallow belongs": {{Expect: ping}, {Cut: true, Swallow: true}}, "expects an event": {{Expect: &Match{Event: "Error"}}},
			"less than nothing": {{Expect: ping}, Wait(-1)}, "must be an object": {{Expect: ping}, {Event: &ScriptEvent{Data: []byte("5")}}},
		} {
			if err := s.AddScript(Script{Steps: steps}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

// TestShuffledEventsOvertakeTheAnswer shows every kind of disorder that the
// recordings have, and that the events of one type keep their order.
func TestShuffledEventsOvertakeTheAnswer(t *testing.T) {
	var before, after, mixed int
	inRules(t, Config{Shuffle: true, NoNagle: true}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "ElementConnected", "ElementDisconnected")
		for range 50 {
			n := len(kms.seen())
			kms.invoke(el, "connect", map[string]any{"sink": el})
			if early := len(kms.seen()) - n; early > 0 {
				before++
			} else {
				after++
			}
			time.Sleep(time.Second)
			if seen := kms.seen()[n:]; !slices.IsSortedFunc(seen, func(a, b testEvent) int { return strings.Compare(b.typ, a.typ) }) {
				mixed++
			}
			var kinds string
			for _, e := range kms.seen()[n:] {
				if e.typ == "ElementConnected" {
					kinds += e.data["mediaType"].(string)[:1]
				}
			}
			if kinds != "AVD" {
				t.Errorf("one type's events came as %s", kinds)
			}
		}
	})
	if before == 0 || mixed == 0 {
		t.Errorf("%d times before the answer, %d after, %d mixed", before, after, mixed)
	}
}
