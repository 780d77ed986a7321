package kmsmock

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Stroke is what a rule does to a request or an event.
type Stroke string

const (
	// Slow delays: a request before it is carried out, with everything that
	// follows on its connection, as a busy server does; an event on its way.
	Slow Stroke = "delay"
	// Refuse answers a request with an error instead of carrying it out.
	Refuse Stroke = "error"
	// Drop carries a request out and does not answer it, or loses an event.
	Drop Stroke = "drop"
	// Duplicate sends the answer or the event twice.
	Duplicate Stroke = "duplicate"
	// Reorder sends the answer or the event after the next frame of its
	// connection, or after 100 ms if there is none.
	Reorder Stroke = "reorder"
	// Hold keeps answers and events back until the rule is removed.
	Hold Stroke = "hold"
	// HalfOpen leaves the connection open from now on: what comes is taken
	// and ignored, nothing is sent.
	HalfOpen Stroke = "half_open"
	// Cut ends the TCP connection without a close frame; the request is not
	// carried out.
	Cut Stroke = "cut"
	// Hangup closes the connection with a websocket close frame; the request
	// is not carried out.
	Hangup Stroke = "close"
)

var strokes = []Stroke{Slow, Refuse, Drop, Duplicate, Reorder, Hold, HalfOpen, Cut, Hangup}

// A Match says which requests, or which events, a rule is about. An empty
// member matches anything; with Event the rule is about events, otherwise
// about requests.
type Match struct {
	Method    string `json:"method,omitempty"`    // of JSON-RPC, for example "create"
	Operation string `json:"operation,omitempty"` // of invoke, for example "processOffer"
	Class     string `json:"class,omitempty"`     // of the object or one it descends from, or which create asks for
	Object    string `json:"object,omitempty"`    // id
	Session   string `json:"session,omitempty"`   // id
	Event     string `json:"event,omitempty"`     // type; "*" is any
}

// A Rule makes the server fail in answering requests or sending events.
type Rule struct {
	// Name is by what the rule is removed and logged; empty asks for one.
	Name  string `json:"name,omitempty"`
	Match Match  `json:"match"`
	Do    Stroke `json:"do"`
	// Nth is the first of the matching requests or events that is struck,
	// counted from 1; 0 is 1.
	Nth int `json:"nth,omitempty"`
	// Count is how many are struck at most; 0 means no limit.
	Count int `json:"count,omitempty"`
	// Probability is with which each of them is struck, from the server's
	// seed; 0 means always.
	Probability float64  `json:"probability,omitempty"`
	Delay       Delay    `json:"delay,omitzero"`
	Error       *Refusal `json:"error,omitempty"`
	Close       *Closing `json:"close,omitempty"`
}

// A Refusal is a JSON-RPC error of Kurento.
type Refusal struct {
	Code    int    `json:"code"`
	Type    string `json:"type,omitempty"` // data.type; empty: no data
	Message string `json:"message"`
}

// A Closing is what a websocket close frame says (RFC 6455 §7.4).
type Closing struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"`
}

// RuleState is a rule and what it has done so far.
type RuleState struct {
	Rule
	Matched int `json:"matched"`
	Struck  int `json:"struck"`
	Held    int `json:"held"` // frames that wait for the rule's removal
}

type rule struct {
	RuleState
	rand *rand.Rand
	held []func()
}

// belongs says that a rule lacks the member of its stroke's name, or has that
// of another stroke.
func (r *Rule) belongs(member string) error {
	if string(r.Do) == member {
		return fmt.Errorf("do %s needs %s", member, member)
	}
	return fmt.Errorf("%s belongs to do %s; this rule does %s", member, member, r.Do)
}

// named puts the rule's name, if it has one, before an error.
func (r *Rule) named(err error) error {
	if r.Name == "" {
		return fmt.Errorf("rule: %w", err)
	}
	return fmt.Errorf("rule %q: %w", r.Name, err)
}

// listed names the values of an enumeration for people.
func listed[S ~string](values []S) string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return strings.Join(out, ", ")
}

func (r *Rule) check() error {
	switch {
	case !slices.Contains(strokes, r.Do):
		return fmt.Errorf("do is %q; it must be one of %s", r.Do, listed(strokes))
	case r.Nth < 0, r.Count < 0:
		return errors.New("nth and count must not be negative")
	case r.Probability < 0 || r.Probability > 1:
		return errors.New("probability must be from 0 to 1")
	case r.Match.Event != "" && (r.Match.Method != "" || r.Match.Operation != ""):
		return errors.New("a rule is about an event or about requests, not both")
	case r.Match.Event != "" && r.Do == Refuse:
		return errors.New("an event cannot be answered with an error")
	case (r.Do == Refuse) != (r.Error != nil):
		return r.belongs("error")
	case (r.Do == Hangup) != (r.Close != nil):
		return r.belongs("close")
	case (r.Do == Slow) != (r.Delay != Delay{}):
		return r.belongs("delay")
	}
	if r.Close != nil {
		if err := r.Close.check(); err != nil {
			return err
		}
	}
	return r.Delay.check()
}

func (c *Closing) check() error {
	if c.Code < 1000 || c.Code > 4999 || c.Code == 1004 || c.Code == 1006 || c.Code == 1015 {
		return fmt.Errorf("%d is not a code that a close frame can carry", c.Code)
	}
	if len(c.Reason) > 123 {
		return errors.New("the reason of a close frame has at most 123 bytes")
	}
	return nil
}

