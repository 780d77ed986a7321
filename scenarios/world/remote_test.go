package world

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// abroad is a system in this process that is played on as if it were somebody
// else's: it knows these users, and its Redis and media server have addresses.
func abroad(t *testing.T, users ...string) (*Local, Target) {
	t.Helper()
	l, err := newLocal(t.Context(), &scenarios.Scenario{}, "", nil, 1, trace.New(nil), Plant{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the system: %v", err)
		}
	})
	if err := l.redis.Start(); err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		l.know(u, t)
	}
	return l, Target{URL: l.url(), Markers: true,
		Token:  func(_ context.Context, c scenarios.Client) (string, error) { return l.token(c) },
		Probes: Probes{Redis: l.redis.Addr(), KMS: l.parts.kmsURL}}
}

// playRemote plays one scenario of the suite.
func playRemote(t *testing.T, target Target, name string) (reports.Scenario, []trace.Event) {
	t.Helper()
	s, err := scenarios.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	var events []trace.Event
	log := trace.New(nil)
	log.Watch(func(e trace.Event) { events = append(events, e) })
	return scenarios.Play(t.Context(), RemoteStage(target, 1), s, 1, log), events
}

// skipped are the steps of a result that could not be judged, and why.
func skipped(r reports.Scenario) (out []string) {
	for _, st := range r.Steps {
		if st.Verdict == reports.Skip {
			out = append(out, st.Text+": "+st.Reason)
		}
	}
	return out
}

// The suite's calls run on a system of somebody else, with what can be looked at.
func TestRemote(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	_, target := abroad(t, "alice", "bob", "carol")
	for _, name := range []string{"hangup-by-caller", "messages", "room-none", "busy", "udp-cut"} {
		t.Run(name, func(t *testing.T) {
			r, events := playRemote(t, target, name)
			passed(t, r, events)
			for _, s := range skipped(r) {
				if !strings.Contains(s, "MySQL") && !strings.Contains(s, "events") {
					t.Errorf("skipped: %s", s)
				}
			}
		})
	}
}

// Accounts of a staging server play the users of the script, with their own devices.
func TestRemoteAccounts(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	l, target := abroad(t, "stg-7", "stg-8")
	target.Accounts = []Account{{User: "stg-7", Devices: []string{"desk-7"}}, {User: "stg-8"}}
	r, events := playRemote(t, target, "hangup-by-caller")
	passed(t, r, events)
	if again, err := scenarios.Rejudge(events); err != nil || again.Verdict != reports.Pass {
		t.Errorf("judged again: %s %s, %v", again.Verdict, again.Reason, err)
	}
	if r.Calls[0].From != "alice" || r.Calls[0].To != "bob" {
		t.Errorf("the call is from %s to %s, not as the script names them", r.Calls[0].From, r.Calls[0].To)
	}
	if got := l.Contacts("stg-7"); !slices.Equal(got, []string{"stg-8"}) {
		t.Errorf("others became known: %v", got)
	}
	r, _ = playRemote(t, target, "room-mcu")
	if r.Verdict != reports.Skip || !strings.Contains(r.Reason, "2 accounts") {
		t.Errorf("with too few accounts: %s %s", r.Verdict, r.Reason)
	}
}

// A call that is left behind is found by each probe.
func TestProbesFindWhatIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	l, target := abroad(t, "alice", "bob", "eve", "mallory")
	others := callBetween(t, l, "eve", "mallory") // which is somebody else's
	defer others()
	s := &scenarios.Scenario{Clients: []scenarios.Client{{Name: "alice", User: "alice"}, {Name: "bob", User: "bob"}}}
	all, err := openProbes(t.Context(), target.Probes, s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := all.close(); err != nil {
			t.Error(err)
		}
	}()
	looks(t, all, map[string]int{})
	hangUp := callBetween(t, l, "alice", "bob")
	looks(t, all, map[string]int{"kms": 1, "redis": 7}) // sessions of both, the room's three, two users
	hangUp()
	looks(t, all, map[string]int{})
}

