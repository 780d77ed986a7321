package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseReadsAStory(t *testing.T) {
	s, err := Parse("dir/story.call", `# Two talk.
# They like it.
need    media resume
set     timeout=3s delay=50ms
clients alice=electron bob.phone=react-native viewer[2]=electron:relay
case    loss=0,2
alice   call bob            # a comment
! bob   accept code=bad_state
at 10s  net alice,bob loss=$loss
expect  alice,bob media audio or ended reason=hangup within=7s as heard
never   viewer[2] ended for=5s
expect  clean
`)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "story" || s.Doc != "Two talk. They like it." || s.Timeout() != 3*time.Second || s.Delay() != 50*time.Millisecond {
		t.Errorf("header: %q %q %v %v", s.Name, s.Doc, s.Timeout(), s.Delay())
	}
	wantClients := []Client{
		{Name: "alice", User: "alice", Device: "alice", Profile: "electron", Line: 5},
		{Name: "bob.phone", User: "bob", Device: "phone", Profile: "react-native", Line: 5},
		{Name: "viewer[1]", User: "viewer1", Device: "viewer1", Profile: "electron", Option: "relay", Line: 5},
		{Name: "viewer[2]", User: "viewer2", Device: "viewer2", Profile: "electron", Option: "relay", Line: 5}}
	if diff := cmp.Diff(wantClients, s.Clients); diff != "" {
		t.Error(diff)
	}
	for i := range s.Steps {
		s.Steps[i].Text = ""
	}
	want := []Step{
		{Line: 7, At: -1, Actors: []string{"alice"}, Clauses: []Clause{{Verb: "call", Args: []string{"bob"}}}},
		{Line: 8, At: -1, Refused: true, Actors: []string{"bob"}, Clauses: []Clause{{Verb: "accept", Fields: []Field{{"code", "=", "bad_state"}}}}},
		{Line: 9, At: 10 * time.Second, Clauses: []Clause{{Verb: "net", Args: []string{"alice,bob"}, Fields: []Field{{"loss", "=", "0"}}}}},
		{Line: 10, At: -1, Kind: Expect, Actors: []string{"alice", "bob"}, Within: 7 * time.Second, As: "heard", Clauses: []Clause{
			{Verb: "media", Args: []string{"audio"}}, {Verb: "ended", Fields: []Field{{"reason", "=", "hangup"}}}}},
		{Line: 11, At: -1, Kind: Never, For: 5 * time.Second, Actors: []string{"viewer[2]"}, Clauses: []Clause{{Verb: "ended"}}},
		{Line: 12, At: -1, Kind: Expect, Clauses: []Clause{{Verb: "clean"}}},
	}
	if diff := cmp.Diff(want, s.Steps); diff != "" {
		t.Error(diff)
	}
}

