package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func parseDuration(s string) (time.Duration, error) { return time.ParseDuration(s) }

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// settings are the names that set takes.
var settings = []FieldSpec{
	{Name: "timeout", Kind: Duration, Help: "how long an expectation may take that has no within=; 5s if not set. clean has its own: 15s"},
	{Name: "delay", Kind: Duration, Help: "one-way delay of each client's network in the virtual world; 20ms if not set"},
	{Name: "level", Kind: Number, Help: "the highest protocol level that the server speaks; 1 if not set. callbench run -level 0 sets it for all", Values: []string{"0", "1"}},
	{Name: "resume_window", Kind: Duration, Help: "how long the session of a connection that was lost can be resumed; 60s if not set"},
	{Name: "room_limit", Kind: Number, Help: "how many members a room of several may have; as many as the server lets in by default if not set"},
	{Name: "turn_ttl", Kind: Duration, Help: "how long TURN credentials are good, in whole seconds; 5m if not set"},
	{Name: "video", Kind: Text, Help: "bit rate of the video that clients send: 200k (320x240, VP8 or H264), which it is if not set, or 500k (640x360, VP8)", Values: []string{"200k", "500k"}},
}

// Capabilities are the words that need takes; a world says which it has.
var Capabilities = map[string]string{
	"ack":             "the server answers each request, so that a refusal can be told from silence (protocol level 1)",
	"callid":          "the server names calls, says when the callee rings and why a call ended (protocol level 1)",
	needHistory:       "clients can ask the server for what is over (protocol level 1)",
	needKMSControl:    "the media server can be killed, started again and made to answer nothing",
	needKMSFaults:     "the media server can be made to fail in single requests and events, as kmsmock can",
	needPartsControl:  "the system's parts run by themselves, and can be stopped and cut off: the containers world",
	needRedisControl:  "Redis can be made to fail",
	needServerControl: "the signaling server can be killed and started again",
	"push":            "devices that are not connected are woken for a call: push has the event push.invite then, and the script connects them",
	needRooms:         "the server has rooms of several members, and tells who is in them (protocol level 1)",
	"im":              "the server stores and delivers messages",
	needFiles:         "the files of recordings can be looked at",
	"mixed":           "whose media comes out of a mixed room can be told: kmsmock forwards that of who spoke last, with its markers",
	"kmsevents":       "the media server shows in the trace what it is asked for, as kmsmock does",
	"media":           "RTP really flows",
	"presence":        "the server tells who is online",
	"resume":          "the server speaks resume (protocol level 1)",
	needTokens:        "tokens can be signed that are wrong, have run out or soon will; token takes it, and its script need not say so",
	needRevocation:    "tokens can be taken back; token revoked takes it, and its script need not say so",
	needBlocks:        "users can be made to block each other; block and unblock take it, and their script need not say so",
	"virtualtime":     "minutes pass in no time: the virtual world only",
	needChromium:      "a real Chromium can be started; whoever declares a client of that profile needs it",
	needTURN:          "relayed candidates through a TURN server",
	needAllocations:   "a TURN server whose allocations can be listed",
	needRotation:      "a TURN server whose secrets can be changed, and clients that can ask for other credentials (protocol level 1)",
}

// ofLevel1 are the capabilities that level 0 of the protocol has no words for.
// It has none for other TURN credentials than those that a client begins with, and
// no place for a token that a browser's page can fill.
var ofLevel1 = []string{"ack", "callid", "resume", needRotation, needHistory, needRooms, needChromium}

// profiles are the client profiles that can be played.
var profiles = []string{"electron", "react-native", Chromium}

// options are what a client can be declared with, behind its profile.
var options = map[string]string{
	"level0":    "the client speaks level 0 of the protocol, whatever the server speaks",
	optionAsks:  "chromium: the user has not allowed camera and microphone, so that the browser hides its addresses behind names of multicast DNS",
	"offline":   "the client is not connected until the script says connect",
	optionRelay: "the client uses relayed candidates only (RTCIceTransportPolicy relay)",
}

