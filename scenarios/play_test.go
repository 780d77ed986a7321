package scenarios

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// notebook is a world that writes down what it is asked for, and whose clients
// do the same.
type notebook struct {
	mu    sync.Mutex
	lines []string
	rooms []Finding
	made  int
}

func (n *notebook) note(format string, args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
	return nil
}

func (n *notebook) Client(c Client, _ *trace.Log) (Caller, error) {
	n.made++
	return &scribe{n, c.Name, n.made}, nil
}
func (n *notebook) Network(c Client) (Network, error) { return line{n, c.Name}, nil }
func (n *notebook) Token(c Client, kind string) error { return n.note("token %s %s", c.Name, kind) }
func (n *notebook) Block(user, other string, on bool) error {
	return n.note("block %s %s %v", user, other, on)
}
func (n *notebook) Probe(context.Context) ([]Finding, error) { return n.rooms, nil }
func (n *notebook) KillKMS()                                 { _ = n.note("kms kill") }
func (n *notebook) RestartKMS(after time.Duration)           { _ = n.note("kms restart %v", after) }
func (n *notebook) HangKMS() error                           { return n.note("kms hang") }
func (n *notebook) BreakKMS(f KMSFault) error                { return n.note("kms %v", f) }
func (n *notebook) HealKMS()                                 { _ = n.note("kms heal") }
func (n *notebook) RestartRedis(away time.Duration)          { _ = n.note("redis restart %v", away) }
func (n *notebook) FlushRedis()                              { _ = n.note("redis flush") }
func (n *notebook) SlowRedis(d time.Duration)                { _ = n.note("redis slow %v", d) }
func (n *notebook) KillServer() error                        { return n.note("server kill") }
func (n *notebook) StartServer() error                       { return n.note("server start") }
func (n *notebook) Part(name string) (Part, error)           { return page{n, "part " + name}, nil }
func (n *notebook) Line(name string) (Line, error)           { return page{n, "line " + name}, nil }
func (n *notebook) Settle() time.Duration                    { return 300 * time.Millisecond }
func (n *notebook) Close() error                             { return nil }

// page is a part, or the way to it, in a notebook.
type page struct {
	n    *notebook
	what string
}

func (p page) Pause() error                   { return p.n.note("%s pause", p.what) }
func (p page) Resume() error                  { return p.n.note("%s resume", p.what) }
func (p page) Kill() error                    { return p.n.note("%s kill", p.what) }
func (p page) Start() error                   { return p.n.note("%s start", p.what) }
func (p page) Partition(on bool) error        { return p.n.note("%s partition %v", p.what, on) }
func (p page) Cut() error                     { return p.n.note("%s cut", p.what) }
func (p page) Restore() error                 { return p.n.note("%s restore", p.what) }
func (p page) Reset() error                   { return p.n.note("%s reset", p.what) }
func (p page) SetDelay(d time.Duration) error { return p.n.note("%s delay %v", p.what, d) }
func (p page) SetLoss(percent float64) error  { return p.n.note("%s loss %v", p.what, percent) }

// line is a client's network in a notebook.
type line struct {
	*notebook
	host string
}

func (l line) Cut()                     { _ = l.note("net %s cut", l.host) }
func (l line) Restore()                 { _ = l.note("net %s restore", l.host) }
func (l line) Reset()                   { _ = l.note("net %s reset", l.host) }
func (l line) Hold(up, down bool)       { _ = l.note("net %s hold up=%v down=%v", l.host, up, down) }
func (l line) CutUDP(on bool)           { _ = l.note("net %s udp %v", l.host, on) }
func (l line) SetLoss(percent float64)  { _ = l.note("net %s loss %v", l.host, percent) }
func (l line) SetDelay(d time.Duration) { _ = l.note("net %s delay %v", l.host, d) }

// scribe is the n-th client of a notebook.
type scribe struct {
	book *notebook
	name string
	n    int
}

func (s *scribe) note(format string, args ...any) error {
	return s.book.note("%s %s", s.name, fmt.Sprintf(format, args...))
}

