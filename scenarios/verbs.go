package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/signaling"
)

// ValueKind says what a field's value must look like.
type ValueKind string

// The kinds of values.
const (
	Text     ValueKind = "text"
	Number   ValueKind = "number"
	Duration ValueKind = "duration"
)

// FieldSpec describes a field that a verb takes.
type FieldSpec struct {
	Name   string
	Kind   ValueKind
	Help   string
	Values []string // the only ones that there are; nil if any will do
}

// Verb describes an action. The table of verbs is also the reference in
// docs/scenarios.md and `callbench help scenario`.
type Verb struct {
	Name     string
	Usage    string // arguments as shown to people
	Help     string
	Min, Max int // number of arguments
	Fields   []FieldSpec
	World    bool // acts on the world, not on a client

	aimed  bool // its first argument is a user
	again  bool // it is done by a new client
	client func(context.Context, Caller, Clause) error
	world  func(World, *Scenario, Clause) error
	target func(*Scenario, Step, Clause) error // checks what the table cannot
	takes  func(Clause) string                 // the capability that it takes, if its script need not say so; nil if none
}

// refusal is the field that every action takes after "!".
var refusal = FieldSpec{Name: "code", Kind: Text, Help: `after "!" and "?": the error code that the server must refuse with`, Values: codes()}

// codes are the protocol's error codes.
func codes() []string {
	var list []string
	for _, e := range signaling.Errors {
		list = append(list, string(e.Code))
	}
	return list
}

// reasons are the reasons that an action may give.
func reasons(of signaling.Action) []string {
	var list []string
	for _, r := range signaling.Reasons {
		if r.Of == of {
			list = append(list, string(r.Reason))
		}
	}
	return list
}

// Verbs is the table of actions.
var Verbs = slices.Concat(callVerbs, roomVerbs, clientVerbs, faultVerbs, partVerbs, worldVerbs)

// callVerbs are the actions of calls.
var callVerbs = []Verb{
	{Name: "connect", Help: "connects a client that was declared offline or that is not connected any more", client: func(ctx context.Context, c Caller, _ Clause) error { return c.Connect(ctx) }},
	{Name: "reopen", Help: "opens the app once more on the same device: a new client, while the last one lives on if it was not closed", again: true,
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Connect(ctx) }},
	{Name: "call", Usage: "<user>", Help: "starts a call; a group calls a group one to one", Min: 1, Max: 1, aimed: true,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Call(ctx, cl.Args[0]) }},
	{Name: "accept", Help: "answers the incoming call",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Accept(ctx) }},
	{Name: "reject", Help: "declines the incoming call",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Reject(ctx) }},
	{Name: "busy", Help: "declines the incoming call because the device is in another one, of which the server does not know",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Busy(ctx) }},
	{Name: "cancel", Help: "takes a call back that is not answered",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Cancel(ctx) }},
	{Name: "hangup", Help: "leaves the call; before the answer this cancels (caller) or declines (callee)",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Hangup(ctx) }},
	{Name: "mute", Usage: "audio|video", Help: "sends nothing of one kind of media any more", Min: 1, Max: 1, target: oneOf(0, "audio", "video"),
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Mute(ctx, cl.Args[0], true) }},
	{Name: "unmute", Usage: "audio|video", Help: "ends mute", Min: 1, Max: 1, target: oneOf(0, "audio", "video"),
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Mute(ctx, cl.Args[0], false) }},
}

// clientVerbs are the other actions of clients.
var clientVerbs = []Verb{
	{Name: "message", Usage: `<user> "text"`, Help: "sends an IM message and waits until the server has it", Min: 2, Max: 2, aimed: true,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Message(ctx, cl.Args[0], cl.Args[1]) }},
	{Name: "ask", Usage: "<user>", Help: "asks for a user's presence", Min: 1, Max: 1, aimed: true,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.AskPresence(ctx, cl.Args[0]) }},
	{Name: "presence", Usage: "online|offline", Help: "shows the user as online or offline, whatever it is", Min: 1, Max: 1, target: oneOf(0, "online", "offline"),
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.SetPresence(ctx, cl.Args[0]) }},
	{Name: "refresh", Help: "sends a newer token",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.RefreshToken(ctx) }},
	historyVerb,
	{Name: "background", Help: "the app goes to the background, and does there what its profile says",
		client: func(_ context.Context, c Caller, _ Clause) error { c.Background(); return nil }},
	{Name: "foreground", Help: "the app comes back from the background",
		client: func(_ context.Context, c Caller, _ Clause) error { c.Foreground(); return nil }},
	{Name: "sleep", Usage: "<duration>", Help: "the device sleeps for so long: nothing of the app runs, and nothing answers", Min: 1, Max: 1, target: checkSleep,
		client: func(_ context.Context, c Caller, cl Clause) error {
			d, err := parseDuration(cl.Args[0])
			c.Sleep(d)
			return err
		}},
	{Name: "drop", Help: "breaks the client's WebSocket without a close frame; the client reconnects as a real one would",
		client: func(_ context.Context, c Caller, _ Clause) error { c.Drop(); return nil }},
	{Name: "send", Usage: `<frame>|"text"|binary`, Help: "sends a frame as written, however wrong it is, and waits for no answer: text, a binary frame, or with size= one of so many bytes",
		Max: 1, Fields: []FieldSpec{{Name: "size", Kind: Number, Help: "bytes of a message that is well-formed but for its length"}}, target: checkSend, client: send},
	{Name: "close", Help: "closes the client for good",
		client: func(_ context.Context, c Caller, _ Clause) error { return c.Close() }},
	{Name: "crash", Help: "ends the client without a word, as a tab does that is closed, or an app that the system kills",
		client: func(_ context.Context, c Caller, _ Clause) error { c.Crash(); return nil }},
}

