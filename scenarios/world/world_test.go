package world

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// sim plays a scenario in virtual time inside this test.
func sim(t *testing.T, s *scenarios.Scenario, seed int64, plant Plant) (result reports.Scenario, events []trace.Event) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := trace.New(nil)
		log.Watch(func(e trace.Event) { events = append(events, e) })
		result = scenarios.Play(context.Background(), VirtualStage(seed, plant), s, seed, log)
	})
	return result, events
}

// passed fails the test with the judge's words, and keeps the trace.
func passed(t *testing.T, r reports.Scenario, events []trace.Event) {
	t.Helper()
	if r.Verdict == reports.Pass {
		return
	}
	var file bytes.Buffer
	for _, e := range events {
		file.Write(e.Append(nil))
	}
	path := filepath.Join(t.ArtifactDir(), "trace.jsonl")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
	t.Errorf("%s with seed %d: %s\ntrace: %s\n%s", r.Verdict, r.Seed, r.Reason, path, explain(r))
}

// played is passed for a scenario that may need what its world lacks for a reason
// that is known.
func played(t *testing.T, r reports.Scenario, events []trace.Event, reason string) {
	t.Helper()
	if r.Verdict == reports.Skip && strings.Contains(r.Reason, reason) {
		t.Log(r.Reason)
		return
	}
	passed(t, r, events)
}

func explain(r reports.Scenario) string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "[%s] %s:%d: %s\n%s", f.Check, f.File, f.Line, f.Message, f.Detail)
	}
	return b.String() + strings.Join(r.Notes, "\n")
}

// suite is the suite but for what takes a browser.
func suite(t *testing.T) []*scenarios.Scenario {
	t.Helper()
	list, err := scenarios.Find()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, (*scenarios.Scenario).Chromium)
}

// TestSim plays the suite in virtual time, and once more with a server that
// speaks level 0 of the protocol only.
func TestSim(t *testing.T) {
	if testing.Short() {
		t.Skip("plays whole calls; run without -short")
	}
	for _, s := range suite(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r, events := sim(t, s, 1, Plant{})
			passed(t, r, events)
		})
		t.Run("level0/"+s.Name, func(t *testing.T) {
			t.Parallel()
			r, events := sim(t, s.AtLevel(0), 1, Plant{})
			played(t, r, events, "the server speaks level 0 only")
		})
	}
}

// Every scenario of the suite ends with the proof that nothing is left, and says
// in a sentence what it is about.
func TestSuiteIsTidy(t *testing.T) {
	all, err := scenarios.Suite()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		last := s.Steps[len(s.Steps)-1]
		if last.Kind != scenarios.Expect || last.Clauses[0].Verb != "clean" {
			t.Errorf("%s ends with %q", s.File, last.Text)
		}
		if !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s is about %q, which is no sentence", s.File, s.Doc)
		}
	}
}

func TestLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	loop(t, "")
}

// TestServiceKurento plays the suite on a real Kurento.
func TestServiceKurento(t *testing.T) {
	url := os.Getenv("CALLBENCH_KMS_URL")
	if url == "" {
		t.Skip("CALLBENCH_KMS_URL names no Kurento")
	}
	loop(t, url)
}

// loopsAtOnce is how many scenarios are played at a time in real time: they
// mostly wait.
const loopsAtOnce = 6

func loop(t *testing.T, kms string) {
	type outcome struct {
		result reports.Scenario
		events []trace.Event
	}
	atOnce := loopsAtOnce
	if kms != "" {
		atOnce = 1 // clean looks at all that the shared media server holds
	}
	room := make(chan struct{}, atOnce)
	ctx := t.Context()
	list := suite(t)
	slices.SortStableFunc(list, func(a, b *scenarios.Scenario) int { return cmp.Compare(lastAt(b), lastAt(a)) })
	for _, s := range list {
		t.Run(s.Name, func(t *testing.T) {
			done := make(chan outcome, 1)
			go func() { // before Parallel, which lets on only as many as there are processors
				room <- struct{}{}
				defer func() { <-room }()
				log := trace.New(nil)
				var p outcome
				log.Watch(func(e trace.Event) { p.events = append(p.events, e) })
				p.result = scenarios.Play(ctx, LocalStage(kms, 1, Plant{}), s, 1, log)
				done <- p
			}()
			t.Parallel()
			p := <-done
			played(t, p.result, p.events, "") // localLacks says why; TestLocalLacks what
		})
	}
}

