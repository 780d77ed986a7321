package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// hold is how long dialing and accepting last in the table's worlds, and short
// is less than that: the time-out that a row is about.
const (
	hold  = time.Second
	short = 500 * time.Millisecond
)

// slowRooms holds a call in dialing or in accepting, when its room or member is
// written down.
type slowRooms struct {
	server.State
	open, join time.Duration
}

func (s slowRooms) OpenRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	time.Sleep(s.open)
	return s.State.OpenRoom(ctx, r, m, l)
}

func (s slowRooms) JoinRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	time.Sleep(s.join)
	return s.State.JoinRoom(ctx, r, m, l)
}

// play is one cell of the table: a call of alice's, who is C, to bob, who is E and
// may have a second device F, in a state, and carol, who is T. What is seen is what
// came since the last look.
type play struct {
	w      *world
	state  string
	c, e   *client
	t      *client
	f      []*client // F's connections; none if there is no F
	both   bool      // F is there from the start
	tokens map[string]string
	id     string // of the call; empty where there is none
	ref    signaling.RTC
	held   string // the request that waits while the state is held
	by     *client
	asked  string // the event's own request
	asker  *client
	until  time.Time // when the state goes on

	seen  map[string]uint64
	stood string
}

// enterState brings the call to the state. The second device of E's, if it is to be
// there, rings too and hears that E has answered.
func enterState(w *world, state string, second bool) *play {
	p := &play{w: w, state: state, tokens: make(map[string]string), seen: make(map[string]uint64),
		ref: signaling.RTC{CallID: "call-of-nobody", RoomID: "room-of-nobody"}}
	w.media.set(func(m *fakeMedia) { m.silent = true })
	for name, at := range map[string]**client{"alice": &p.c, "bob": &p.e, "carol": &p.t} {
		c, welcome := w.enter(name)
		*at, p.tokens[name] = c, welcome.ResumeToken
	}
	if p.both = second; second {
		p.second()
	}
	p.until = time.Now().Add(hold)
	at := slices.Index(callStates, state)
	if at >= slices.Index(callStates, "dialing") {
		p.id, p.ref = "call-alice-1", signaling.RTC{CallID: "call-alice-1", RoomID: "room-alice-1"}
		p.held, p.by = p.c.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"}), p.c
	}
	if at >= slices.Index(callStates, "accepting") {
		synctest.Wait()
		p.held, p.by = p.e.send(signaling.TypeRTC, signaling.ActionAnswer, p.ref), p.e
	}
	if at >= slices.Index(callStates, "ending") {
		synctest.Wait()
		p.c.rtc(signaling.ActionLeave, p.ref)
	}
	if at >= slices.Index(callStates, "ended") {
		p.e.rtc(signaling.ActionLeave, p.ref)
	}
	if !p.isHeld() {
		p.held = ""
	}
	synctest.Wait()
	return p
}

// second begins a session of E's second device.
func (p *play) second() {
	f, welcome := p.w.enter("bob")
	p.f, p.tokens["F"] = append(p.f, f), welcome.ResumeToken
}

func (p *play) isF(c *client) bool { return slices.Contains(p.f, c) }

func (p *play) isHeld() bool { return p.state == "dialing" || p.state == "accepting" }

// stands is the state of a call, as the log says.
func (p *play) stands(id string) string {
	if id == "" {
		return "none"
	}
	at := "dialing"
	for _, l := range p.w.eventLines("call.state") {
		if strings.Contains(l, "call="+id+" ") {
			_, after, _ := strings.Cut(l, " to=")
			at, _, _ = strings.Cut(strings.TrimSpace(after), " ")
		}
	}
	return at
}

// ask sends the event's request.
func (p *play) ask(c *client, a signaling.Action, data signaling.RTC) {
	p.asker, p.asked = c, c.send(signaling.TypeRTC, a, data)
}