// callBetween has a call of two users that others than a scenario play, and gives
// what ends it.
func callBetween(t *testing.T, l *Local, caller, callee string) (hangUp func()) {
	t.Helper()
	events := newSeen[trace.Event](t)
	log := trace.New(nil)
	log.Watch(events.add)
	var clients []scenarios.Caller
	for _, u := range []string{caller, callee} {
		c, err := l.Client(scenarios.Client{Name: u, User: u, Device: u, Profile: "electron"}, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	act := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	await := func(who string, kind trace.Kind) {
		events.await(fmt.Sprintf("%s of %s", kind, who), func(e trace.Event) bool { return e.Actor == who && e.Kind == kind })
	}
	act("call", clients[0].Call(t.Context(), callee))
	await(callee, "call.incoming")
	act("accept", clients[1].Accept(t.Context()))
	await(caller, "call.connected")
	await(callee, "call.connected")
	return func() {
		act("hang up", clients[0].Hangup(t.Context()))
		await(callee, "call.ended")
		for _, c := range clients {
			act("close", c.Close())
		}
	}
}

// looks waits until the probes find so much left of each part, and nothing else.
func looks(t *testing.T, all probes, want map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		found, err := all.look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, f := range found {
			if f.What == "left" {
				got[attr(f, "where")]++
			}
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if err := sleepFor(ctx, 50*time.Millisecond); err != nil {
			t.Fatalf("left are %v, want %v: %v", got, want, found)
		}
	}
}

// Of each capability it is known whether a remote system has it, and what of that it
// takes: whoever adds one says so here.
func TestRemoteLacks(t *testing.T) {
	never := []string{"virtualtime", "kmsevents", "kms-control", "kms-faults", "parts-control", "redis-control", "server-control", "push", "files", "rotation", "revocation", "blocks"}
	level0 := 0
	all := Target{URL: "ws://127.0.0.1:1/ws", Markers: true, Features: []string{"resume", "callid", "ack", "rooms", "history", "turn"},
		Forge: func(scenarios.Client, string) (string, error) { return "", nil }, Probes: Probes{TURN: &TURN{URL: "turn:192.0.2.1", Log: "turn.log"}}}
	for name, c := range map[string]struct {
		target Target
		lacks  []string // besides
	}{
		"everything":  {all, nil},
		"nothing":     {Target{Features: []string{}}, []string{"tokens", "mixed", "resume", "callid", "ack", "rooms", "history", "turn", "allocations"}},
		"not asked":   {Target{}, []string{"tokens", "mixed", "turn", "allocations"}},
		"of level 0":  {Target{Level: &level0}, []string{"tokens", "mixed", "turn", "allocations"}}, // what level 0 lacks the scenario knows
		"without log": {Target{Markers: true, Forge: all.Forge, Probes: Probes{TURN: &TURN{URL: "turn:192.0.2.1"}}}, []string{"allocations"}},
	} {
		for need := range scenarios.Capabilities {
			if need == scenarios.Chromium {
				continue // this machine's
			}
			want := slices.Contains(never, need) || slices.Contains(c.lacks, need)
			if why := c.target.lacks(need); (why != "") != want {
				t.Errorf("%s: %q is lacked because %q", name, need, why)
			}
		}
	}
}

// A scenario that wants the server set otherwise is not played.
func TestRemoteFits(t *testing.T) {
	var target Target
	for text, why := range map[string]string{
		"set room_limit=2\n": "room_limit",
		"set turn_ttl=20s\n": "turn_ttl",
		"set level=0\n":      "level 1",
		"set timeout=9s\n":   "",
	} {
		s, err := scenarios.Parse("x.call", "clients alice=electron\n"+text)
		if err != nil {
			t.Fatal(err)
		}
		if _, lack := target.fit(s); (lack != "") != (why != "") || !strings.Contains(lack, why) {
			t.Errorf("%s: %q", text, lack)
		}
	}
}

// What somebody else's users do at the same time is no finding, and a part that gives
// no answer is one.
func TestProbesOfSharedSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	l, target := abroad(t, "alice", "bob", "eve", "mallory")
	s := &scenarios.Scenario{Clients: []scenarios.Client{{Name: "alice", User: "alice"}}}
	all, err := openProbes(t.Context(), Probes{Redis: target.Probes.Redis}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = all.close() }()
	callBetween(t, l, "eve", "mallory")()
	hangUp := callBetween(t, l, "eve", "mallory")
	looks(t, all, map[string]int{})
	hangUp()
	l.redis.SetError("LOADING Redis is loading the dataset in memory")
	looks(t, all, map[string]int{"redis probe": 1})
	l.redis.SetError("")
	looks(t, all, map[string]int{})
}

// The server's own counts are a probe, if there are any.
func TestMetricsProbe(t *testing.T) {
	calls := 1
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprintf(w, "# HELP callbench_calls Calls\ncallbench_calls{state=\"ringing\"} %d\ncallbench_calls{state=\"a } b\"} 2 1700000000\ncallbench_calls_ended_total 7\n", calls)
		}
	}))
	defer web.Close()
	p, err := openMetricsProbe(t.Context(), web.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.close() }()
	if found, err := p.look(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("%v %v", found, err)
	}
	calls = 3
	if found, err := p.look(t.Context()); err != nil || len(found) != 1 || attr(found[0], "id") != "callbench_calls: 2 more than in the beginning" {
		t.Errorf("%v %v", found, err)
	}
	if _, err := openMetricsProbe(t.Context(), web.URL+"/others?key=do-not-tell"); err == nil || !strings.Contains(err.Error(), "none of the metrics") || strings.Contains(err.Error(), "do-not-tell") {
		t.Errorf("a page without them: %v", err)
	}
}