// lastAt is how long a scenario takes at least: the longest begin first, so that
// in the end none is waited for alone.
func lastAt(s *scenarios.Scenario) time.Duration {
	var at time.Duration
	for _, st := range s.Steps {
		at = max(at, st.At)
	}
	return at
}

// The local world has everything but virtual time, unless its servers are real.
func TestLocalLacks(t *testing.T) {
	for kms, lacking := range map[string][]string{
		"":                            {"virtualtime", "parts-control"},
		"ws://127.0.0.1:8888/kurento": {"virtualtime", "kmsevents", "kms-control", "kms-faults", "parts-control", "mixed"},
		"ws://kurento:8888/kurento":   {"virtualtime", "kmsevents", "kms-control", "kms-faults", "parts-control", "mixed", "files"},
	} {
		for need := range scenarios.Capabilities {
			if need == scenarios.Chromium {
				continue // as the machine is
			}
			if why := localLacks(kms, nil)(need); (why != "") != slices.Contains(lacking, need) {
				t.Errorf("%s: %q with the media server at %q", need, why, kms)
			}
		}
	}
}

// The same scenario gives the same trace in every run: for each instant and
// actor the same set of events, also when datagrams are lost from the first one
// on. Figures of media are held to a range where a packet may come in the same
// instant as an action. CALLBENCH_REPEATS sets the number of runs; without it the
// longest scenarios are left out, which take as long as all others together.
func TestRepeats(t *testing.T) {
	if testing.Short() {
		t.Skip("plays whole calls; run without -short")
	}
	for _, s := range suite(t) {
		if crowded(s) {
			continue
		}
		keep := stateOnly
		if s.Name == "call" || s.Name == "reconnect" {
			keep = exact
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			repeat(t, s, keep)
		})
	}
}

// crowd is how many clients may ask the server for something in one instant and get
// it in the same order in every run.
const crowd = 8

// crowded reports whether in a scenario so much is asked for in one instant that its
// order is chance, as it is on a real network: by a crowd, or by all who go on with
// what they had when a media server, a Redis or a server is back.
func crowded(s *scenarios.Scenario) bool {
	control := func(need string) bool { return strings.HasSuffix(need, "-control") }
	return len(s.Clients) > crowd || slices.ContainsFunc(s.Needs, control)
}

func repeat(t *testing.T, s *scenarios.Scenario, keep func(trace.Event, trace.Attr) bool) {
	var first []string
	var heard map[string]int64
	for i := range repeats(t) {
		r, events := sim(t, s, 7, Plant{})
		passed(t, r, events)
		got, units := normalize(events, keep), unitsOf(r)
		if i == 0 {
			first, heard = got, units
		}
		if diff := gocmp.Diff(first, got); diff != "" {
			t.Fatalf("run %d differs from the first:\n%s", i+1, diff)
		}
		for k, n := range units {
			if d := max(n-heard[k], heard[k]-n); d > 2 && d*20 > n {
				t.Errorf("run %d: %s received %d units, in the first run %d", i+1, k, n, heard[k])
			}
		}
	}
}