// look says what happened since the last look: what was answered, where the call
// is now if it moved, and who was told what.
func (p *play) look() string {
	synctest.Wait()
	var out []string
	if s := p.answered(p.asker, &p.asked); s != "" {
		out = append(out, s)
	}
	if s := p.answered(p.by, &p.held); s != "" {
		word := map[string]string{"dialing": "call", "accepting": "answer"}[p.state]
		out = append(out, word+": "+s)
	}
	if now := p.stands(p.id); now != p.stood && p.stood != "" {
		out = append(out, "→ "+now)
	}
	p.stood = p.stands(p.id)
	out = append(out, p.newCalls()...)
	for _, who := range []struct{ letter, name string }{{"C", "alice"}, {"E", "bob"}, {"F", "bob"}, {"T", "carol"}} {
		if told := p.told(who.letter, who.name); len(told) > 0 {
			out = append(out, who.letter+" ← "+strings.Join(told, ", "))
		}
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

// answered is what a request was answered, once.
func (p *play) answered(c *client, id *string) string {
	if *id == "" {
		return ""
	}
	var f signaling.Frame
	for _, on := range p.w.clients { // on whatever connection
		if a, ok := on.answer(*id); ok && on.name == c.name && p.isF(on) == p.isF(c) {
			f = a
		}
	}
	if f.ID == "" {
		return ""
	}
	*id = ""
	var e signaling.Error
	if f.Type == signaling.TypeError && f.Into(&e) == nil {
		return string(e.Code)
	}
	return "ack"
}

// newCalls are other calls that have begun.
func (p *play) newCalls() (out []string) {
	for _, l := range p.w.eventLines("call.start") {
		_, after, _ := strings.Cut(l, " call=")
		id, _, _ := strings.Cut(after, " ")
		if id != p.id && p.seen[id] == 0 {
			p.seen[id] = 1
			out = append(out, "new call "+p.stands(id))
		}
	}
	return out
}

// told are the pushes of a party since the last look, on whatever connection.
func (p *play) told(letter, name string) (kinds []string) {
	before := p.seen[letter]
	for _, c := range p.w.clients {
		if c.name != name || p.isF(c) != (letter == "F") {
			continue
		}
		c.mu.Lock()
		frames := slices.Clone(c.frames)
		c.mu.Unlock()
		for _, f := range frames {
			if f.Seq > before {
				p.seen[letter] = max(p.seen[letter], f.Seq)
				kinds = append(kinds, tale(f))
			}
		}
	}
	return kinds
}

// tale is what a push says, in the words of the table.
func tale(f signaling.Frame) string {
	var m signaling.Message
	if f.Type == signaling.TypeMessage && f.Into(&m) == nil && m.Call != nil {
		return fmt.Sprintf("message %s", m.Call.Outcome)
	}
	var d signaling.RTC
	_ = f.Into(&d)
	s := strings.TrimPrefix(f.Kind(), "rtc/")
	if d.SDP != "" {
		s += " with SDP"
	}
	if d.Reason != "" {
		s += " " + string(d.Reason)
	}
	return s
}

// cell plays an event and says what it did, at once and, if the state is held,
// when it goes on. What would have come without the event is left out.
func (p *play) cell(do func(p *play)) string {
	p.look()
	do(p)
	out := p.look()
	if !p.isHeld() {
		return out
	}
	time.Sleep(time.Until(p.until))
	later := p.look()
	switch {
	case later == p.usual():
		return out
	case out == "nothing":
		return "later: " + later
	}
	return out + "; later: " + later
}

// usual is how a state that is held goes on by itself.
func (p *play) usual() string {
	switch {
	case p.state == "accepting":
		return "answer: ack; → active; C ← answer"
	case p.both:
		return "call: ack; → ringing; E ← rtc_invite; F ← rtc_invite"
	}
	return "call: ack; → ringing; E ← rtc_invite"
}

// lose drops a client's connection.
func (p *play) lose(c *client) { c.drop() }

// back resumes a client's session.
func (p *play) back(c *client) {
	again, _ := p.w.rejoin(c, p.tokens[c.name])
	if c == p.c {
		p.c = again
	} else {
		p.e = again
	}
}

// bye ends a client's session.
func (p *play) bye(c *client) {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
	<-c.ended
}

// media has the media server report something of an endpoint, if there is one.
func (p *play) media(endpoint string, e server.MediaEvent) {
	if at := p.w.media.endpoint(endpoint); at != nil {
		at.on(e)
	}
}
