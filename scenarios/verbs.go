package scenarios

import (
	"context"
	"fmt"
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

	client func(context.Context, Caller, Clause) error
	world  func(World, *Scenario, Clause) error
	target func(*Scenario, Step, Clause) error // checks what the table cannot
}

// refusal is the field that every action takes after "!".
var refusal = FieldSpec{Name: "code", Kind: Text, Help: `after "!": the error code that the server must refuse with`, Values: codes()}

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
var Verbs = []Verb{
	{Name: "call", Usage: "<user>", Help: "starts a call; a group calls a group one to one", Min: 1, Max: 1, target: checkCall,
		client: func(ctx context.Context, c Caller, cl Clause) error { return c.Call(ctx, cl.Args[0]) }},
	{Name: "accept", Help: "answers the incoming call",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Accept(ctx) }},
	{Name: "hangup", Help: "leaves the call; before the answer this cancels (caller) or declines (callee)",
		client: func(ctx context.Context, c Caller, _ Clause) error { return c.Hangup(ctx) }},
	{Name: "drop", Help: "breaks the client's WebSocket without a close frame; the client reconnects as a real one would",
		client: func(_ context.Context, c Caller, _ Clause) error { c.Drop(); return nil }},
	{Name: "send", Usage: "<frame>", Help: "sends a frame as written, however wrong it is, and waits for no answer", Min: 1, Max: 1, target: checkSend,
		client: func(_ context.Context, c Caller, cl Clause) error { return c.Send([]byte(cl.Args[0])) }},
	{Name: "close", Help: "closes the client for good",
		client: func(_ context.Context, c Caller, _ Clause) error { return c.Close() }},
	{Name: "net", Usage: "<clients> [cut|restore|reset]", World: true, Min: 1, Max: 2,
		Help:   "acts on clients' networks: cut drops every packet and stalls every stream, restore ends that, reset breaks the streams",
		Fields: []FieldSpec{{Name: "loss", Kind: Number, Help: "share of datagrams lost each way from now on, 0 to 100 percent"}, {Name: "delay", Kind: Duration, Help: "one-way delay from now on"}},
		world:  actOnNet, target: checkNet},
	turnVerb,
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
		if len(c.Args) == 2 {
			map[string]func(){"cut": n.Cut, "restore": n.Restore, "reset": n.Reset}[c.Args[1]]()
		}
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
	}
	return nil
}

// checkCall lets only a call that must be refused go to a user who is nobody.
func checkCall(s *Scenario, st Step, c Clause) error {
	_, err := s.Resolve(c.Args[0])
	if st.Refused {
		return nil
	}
	return err
}

func checkSend(_ *Scenario, st Step, _ Clause) error {
	if st.Refused {
		return fmt.Errorf(`send waits for no answer, so it cannot be refused; write: expect <client> error code=…`)
	}
	return nil
}

func checkNet(s *Scenario, _ Step, c Clause) error {
	if v := c.Get("loss"); v != "" {
		if percent, err := number(v); err == nil && (percent < 0 || percent > 100) {
			return fmt.Errorf("loss=%s: loss is 0 to 100 percent", v)
		}
	}
	if _, err := s.ResolveAll(strings.Split(c.Args[0], ",")); err != nil {
		return err
	}
	if len(c.Args) == 2 {
		if known := []string{"cut", "restore", "reset"}; !contains(known, c.Args[1]) {
			return fmt.Errorf("net cannot %q%s", c.Args[1], suggest(c.Args[1], known))
		}
		return nil
	}
	if len(c.Fields) == 0 {
		return fmt.Errorf("net needs cut, restore, reset, loss= or delay=")
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