// AddRule puts a rule in force, behind those that are there, and returns its
// name. A rule of the same name is replaced. A rule without sense is an error.
func (s *Server) AddRule(r Rule) (string, error) {
	if err := r.check(); err != nil {
		return "", fmt.Errorf("kmsmock: %w", r.named(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Name == "" {
		s.ruleSerial++
		r.Name = "rule" + strconv.Itoa(s.ruleSerial)
	}
	s.removeRule(r.Name)
	s.rules = append(s.rules, &rule{RuleState: RuleState{Rule: r}, rand: newDice(s.cfg.Seed, r.Name)})
	s.log.Info("kms.rule.added", "rule", r.Name, "type", string(r.Do))
	return r.Name, nil
}

// newDice makes a source of chance of its own for a name, so that what other
// names draw does not change it.
func newDice(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// RemoveRule ends a rule and sends what it held back. It returns whether there
// was one of that name.
func (s *Server) RemoveRule(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeRule(name)
}

func (s *Server) removeRule(name string) bool {
	i := slices.IndexFunc(s.rules, func(r *rule) bool { return r.Name == name })
	if i < 0 {
		return false
	}
	r := s.rules[i]
	s.rules = slices.Delete(s.rules, i, i+1)
	s.log.Info("kms.rule.removed", "rule", name, "number", r.Struck)
	for _, send := range r.held {
		send()
	}
	return true
}

// RemoveRules ends all rules.
func (s *Server) RemoveRules() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rules) > 0 {
		s.removeRule(s.rules[0].Name)
	}
}

// Rules lists the rules in their order.
func (s *Server) Rules() []RuleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []RuleState{}
	for _, r := range s.rules {
		r.Held = len(r.held)
		out = append(out, r.RuleState)
	}
	return out
}

// A subject is what rules are asked about: a request or an event.
type subject struct {
	Match
	class *class
}

// subjectOf reads a request.
func (s *Server) subjectOf(msg object) subject {
	params, _ := msg["params"].(object)
	get := func(name string) string {
		v, _ := toString(params[name])
		text, _ := v.(string)
		return text
	}
	sub := subject{Match: Match{Method: msg["method"].(string), Object: get("object"), Session: get("sessionId")}}
	if sub.Method == "invoke" {
		sub.Operation = get("operation")
	}
	if o := s.objects[sub.Object]; o != nil {
		sub.class = o.class
	}
	if sub.Method == "create" {
		sub.class = s.model.factory(get("type"))
	}
	return sub
}

func (m *Match) matches(sub *subject) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	if (m.Event == "") != (sub.Event == "") || (m.Event != "*" && !same(m.Event, sub.Event)) {
		return false
	}
	return same(m.Method, sub.Method) && same(m.Operation, sub.Operation) && same(m.Object, sub.Object) &&
		same(m.Session, sub.Session) && (m.Class == "" || descends(sub.class, m.Class))
}

func descends(c *class, name string) bool {
	for ; c != nil; c = c.parent {
		if c.name == name {
			return true
		}
	}
	return false
}

// strikes counts a match and decides whether the rule strikes it.
func (r *rule) strikes() bool {
	r.Matched++
	if r.Matched < max(r.Nth, 1) || (r.Count > 0 && r.Struck >= r.Count) {
		return false
	}
	if r.Probability > 0 && r.rand.Float64() >= r.Probability {
		return false
	}
	r.Struck++
	return true
}

// A fate is what the rules have decided about one frame.
type fate struct {
	delay time.Duration
	rule  *rule // besides delaying; nil: none
}

func (f *fate) is(strokes ...Stroke) bool {
	return f.rule != nil && slices.Contains(strokes, f.rule.Do)
}

// judge asks all rules about a request or event. Delays add up; of the other
// strokes the first rule's counts. The lock is held.
func (s *Server) judge(sub subject) (f fate) {
	for _, r := range s.rules {
		if !r.Match.matches(&sub) || (r.Do != Slow && f.rule != nil) || !r.strikes() {
			continue
		}
		attrs := []slog.Attr{slog.String("type", string(r.Do)), slog.String("rule", r.Name), slog.Int("number", r.Struck)}
		if sub.Object != "" {
			attrs = append(attrs, slog.String("object", sub.Object))
		}
		if what := cmp.Or(sub.Event, sub.Operation, sub.Method); what != "" {
			attrs = append(attrs, slog.String("of", what))
		}
		s.log.LogAttrs(s.ctx, slog.LevelInfo, "kms.fault", attrs...)
		if r.Do == Slow {
			f.delay += r.Delay.draw(r.rand)
		} else {
			f.rule = r
		}
	}
	return f
}

// meet lets the fate of an answer or event come true. put queues the frame;
// late queues it behind the next one.
func (c *conn) meet(f fate, put, late func()) {
	if f.rule == nil {
		put()
		return
	}
	switch f.rule.Do {
	case Drop:
	case Duplicate:
		put()
		put()
	case Reorder:
		late()
	case Hold:
		f.rule.held = append(f.rule.held, put)
	case HalfOpen:
		c.wire.deaf.Store(true)
	case Cut:
		c.cut()
	case Hangup:
		how := f.rule.Close
		c.srv.spawn(func() { c.hangUp(how) })
	default:
		put()
	}
}