func (s *scribe) Connect(context.Context) error              { return s.note("connect %d", s.n) }
func (s *scribe) Call(_ context.Context, user string) error  { return s.note("call %s", user) }
func (s *scribe) Accept(context.Context) error               { return s.note("accept") }
func (s *scribe) Hangup(context.Context) error               { return s.note("hangup") }
func (s *scribe) Reject(context.Context) error               { return s.note("reject") }
func (s *scribe) Busy(context.Context) error                 { return s.note("busy") }
func (s *scribe) Cancel(context.Context) error               { return s.note("cancel") }
func (s *scribe) Leave(_ context.Context, room string) error { return s.note("leave %q", room) }
func (s *scribe) SetRole(_ context.Context, user, role string) error {
	return s.note("role %s %s", user, role)
}
func (s *scribe) Kick(_ context.Context, user string) error   { return s.note("kick %s", user) }
func (s *scribe) Record(_ context.Context, what string) error { return s.note("record %s", what) }
func (s *scribe) AskHistory(_ context.Context, q signaling.HistoryQuery) error {
	return s.note("history %s %s %d", q.What, q.RoomID, q.Limit)
}
func (s *scribe) Join(_ context.Context, room, kind, role string) error {
	err := s.note("join %q %s %s", room, kind, role)
	if room == "slow" {
		time.Sleep(5 * time.Second)
		err = s.note("joined")
	}
	return err
}
func (s *scribe) RefreshToken(context.Context) error { return s.note("refresh") }
func (s *scribe) Background()                        { _ = s.note("background") }
func (s *scribe) Sleep(d time.Duration)              { _ = s.note("sleep %v", d) }
func (s *scribe) Foreground()                        { _ = s.note("foreground") }

func (s *scribe) Crash() { _ = s.note("crash") }
func (s *scribe) Mute(_ context.Context, kind string, on bool) error {
	return s.note("mute %s %v", kind, on)
}

func (s *scribe) Drop()                     { _ = s.note("drop") }
func (s *scribe) Send(b []byte) error       { return s.note("send %d %.20s", len(b), b) }
func (s *scribe) SendBinary(b []byte) error { return s.note("send binary %d", len(b)) }
func (s *scribe) Close() error              { return s.note("close %d", s.n) }
func (s *scribe) Message(_ context.Context, user, text string) error {
	return s.note("message %s %q", user, text)
}
func (s *scribe) AskPresence(_ context.Context, user string) error { return s.note("ask %s", user) }
func (s *scribe) SetPresence(_ context.Context, status string) error {
	return s.note("presence %s", status)
}

// play plays a script in a notebook.
func playIn(t *testing.T, n *notebook, text string) reports.Scenario {
	t.Helper()
	s, err := Parse("x.call", text)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	stage := Stage{Name: "paper", Lacks: func(string) string { return "" },
		Open: func(context.Context, *Scenario, *trace.Log) (World, error) { return n, nil }}
	return Play(t.Context(), stage, s, 1, trace.New(nil))
}