// Check finds what the parser cannot: words that no table has, wrong numbers of
// arguments, values of the wrong kind. The error joins one *Problem for each.
func (s *Scenario) Check() error {
	c := &checker{s: s, spans: map[string]int{}}
	c.header()
	for _, st := range s.Steps {
		c.line = st.Line
		c.step(st)
	}
	return errors.Join(c.problems...)
}

type checker struct {
	s        *Scenario
	line     int
	spans    map[string]int // name of a span to its line
	lastAt   time.Duration
	problems []error
}

func (c *checker) fail(format string, args ...any) {
	c.problems = append(c.problems, &Problem{c.s.File, c.line, fmt.Sprintf(format, args...)})
}

func (c *checker) header() {
	c.line = c.s.headerLines["need"]
	var known []string
	for k := range Capabilities {
		known = append(known, k)
	}
	slices.Sort(known)
	for _, n := range c.s.Needs {
		if Capabilities[n] == "" {
			c.fail("no world has %q%s", n, suggest(n, known))
		}
	}
	c.line = c.s.headerLines["set"]
	for k, v := range c.s.Settings {
		c.field(settings, Field{k, "=", v})
	}
	for _, cl := range c.s.Clients {
		c.line = cl.Line
		if !contains(profiles, cl.Profile) {
			c.fail("no profile is called %q, only %s%s", cl.Profile, strings.Join(profiles, ", "), suggest(cl.Profile, profiles))
		}
		c.options(cl)
		if err := c.s.checkChromium(cl); err != nil {
			c.fail("%v", err)
		}
		if cl.Has(optionRelay) && !c.s.TURN() {
			c.fail("%v", c.s.says(needTURN, cl.Name+"=…:relay"))
		}
	}
	c.line = 1
	switch {
	case len(c.s.Mix) > 0 || len(c.s.Require) > 0:
		c.line = max(c.s.headerLines["mix"], c.s.headerLines["require"])
		c.fail("mix and require describe a load, not a scenario that can be run")
	case len(c.s.Clients) == 0:
		c.fail("no clients")
	case len(c.s.Steps) == 0:
		c.fail("no steps")
	}
}

func (c *checker) options(cl Client) {
	if cl.Option == "" {
		return
	}
	for _, o := range strings.Split(cl.Option, "+") {
		if known := sortedKeys(options); !contains(known, o) {
			c.fail("no option is called %q, only %s%s", o, strings.Join(known, ", "), suggest(o, known))
		}
	}
}

func (c *checker) step(st Step) {
	if st.At >= 0 {
		if st.At < c.lastAt {
			c.fail("at %v lies before the at %v above", st.At, c.lastAt)
		}
		c.lastAt = max(c.lastAt, st.At)
	}
	for _, cl := range st.Clauses {
		if st.Kind == Action {
			c.action(st, cl)
		} else {
			c.expectation(st, cl)
		}
	}
	if st.Kind == Never && st.For == 0 {
		c.fail("never needs for=<duration>")
	}
	if st.As == "" {
		return
	}
	if first, twice := c.spans[st.As]; twice {
		c.fail("the span %s is named on line %d already", st.As, first)
	}
	if st.Kind == Never {
		c.fail("never fulfils nothing that as could name")
	}
	c.spans[st.As] = st.Line
}

func (c *checker) action(st Step, cl Clause) {
	world := len(st.Actors) == 0
	v := findVerb(cl.Verb, world)
	if v == nil {
		c.fail("no verb is called %q%s", cl.Verb, suggest(cl.Verb, verbNames(world)))
		return
	}
	c.args(v.Name, v.Usage, v.Min, v.Max, cl)
	fields := v.Fields
	if st.Refused || st.Perhaps {
		fields = append(slices.Clone(fields), refusal)
	}
	for _, f := range cl.Fields {
		c.field(fields, f)
	}
	if v.aimed && len(cl.Args) >= v.Min {
		if err := checkAim(c.s, st, cl); err != nil {
			c.fail("%v", err)
		}
	}
	if v.target != nil && len(cl.Args) >= v.Min && len(cl.Args) <= v.Max {
		if err := v.target(c.s, st, cl); err != nil {
			c.fail("%v", err)
		}
	}
	if (st.Refused || st.Perhaps) && world {
		c.fail(`"!" and "?" are for what a client asks of the server`)
	}
}