// worldVerbs are the actions on what clients stand on.
var worldVerbs = []Verb{
	{Name: "net", Usage: "<clients> [udp] [cut|restore|reset|hold] [up|down|both]", World: true, Min: 1, Max: 3,
		Help: "acts on clients' networks: cut drops every packet and stalls every stream, udp cut drops datagrams only, hold stalls streams until reset has lost what is in flight " +
			"(hold up: to the server, hold down: to the client), restore ends all that, udp restore ends udp cut, reset breaks the streams",
		Fields: []FieldSpec{{Name: "loss", Kind: Number, Help: "share of datagrams lost each way from now on, 0 to 100 percent"}, {Name: "delay", Kind: Duration, Help: "one-way delay from now on"}},
		world:  actOnNet, target: checkNet},
	{Name: "token", Usage: "<clients> good|wrong|expired|missing|revoked|<duration>", World: true, Min: 2, Max: 2,
		Help:  "what the clients show when they say who they are, from now on: a token that is good for an hour or for so long, one that somebody else signed, one that has run out, or none; revoked takes back the one that they showed last, which they go on showing",
		world: actOnToken, target: checkToken, takes: takesToken},
	{Name: "block", Usage: "<user> <user>", World: true, Min: 2, Max: 2, Help: "the first user blocks the second", target: checkUsers, takes: takesBlocks,
		world: func(w World, s *Scenario, c Clause) error {
			return w.Block(s.user(c.Args[0]), s.user(c.Args[1]), true)
		}},
	{Name: "unblock", Usage: "<user> <user>", World: true, Min: 2, Max: 2, Help: "the first user ends blocking the second", target: checkUsers, takes: takesBlocks,
		world: func(w World, s *Scenario, c Clause) error {
			return w.Block(s.user(c.Args[0]), s.user(c.Args[1]), false)
		}},
	turnVerb,
}

// arg is the n-th argument, "" if it is not there.
func arg(c Clause, n int) string {
	if n < len(c.Args) {
		return c.Args[n]
	}
	return ""
}

// send puts on the WebSocket what the clause describes.
func send(_ context.Context, c Caller, cl Clause) error {
	if size := cl.Get("size"); size != "" {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		return c.Send(frameOf(n))
	}
	if cl.Args[0] != "binary" {
		return c.Send([]byte(cl.Args[0]))
	}
	return c.SendBinary([]byte{0, 1, 2, 3})
}

// frameOf is an IM message to nobody, padded to n bytes if it is shorter.
func frameOf(n int) []byte {
	const head, tail = `{"type":"message","data":{"to":"nobody","content":"`, `"}}`
	return []byte(head + strings.Repeat("x", max(0, n-len(head)-len(tail))) + tail)
}

func actOnNet(w World, s *Scenario, c Clause) error {
	clients, err := s.ResolveAll(strings.Split(c.Args[0], ","))
	if err != nil {
		return err
	}
	for _, cl := range clients {
		n, err := w.Network(cl)
		if err != nil {
			return err
		}
		if do := netActions[strings.Join(c.Args[1:], " ")]; do != nil {
			do(n)
		}
		if err := shape(n, c); err != nil {
			return err
		}
	}
	return nil
}

// netActions are what net does, by its words behind the clients.
var netActions = map[string]func(Network){
	"cut":         Network.Cut,
	"restore":     Network.Restore,
	"reset":       Network.Reset,
	"hold":        func(n Network) { n.Hold(true, true) },
	"hold both":   func(n Network) { n.Hold(true, true) },
	"hold up":     func(n Network) { n.Hold(true, false) },
	"hold down":   func(n Network) { n.Hold(false, true) },
	"udp cut":     func(n Network) { n.CutUDP(true) },
	"udp restore": func(n Network) { n.CutUDP(false) },
}