func TestExpandGivesAScenarioForEachValue(t *testing.T) {
	for _, bad := range []string{"${round}ms", "$roundms"} {
		if _, err := Parse("x.call", "clients a=electron\ncase loss=0,2 round=1..3\nnet a loss=$loss delay="+bad+"\n"); err == nil {
			t.Errorf("%s names no case and was accepted", bad)
		}
	}
	s, err := Parse("x.call", "clients a=electron\ncase loss=0,2 lag=10ms,20ms\nnet a loss=$loss delay=$lag\n")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := s.Expand()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, c.Name+" "+c.Steps[0].Clauses[0].Get("loss")+" "+c.Steps[0].Clauses[0].Get("delay"))
	}
	want := []string{"x/loss=0/lag=10ms 0 10ms", "x/loss=0/lag=20ms 0 20ms", "x/loss=2/lag=10ms 2 10ms", "x/loss=2/lag=20ms 2 20ms"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every mistake is told with file, line and, where a word is near, what was
// probably meant.
func TestCasesWhoseNamesBeginAlike(t *testing.T) {
	s, err := Parse("x.call", "clients a=electron\ncase n=1 nn=2 nnn=3\nnet a loss=$n$nnn$nn\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Steps[0].Clauses[0].Get("loss"); got != "132" {
		t.Errorf("loss=%s, want 132", got)
	}
}

func TestMistakes(t *testing.T) {
	const head = "clients alice=electron bob=electron\n"
	for _, c := range []struct{ text, want string }{
		{head + "alice cal bob", `x.call:2: no verb is called "cal" (did you mean "call"?)`},
		{head + "alcie call bob", `x.call:2: no client is called "alcie" (did you mean "alice"?)`},
		{head + "alice call", `x.call:2: call takes <user>, not ""`},
		{head + "alice accept bob", `x.call:2: accept takes no arguments, not "bob"`},
		{head + "alice", `x.call:2: what alice does is missing`},
		{head + "expect alice incomming", `did you mean "incoming"?`},
		{head + "expect alice incoming form=bob", `x.call:2: form=bob is not known here (did you mean "from"?)`},
		{head + "expect alice incoming from>bob", `from>bob: "bob" is not a text`},
		{head + "expect alice received audio>=many", `"many" is not a number`},
		{head + "expect alice media smell", `"smell" is neither audio nor video`},
		{head + "expect alice media same=room", `only same=call is known`},
		{head + "expect alice media within=soon", `x.call:2: within: "soon" is not a duration`},
		{head + "expect clena", `no client is called "clena"`},
		{head + "expect alice clean", `no expectation is called "clean"`},
		{head + "expect", "x.call:2: the step is not finished"},
		{head + "at 5s", "x.call:2: at needs a time and a step"},
		{head + "at noon alice hangup", `at: "noon" is not a duration`},
		{head + "at 5s alice hangup\nat 3s alice call bob", "x.call:3: at 3s lies before the at 5s above"},
		{head + "never alice ended", "x.call:2: never needs for=<duration>"},
		{head + "never clean for=5s", "never is about clients; clean is about the world"},
		{head + "never alice ended for=1s as x", "never fulfils nothing that as could name"},
		{head + "! expect alice ended", `"!" and "?" are for actions`},
		{head + "? net alice cut", `"!" and "?" are for what a client`},
		{head + "? alice send x", "send waits for no answer"},
		{head + "! net alice cut", `"!" and "?" are for what a client asks of the server`},
		{head + "alice hangup or accept", `"or" is for expectations`},
		{head + "expect alice ended or", `"or" stands between two expectations`},
		{head + "alice hangup as", "as needs the name of a span"},
		{head + "as a", "x.call:2: the step that as a names is missing"},
		{head + "at 5s expect as a", "x.call:2: the step that as a names is missing"},
		{head + "alice hangup as a\nbob hangup as a", "x.call:3: the span a is named on line 2 already"},
		{head + "alice hangup as a\nexpect span a..b took<=1s", "no step above is named with as b"},
		{head + "alice hangup as a\nexpect span a took<=1s", "a span is written <from>..<to>"},
		{head + "alice hangup as a\nbob hangup as b\nexpect span a..b", "span needs a limit"},
		{head + "net alice", "net needs cut, restore, reset, hold, udp cut, udp restore, loss= or delay="},
		{head + "net alice cutt", `net cannot "cutt" (did you mean "cut"?)`},
		{head + "net carol cut", `no client is called "carol"`},
		{head + `alice send "x`, "a quote is not closed"},
		{head + `alice send {"a":1`, "a brace is not closed"},
		{head + "alice hangup\nneed media", `x.call:3: "need" belongs above the first step`},
		{head + "need medai\nalice hangup", `x.call:2: no world has "medai" (did you mean "media"?)`},
		{head + "set timeot=5s\nalice hangup", `x.call:2: timeot=5s is not known here (did you mean "timeout"?)`},
		{head + "set timeout=5\nalice hangup", `"5" is not a duration`},
		{head + "set timeout=5s timeout=6s\nalice hangup", "timeout is set twice"},
		{head + "case loss=\nalice hangup", "case loss has an empty value"},
		{head + "case a=1..200 b=1..200\nnet alice loss=$a", "x.call:2: the cases make more than 10000 runs"},
		{head + "case n=5..1\nalice hangup", "5..1 is not a range"},
		{head + "net alice loss=$los", "$los is not defined by a case"},
		{"clients alice=electrn\nalice hangup", `x.call:1: no profile is called "electrn", only electron, react-native, chromium (did you mean "electron"?)`},
		{head + "alice call bbo", `x.call:2: no client is called "bbo" (did you mean "bob"?)`},
		{head + "! alice call bob code=bussy", `(did you mean "busy"?)`},
		{head + "expect bob ended reason=declned", `(did you mean "declined"?)`},
		{head + "expect history status=finished", `"finished" is none of active, ended`},
		{head + "net bob loss=200", "loss is 0 to 100 percent"},
		{head + "! alice send x", "send waits for no answer"},
		{"clients alice=chromium:level0\nalice hangup", `alice: a browser's page can show its token in hello only, which level 0 has not`},
		{"clients alice=electron:mdns\nalice hangup", `alice: only chromium hides its addresses so`},
		{"clients alice=chromium\nalice sleep 5s", `alice is a chromium, whose machine cannot sleep`},
		{"clients alice=chromium\nalice mute sound", `mute: "sound" is none of audio, video`},
		{"clients alice=electron:fast\nalice hangup", `no option is called "fast", only level0, mdns, offline, relay`},
		{"clients alice=electron:level0+ofline\nalice hangup", `(did you mean "offline"?)`},
		{head + "net alice udp", `net cannot "udp"`},
		{head + "net alice hold sideways", `net cannot "hold sideways"`},
		{head + "token alice wrnog", `(did you mean "wrong"?)`},
		{head + "token alice -3s", "a token is good, wrong, expired"},
		{head + "token carol good", `no client is called "carol"`},
		{head + "block bob carol", `no client is called "carol"`},
		{head + "alice presence away", `presence: "away" is none of online, offline`},
		{head + "alice sleep long", `sleep: "long" is not a duration`},
		{head + "alice message bbo hi", `no client is called "bbo" (did you mean "bob"?)`},
		{head + `never bob message "a" "b" for=1s`, "never message takes one text; more are an order"},
		{head + "alice message bob", `message takes <user> "text", not "bob"`},
		{head + "alice send", "send takes a frame, a text, binary or size=<bytes>"},
		{head + "alice send x size=3", "send takes a frame, a text, binary or size=<bytes>"},
		{head + "expect server ended", "server has events only"},
		{head + `expect redis "rtc:*" value=x`, "add field="},
		{head + "set level=2\nalice hangup", `"2" is none of 0, 1`},
		{"clients alice=electron:relay\nalice hangup", `alice=…:relay takes a world with a TURN server; add: need turn`},
		{"need turn\n" + head + "turn rotate", `turn rotate takes a world with a TURN server; add: need rotation`},
		{"need rotation\n" + head + "turn rotten", `turn cannot "rotten" (did you mean "rotate"?)`},
		{"need turn\n" + head + "expect turn allocations=2", `add: need allocations`},
		{"need turn\n" + head + "expect alice pair local=relais", `"relais" is none of host, srflx, prflx, relay (did you mean "relay"?)`},
		{head + "alice join stage type=mcu", "join stage is not possible in every world; add: need rooms"},
		{"need rooms\n" + head + "alice join stage type=mesh", `"mesh" is none of mcu, broadcast`},
		{"need rooms\n" + head + "alice join stage role=speaker", `"speaker" is none of publisher, subscriber`},
		{"need rooms\n" + head + "alice join role=publisher", "takes the name of a room"},
		{head + "alice leave a b", `leave takes [room], not "a b"`},
		{"need rooms\n" + head + "alice role bob speaker", `role: "speaker" is none of publisher, subscriber`},
		{"need rooms\n" + head + "alice role carol publisher", `no client is called "carol"`},
		{head + "alice role bob publisher", "add: need rooms"},
		{head + "alice kick bob", "add: need rooms"},
		{"need rooms\n" + head + "alice kick carol", `no client is called "carol"`},
		{head + "alice record start", "add: need files"},
		{"need files\n" + head + "alice record pause", `record: "pause" is none of start, stop`},
		{head + "alice history missed", "add: need history"},
		{"need history\n" + head + "alice history mised", `(did you mean "missed"?)`},
		{"need history\n" + head + "alice history calls limit=few", `"few" is not a number`},
		{head + "kms kill", "kms kill is not possible in every world; add: need kms-control"},
		{"need kms-control\n" + head + "kms klil", `kms cannot "klil" (did you mean "kill"?)`},
		{"need kms-control\n" + head + "kms fault", `kms cannot "fault"`},
		{"need kms-faults\n" + head + "kms fault error", "kms fault error needs on="},
		{"need kms-control\n" + head + "kms kill after=3s", "kms kill takes no after"},
		{"need kms-faults\n" + head + "kms fault recorder failure=fire", `"fire" is none of no_space, open, write`},
		{"need kms-control\n" + head + "kms fault error on=create", "add: need kms-faults"},
		{"need kms-faults\n" + head + "kms kill", "add: need kms-control"},
		{head + "kms heal", "add: need kms-control"},
		{head + "part redis pause", "add: need parts-control"},
		{"need parts-control\n" + head + "part reddis pause", `no part is called "reddis"`},
		{"need parts-control\n" + head + "part serverx pause", `no part is called "serverx"`},
		{"need parts-control\n" + head + "part redis pawse", `part cannot "pawse" (did you mean "pause"?)`},
		{"need parts-control\n" + head + "part redis kill after=3s", "after= is of part restart"},
		{head + "line redis cut", "add: need parts-control"},
		{"need parts-control\n" + head + "line haproxy cut", `"haproxy" is none of coturn, kurento, redis, mysql`},
		{"need parts-control\n" + head + "line redis cot", `line cannot "cot" (did you mean "cut"?)`},
		{"need parts-control\n" + head + "line redis", "line needs cut, restore, reset, delay= or loss="},
		{"need parts-control\n" + head + "line redis loss=5", "loss= is of line coturn: streams lose nothing"},
		{"need parts-control\n" + head + "line coturn loss=101", "loss=101: loss is 0 to 100 percent"},
		{"need parts-control\n" + head + "line coturn reset", "line coturn has no connection to reset"},
		{head + "redis flush", "add: need redis-control"},
		{"need redis-control\n" + head + "redis slow", "delay= is of redis slow"},
		{"need redis-control\n" + head + "redis flush delay=1s", "delay= is of redis slow"},
		{"need redis-control\n" + head + "redis flash", `(did you mean "flush"?)`},
		{head + "server kill", "add: need server-control"},
		{"need server-control\n" + head + "server stop", `server: "stop" is none of kill, start, restart`},
		{"need server-control\n" + head + "server kill after=1s", "after= is of server restart"},
		{head + "expect alice joined reason=left", "reason=left is not known here"},
		{head + "expect alice recording state=lost", `"lost" is none of requested`},
		{head + "expect recording file=good", `"good" is none of plays, broken, absent`},
		{head + "expect alice history misssed", `history: "misssed" is none of calls, missed, members, recordings`},
		{"clients recording=electron\nrecording hangup", `"recording" cannot name a client`},
		{"set room_limit=few\n" + head + "alice hangup", `"few" is not a number`},
		{"set turn_ttl=soon\n" + head + "alice hangup", `"soon" is not a duration`},
		{"clients net=electron\nnet hangup", `"net" cannot name a client`},
		{"clients a=electron a=electron\na hangup", "client a is there twice"},
		{"clients alice\nx y", `"alice" is not of the form name=profile`},
		{"clients v[3..5]=electron\nv hangup", "x.call:1: a group is written name[n], n from 1 to 10000, not v[3..5]"},
		{"clients v[0]=electron a=electron\na hangup", "not v[0]"},
		{"clients v[3000000]=electron\nv hangup", "not v[3000000]"},
		{head + "set delay=-1s\nalice hangup", `x.call:2: delay=-1s: "-1s" is not a duration`},
		{head + "expect history count=1 or clean", `x.call:2: "or" is for what clients see; history is about the world`},
		{"alice hangup", "no client is called"},
		{head, "no steps"},
		{"# nothing\n", "no clients"},
		{head + "mix call=1\nalice hangup", "mix and require describe a load"},
	} {
		s, err := Parse("x.call", c.text)
		if err == nil {
			err = s.Check()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := Parse("x.call", "clients a=electron\nb hangup\na\nat 5s\n")
	if n := strings.Count(err.Error(), "x.call:"); n != 3 {
		t.Errorf("%d problems: %v", n, err)
	}
}

// The hard scenarios were written before the parser, to find out whether the
// language can say them.
func TestPaperScenariosParse(t *testing.T) {
	files, _ := filepath.Glob("testdata/paper/*.call")
	if len(files) < 15 {
		t.Fatalf("%d paper scenarios", len(files))
	}
	for _, f := range files {
		s, err := ParseFile(f)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Doc == "" || len(s.Steps)+len(s.Mix) == 0 {
			t.Errorf("%s has lost its story or its steps", f)
		}
	}
}

func TestSuiteIsInOrder(t *testing.T) {
	all, err := Suite()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if s.Doc == "" {
			t.Errorf("%s tells no story", s.Name)
		}
	}
	if len(all) < 2 {
		t.Errorf("%d scenarios", len(all))
	}
}

func TestLoadFindsFilesAndTheSuite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.call")
	if err := os.WriteFile(file, []byte("clients a=electron\na hangup\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, "call", "call.call", "reconnect"} {
		if _, err := Load(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load("recconect"); err == nil || !strings.Contains(err.Error(), `did you mean "reconnect"?`) {
		t.Errorf("no suggestion: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("*/*.call")
	more, _ := filepath.Glob("testdata/paper/*.call")
	for _, file := range append(files, more...) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("fuzz.call", text)
		if err != nil {
			return
		}
		if s.Check() != nil || len(s.Cases) > 3 {
			return
		}
		if _, err := s.Expand(); err != nil && len(s.Cases) == 0 {
			t.Fatal(err)
		}
	})
}