func repeats(t *testing.T) int {
	if s := os.Getenv("CALLBENCH_REPEATS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 2
}

func unitsOf(r reports.Scenario) map[string]int64 {
	units := map[string]int64{}
	for _, m := range r.Media {
		units[m.Client+" "+m.Kind] = m.Units
	}
	return units
}

// chance are attributes that differ between runs though nothing did: sizes of
// frames that hold random numbers of different length, and ids, counters and
// ports (client) that two goroutines draw in random order within one instant.
var chance = map[string]bool{"size": true, "bytes": true, "sdp_size": true, "object": true, "subject": true, "endpoint": true, "pipeline": true,
	"request": true, "kms_request": true, "seq": true, "kms_session": true, "kms_server": true, "subscription": true, "id": true, "conn": true, "number": true, "client": true}

// exact keeps everything but chance.
func exact(_ trace.Event, a trace.Attr) bool { return !chance[a.Key] }

// counting are the events whose figures are held to a range where packets are
// lost: which ones are lost is decided by their number, and with that by which
// of two packets of one instant was sent first.
var counting = map[trace.Kind]bool{"media.window": true, "media.total": true, "media.sent": true}

// stateOnly keeps state changes and drops figures.
func stateOnly(e trace.Event, a trace.Attr) bool {
	return exact(e, a) && (!counting[e.Kind] || a.Key == "media" || a.Key == "from" || a.Key == "call")
}

// normalize renders a trace as a sorted list of lines, one for each event.
func normalize(events []trace.Event, keep func(trace.Event, trace.Attr) bool) []string {
	var lines []string
	for _, e := range events {
		if e.Kind == trace.KindRunBegin {
			continue
		}
		line := fmt.Sprintf("%012d %s %s", e.T.Microseconds(), e.Actor, e.Kind)
		for _, a := range e.Attrs {
			if keep(e, a) {
				line += " " + a.Key + "=" + a.Text()
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// Within an actor, causes come before their effects also where they share an
// instant.
func TestCausalOrder(t *testing.T) {
	for _, name := range []string{"call", "reconnect"} {
		s, err := scenarios.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		_, events := sim(t, s, 3, Plant{})
		at := map[string]int{}
		for i, e := range events {
			key := e.Actor + " " + string(e.Kind)
			if _, seen := at[key]; !seen {
				at[key] = i
			}
		}
		for _, order := range [][]string{
			{"alice ws.open", "alice session.welcome", "alice call.outgoing", "alice call.ringing", "alice call.accepted", "alice call.connected", "alice media.flow", "alice call.ended"},
			{"bob call.incoming", "bob call.accepted", "bob call.connected", "bob media.flow", "bob call.ended"},
			{"server conn.open", "server session.start", "server call.start", "server room.created", "server leg.created", "server call.offer", "server call.answer"},
		} {
			for i := 1; i < len(order); i++ {
				a, okA := at[order[i-1]]
				b, okB := at[order[i]]
				if !okA || !okB || a > b {
					t.Errorf("%s: %q (%v, %d) is not before %q (%v, %d)", s.Name, order[i-1], okA, a, order[i], okB, b)
				}
			}
		}
	}
}

// What the issue of the spine asks of the two calls.
func TestCallProvesItsMedia(t *testing.T) {
	s, err := scenarios.Load("call")
	if err != nil {
		t.Fatal(err)
	}
	r, events := sim(t, s, 1, Plant{})
	passed(t, r, events)
	if len(r.Media) != 4 {
		t.Fatalf("%d kinds of media: %+v", len(r.Media), r.Media)
	}
	for _, m := range r.Media {
		least := map[string]int64{"audio": 1400, "video": 850}[m.Kind]
		if m.Units < least || m.Wrong+m.Unmarked+m.Lost > 0 || m.From == m.Client {
			t.Errorf("%+v", m)
		}
	}
	names := map[string]bool{}
	for _, p := range r.Calls[0].Phases {
		names[p.Name] = true
	}
	for _, p := range r.Phases {
		names[p.Name] = true
	}
	for _, want := range []string{"ws_connect", "register", "invite_to_ring", "ring_delivery", "ring_duration", "answer_propagation", "sdp_offer_answer", "kms_create", "kms_process_offer", "kms_gather",
		"ice_gathering", "ice_connect", "dtls_handshake", "first_marked_media.audio", "first_marked_media.video", "call_setup_total", "end_propagation", "teardown"} {
		if !names[want] {
			t.Errorf("no phase %s among %v", want, slices.Sorted(maps.Keys(names)))
		}
	}
}

// A kept trace is judged alone, and to the same result.
func TestRejudge(t *testing.T) {
	for _, name := range []string{"call", "reconnect", "decline-by-leave"} {
		s, err := scenarios.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		r, events := sim(t, s, 1, Plant{})
		again, err := scenarios.Rejudge(events)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(r, again); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
	}
}

// BenchmarkVirtual reports how many seconds of call a second of processor plays.
func BenchmarkVirtual(b *testing.B) {
	s, err := scenarios.Load("call")
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	var virtual time.Duration
	for b.Loop() {
		var out bytes.Buffer
		log := trace.New(&out)
		r := Isolated(context.Background(), s, 1, log)
		if r.Verdict != reports.Pass {
			b.Fatal(r.Reason)
		}
		virtual += r.Took
	}
	b.ReportMetric(virtual.Seconds()/time.Since(begin).Seconds(), "call-s/s")
}