// shape sets what has a number.
func shape(n Network, c Clause) error {
	if v := c.Get("loss"); v != "" {
		percent, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("loss: %w", err)
		}
		n.SetLoss(percent)
	}
	if v := c.Get("delay"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		n.SetDelay(d)
	}
	return nil
}

// The kinds of tokens that a client can show; a duration makes one that is good
// for so long.
const (
	TokenGood    = "good"
	TokenWrong   = "wrong"
	TokenExpired = "expired"
	TokenMissing = "missing"
	TokenRevoked = "revoked"
)

func actOnToken(w World, s *Scenario, c Clause) error {
	clients, err := s.ResolveAll(strings.Split(c.Args[0], ","))
	if err != nil {
		return err
	}
	for _, cl := range clients {
		if err := w.Token(cl, c.Args[1]); err != nil {
			return err
		}
	}
	return nil
}

// checkAim lets only what must be refused go to a user who is nobody.
func checkAim(s *Scenario, st Step, c Clause) error {
	_, err := s.Resolve(c.Args[0])
	if st.Refused || st.Perhaps {
		return nil
	}
	return err
}

// oneOf is a check that an argument is one of a few words.
func oneOf(n int, words ...string) func(*Scenario, Step, Clause) error {
	return func(_ *Scenario, _ Step, c Clause) error {
		if !contains(words, c.Args[n]) {
			return fmt.Errorf("%s: %q is none of %s%s", c.Verb, c.Args[n], strings.Join(words, ", "), suggest(c.Args[n], words))
		}
		return nil
	}
}

func checkSleep(s *Scenario, st Step, c Clause) error {
	if d, err := parseDuration(c.Args[0]); err != nil || d <= 0 {
		return fmt.Errorf("sleep: %q is not a duration such as 30s", c.Args[0])
	}
	return s.checkAwake(st.Actors)
}

func checkSend(_ *Scenario, st Step, c Clause) error {
	switch {
	case st.Refused || st.Perhaps:
		return fmt.Errorf(`send waits for no answer, so it cannot be refused; write: expect <client> error code=…`)
	case (len(c.Args) == 0) == (c.Get("size") == ""):
		return fmt.Errorf("send takes a frame, a text, binary or size=<bytes>")
	}
	return nil
}

// checkLoss refuses a share that is none.
func checkLoss(c Clause) error {
	v := c.Get("loss")
	if percent, err := number(v); v != "" && err == nil && (percent < 0 || percent > 100) {
		return fmt.Errorf("loss=%s: loss is 0 to 100 percent", v)
	}
	return nil
}

func checkNet(s *Scenario, _ Step, c Clause) error {
	if err := checkLoss(c); err != nil {
		return err
	}
	if _, err := s.ResolveAll(strings.Split(c.Args[0], ",")); err != nil {
		return err
	}
	what := strings.Join(c.Args[1:], " ")
	switch {
	case what == "" && len(c.Fields) == 0:
		return fmt.Errorf("net needs cut, restore, reset, hold, udp cut, udp restore, loss= or delay=")
	case what != "" && netActions[what] == nil:
		return fmt.Errorf("net cannot %q%s", what, suggest(what, sortedKeys(netActions)))
	}
	return nil
}

func checkToken(s *Scenario, _ Step, c Clause) error {
	if _, err := s.ResolveAll(strings.Split(c.Args[0], ",")); err != nil {
		return err
	}
	kinds := []string{TokenGood, TokenWrong, TokenExpired, TokenMissing, TokenRevoked}
	if d, err := parseDuration(c.Args[1]); !contains(kinds, c.Args[1]) && (err != nil || d <= 0) {
		return fmt.Errorf("a token is good, wrong, expired, missing, revoked or good for a duration such as 30s, not %q%s", c.Args[1], suggest(c.Args[1], kinds))
	}
	return nil
}

// checkUsers wants users of the script.
func checkUsers(s *Scenario, _ Step, c Clause) error {
	for _, a := range c.Args {
		if _, err := s.Resolve(a); err != nil {
			return err
		}
	}
	return nil
}

func findVerb(name string, world bool) *Verb {
	for i := range Verbs {
		if Verbs[i].Name == name && Verbs[i].World == world {
			return &Verbs[i]
		}
	}
	return nil
}

func verbNames(world bool) []string {
	var names []string
	for _, v := range Verbs {
		if v.World == world {
			names = append(names, v.Name)
		}
	}
	return names
}