// Every verb does what it says, to whom it says.
func TestVerbsAct(t *testing.T) {
	const head = "need rooms history files kms-control kms-faults redis-control server-control parts-control\nclients alice=electron bob.phone=electron bob.desk=electron:offline\n"
	for step, want := range map[string]string{
		"bob.desk connect":     "bob.desk connect 3",
		"alice reopen":         "alice connect 4",
		"alice call bob":       "alice call bob",
		"bob.phone accept":     "bob.phone accept",
		"bob.phone join":       `bob.phone join ""  `,
		"bob.phone join stage": `bob.phone join "stage"  `,
		"alice join stage type=broadcast role=publisher": `alice join "stage" broadcast publisher`,
		"alice leave":                   `alice leave ""`,
		"alice leave stage":             `alice leave "stage"`,
		"alice role bob subscriber":     "alice role bob subscriber",
		"alice kick bob.desk":           "alice kick bob",
		"alice record start":            "alice record start",
		"alice history missed limit=5":  "alice history missed  5",
		"alice history members room=r1": "alice history members r1 0",
		"alice history more":            "alice history   0",
		"kms kill":                      "kms kill",
		"kms restart":                   "kms restart 1s",
		"kms restart after=3s":          "kms restart 3s",
		"kms hang":                      "kms hang",
		"kms heal":                      "kms heal",
		"kms fault error on=create class=RecorderEndpoint nth=2 count=1": "kms {error create RecorderEndpoint 2 1 0s 40009 }",
		"kms fault delay on=processOffer delay=300ms":                    "kms {delay processOffer  0 0 300ms 40009 }",
		"kms fault recorder failure=no_space":                            "kms {recorder   0 0 0s 40009 no_space}",
		"redis restart after=2s":                                         "redis restart 2s",
		"redis flush":                                                    "redis flush",
		"redis slow delay=50ms":                                          "redis slow 50ms",
		"server kill":                                                    "server kill",
		"server restart after=1ms":                                       "server kill",
		"server start":                                                   "server start",
		"part redis pause":                                               "part redis pause",
		"part mysql resume":                                              "part mysql resume",
		"part kurento kill":                                              "part kurento kill",
		"part server2 start":                                             "part server2 start",
		"part coturn restart after=1ms":                                  "part coturn kill",
		"part haproxy partition":                                         "part haproxy partition true",
		"part haproxy heal":                                              "part haproxy partition false",
		"line redis cut":                                                 "line redis cut",
		"line mysql restore":                                             "line mysql restore",
		"line kurento reset":                                             "line kurento reset",
		"line kurento delay=50ms":                                        "line kurento delay 50ms",
		"line coturn loss=5":                                             "line coturn loss 5",
		"bob.phone reject":                                               "bob.phone reject",
		"bob.phone busy":                                                 "bob.phone busy",
		"alice cancel":                                                   "alice cancel",
		"alice hangup":                                                   "alice hangup",
		`alice message bob.desk "hello, you"`:                            `alice message bob "hello, you"`,
		"alice ask bob":                                                  "alice ask bob",
		"alice presence offline":                                         "alice presence offline",
		"alice refresh":                                                  "alice refresh",
		"alice background":                                               "alice background",
		"alice foreground":                                               "alice foreground",
		"alice sleep 90ms":                                               "alice sleep 90ms",
		"alice drop":                                                     "alice drop",
		`alice send "not json"`:                                          "alice send 8 not json",
		"alice send size=70000":                                          `alice send 70000 {"type":"message","d`,
		"alice send binary":                                              "alice send binary 4",
		`alice send {"type":"rtc"}`:                                      `alice send 14 {"type":"rtc"}`,
		"alice close":                                                    "alice close 1",
		"net alice cut":                                                  "net alice cut",
		"net alice restore":                                              "net alice restore",
		"net alice reset":                                                "net alice reset",
		"net alice hold":                                                 "net alice hold up=true down=true",
		"net alice hold up":                                              "net alice hold up=true down=false",
		"net alice hold down":                                            "net alice hold up=false down=true",
		"net alice udp cut":                                              "net alice udp true",
		"net alice udp restore":                                          "net alice udp false",
		"net alice loss=2.5":                                             "net alice loss 2.5",
		"net alice delay=90ms":                                           "net alice delay 90ms",
		"token alice wrong":                                              "token alice wrong",
		"token alice 30s":                                                "token alice 30s",
		"block bob alice":                                                "block bob alice true",
		"unblock bob alice":                                              "block bob alice false",
	} {
		n := &notebook{}
		if r := playIn(t, n, head+step+"\n"); r.Verdict != reports.Pass {
			t.Errorf("%s: %s", step, r.Reason)
		}
		if len(n.lines) < 3 || n.lines[2] != want {
			t.Errorf("%s: %q, want %q third", step, n.lines, want)
		}
	}
}