func (c *checker) expectation(st Step, cl Clause) {
	world := len(st.Actors) == 0
	x := findExpectation(cl.Verb, world)
	if x == nil {
		c.fail("no expectation is called %q%s", cl.Verb, suggest(cl.Verb, expectationNames(world)))
		return
	}
	if world && len(st.Clauses) > 1 {
		c.fail(`"or" is for what clients see; %s is about the world`, x.Name)
	}
	if st.Kind == Never && world {
		c.fail("never is about clients; %s is about the world", x.Name)
	}
	c.args(x.Name, x.Usage, x.Min, x.Max, cl)
	for _, f := range cl.Fields {
		if x.Name == "event" {
			continue // its fields are the attributes of whatever event it is
		}
		c.field(x.Fields, f)
	}
	c.meaning(x.Name, st, cl)
	for _, a := range st.Actors {
		if systemParts[a] && x.Name != "event" {
			c.fail("%s has events only: expect %s event <kind>", a, a)
		}
	}
}

// meaning checks what only some expectations ask for.
func (c *checker) meaning(name string, st Step, cl Clause) {
	switch name {
	case "media", "silent":
		for _, k := range mediaKinds(cl) {
			if k != "audio" && k != "video" {
				c.fail("%q is neither audio nor video", k)
			}
		}
	case "message":
		if st.Kind == Never && len(cl.Args) > 1 {
			c.fail("never message takes one text; more are an order")
		}
	case "history":
		if err := checkPage(cl, len(st.Actors) == 0); err != nil {
			c.fail("%v", err)
		}
	case "turn":
		if err := c.s.says(needAllocations, "expect turn"); err != nil {
			c.fail("%v", err)
		}
	case "span":
		c.spanEnds(cl)
	case "redis":
		if cl.Get("value") != "" && cl.Get("field") == "" {
			c.fail("value= says what a field holds; add field=")
		}
	}
}

func (c *checker) spanEnds(cl Clause) {
	if len(cl.Args) == 0 {
		return
	}
	from, to, ok := strings.Cut(cl.Args[0], "..")
	if !ok {
		c.fail("a span is written <from>..<to>, not %q", cl.Args[0])
		return
	}
	var known []string
	for n := range c.spans {
		known = append(known, n)
	}
	slices.Sort(known)
	for _, n := range []string{from, to} {
		if c.spans[n] == 0 {
			c.fail("no step above is named with as %s%s", n, suggest(n, known))
		}
	}
	if len(cl.Fields) == 0 {
		c.fail("span needs a limit such as took<=2s")
	}
}

func (c *checker) args(name, usage string, least, most int, cl Clause) {
	if n := len(cl.Args); n < least || n > most {
		if usage == "" {
			usage = "no arguments"
		}
		c.fail("%s takes %s, not %q", name, usage, strings.Join(cl.Args, " "))
	}
}

func (c *checker) field(specs []FieldSpec, f Field) {
	var names []string
	for _, s := range specs {
		if s.Name == f.Key {
			c.value(s, f)
			return
		}
		names = append(names, s.Name)
	}
	c.fail("%s is not known here%s", f, suggest(f.Key, names))
}

func (c *checker) value(s FieldSpec, f Field) {
	var err error
	switch s.Kind {
	case Duration:
		var d time.Duration
		if d, err = parseDuration(f.Value); d < 0 {
			err = fmt.Errorf("negative")
		}
	case Number:
		_, err = number(f.Value)
	default:
		if f.Op != "=" {
			err = fmt.Errorf("text")
		}
	}
	if err != nil {
		c.fail("%s: %q is not a %s", f, f.Value, s.Kind)
	}
	if len(s.Values) > 0 && !contains(s.Values, f.Value) {
		c.fail("%s: %q is none of %s%s", f, f.Value, strings.Join(s.Values, ", "), suggest(f.Value, s.Values))
	}
	if s.Name == "same" && f.Value != "call" {
		c.fail("same=%s: only same=call is known", f.Value)
	}
}