// A client that is declared offline is not connected, and one that was opened
// again is closed with the others.
func TestClientsComeAndGo(t *testing.T) {
	n := &notebook{}
	if r := playIn(t, n, "clients alice=electron:offline bob=electron\nbob reopen\n"); r.Verdict != reports.Pass {
		t.Fatal(r.Reason)
	}
	want := []string{"bob connect 2", "bob connect 3", "bob close 2", "alice close 1", "bob close 3"}
	if diff := cmp.Diff(want, n.lines); diff != "" {
		t.Error(diff)
	}
}

// An action with a time of its own waits for that, and not for the action
// before it.
func TestTimedActionsRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notebook{}
		r := playIn(t, n, "clients alice=electron bob=electron\nat 1s alice join slow\nat 2s bob accept\nbob drop\n")
		if r.Verdict != reports.Pass {
			t.Fatal(r.Reason)
		}
		want := []string{"alice connect 1", "bob connect 2", `alice join "slow"  `, "bob accept", "alice joined", "bob drop", "alice close 1", "bob close 2"}
		if diff := cmp.Diff(want, n.lines); diff != "" {
			t.Error(diff)
		}
	})
}

// Level 0 has no words for some capabilities: what needs them is skipped, with
// the reason.
func TestNeedsAtLevel0(t *testing.T) {
	for need, reason := range map[string]string{"resume": "resume: the server speaks level 0 only", "callid": "callid: the server speaks level 0 only", "media": ""} {
		r := playIn(t, &notebook{}, "need "+need+"\nset level=0\nclients alice=electron\nalice hangup\n")
		if r.Reason != reason || (r.Verdict == reports.Skip) != (reason != "") {
			t.Errorf("%s: %s %q", need, r.Verdict, r.Reason)
		}
	}
}

// The level that a scenario is played at is kept with its trace.
func TestLevelIsKept(t *testing.T) {
	s, err := Parse("x.call", "need resume\nclients alice=electron\nalice hangup\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.Level() != 1 || s.AtLevel(0).Level() != 0 || s.Level() != 1 {
		t.Errorf("level %d, and %d at level 0", s.Level(), s.AtLevel(0).Level())
	}
	var events []trace.Event
	log := trace.New(nil)
	log.Watch(func(e trace.Event) { events = append(events, e) })
	stage := Stage{Name: "paper", Lacks: func(string) string { return "" }, Open: func(context.Context, *Scenario, *trace.Log) (World, error) { return &notebook{}, nil }}
	first := Play(t.Context(), stage, s.AtLevel(0), 1, log)
	again := judge(t, events)
	if diff := cmp.Diff(first, again); diff != "" || again.Verdict != reports.Skip {
		t.Errorf("%s\n%s", again.Verdict, diff)
	}
	if level := int(events[0].Number("level")); level != 0 || !events[0].Has("level") {
		t.Errorf("the head says level %d", level)
	}
}

// The run is looked at once more when the script is done, for as long as
// clean-up may take; under load it is not, for the history is of others too.
func TestAudit(t *testing.T) {
	room := Finding{What: "room", Attrs: []trace.Attr{trace.String("room", "r1"), trace.String("status", "ended")}}
	r := playIn(t, &notebook{rooms: []Finding{room}}, "clients alice=electron\nalice hangup\n")
	if r.Verdict != reports.Fail || r.Failures[0].Check != "history-differs" || r.Took < 300*time.Millisecond {
		t.Errorf("%s after %v: %+v", r.Verdict, r.Took, r.Failures)
	}
	s, err := Parse("x.call", "clients alice=electron\nalice hangup\n")
	if err != nil {
		t.Fatal(err)
	}
	stage := Stage{Name: "paper", Lacks: func(string) string { return "" },
		Open: func(context.Context, *Scenario, *trace.Log) (World, error) {
			return &notebook{rooms: []Finding{room}}, nil
		}}
	if r := Play(t.Context(), stage, s.PerCall(7), 1, trace.New(nil)); r.Verdict != reports.Pass {
		t.Errorf("under load: %s: %s", r.Verdict, r.Reason)
	}
}
