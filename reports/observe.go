package reports

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// observe takes the next event of the trace.
func (c *score) observe(e trace.Event) {
	if hidden[e.Kind] {
		c.follow(e)
		return
	}
	switch e.Actor {
	case "script":
		c.script(e)
	case "net":
		c.network(e)
	case "server":
		c.server(e)
	case "kms":
		// What it does shows in the server's requests and events.
	default:
		c.follow(e)
		c.client(e)
	}
}

// hidden are kinds that say what another row says already, or only count.
var hidden = map[trace.Kind]bool{
	"call.outgoing": true, "call.incoming": true, "call.ringing": true, "call.accepted": true, "session.welcome": true,
	"candidate.sent": true, "candidate.received": true, "ice.gathered": true, "media.keyframe": true, "media.sent": true, "media.total": true,
	"error": true, "conn.open": true, "call.start": true, "call.offer": true, "call.answer": true, "room.created": true, "leg.candidate": true,
	"kms.connection": true, trace.KindProbe: true,
}

// parts are the actors that are no clients and whose lanes have a fixed place.
var parts = []string{"script", "net", "server", "kms", "turn"}

// follow keeps track of who is who and in which call.
func (c *score) follow(e trace.Event) {
	switch e.Kind {
	case "call.outgoing", "call.incoming":
		c.current[e.Actor] = e.Get("call")
	case "session.welcome":
		c.actors[e.Get("session")] = e.Actor
	}
	if slices.Contains(parts, e.Actor) {
		return
	}
	kind, _, _ := strings.Cut(string(e.Kind), ".")
	if kind == "ws" || kind == "signal" || kind == "session" || kind == "call" {
		if !slices.Contains(c.clients, e.Actor) {
			c.clients = append(c.clients, e.Actor)
			c.others = slices.DeleteFunc(c.others, func(s string) bool { return s == e.Actor })
		}
		return
	}
	if !slices.Contains(c.clients, e.Actor) && !slices.Contains(c.others, e.Actor) && len(c.others) < mostActors {
		c.others = append(c.others, e.Actor)
	}
}

// script draws actions; expectations show in what happens.
func (c *score) script(e trace.Event) {
	switch e.Kind {
	case trace.KindStepBegin:
		text := strings.Join(strings.Fields(e.Get("text")), " ")
		if at, rest, ok := strings.Cut(text, " "); ok && at == "at" {
			_, text, _ = strings.Cut(rest, " ")
		}
		if !strings.HasPrefix(text, "expect ") && !strings.HasPrefix(text, "never ") {
			c.add(row{shape: step, at: e.T, label: "line " + e.Get("line") + ": " + text})
		}
	case trace.KindStepEnd, trace.KindDeadline:
		c.fail(e.T) // what the script does from now on is after the failure
	case trace.KindRunEnd:
		if msg := e.Get("error"); msg != "" {
			c.add(row{shape: failure, at: e.T, label: "the run broke: " + msg, tone: "bad"})
		}
	}
}

// network draws what is done to a client's network on the client's lane.
func (c *score) network(e trace.Event) {
	host := e.Get("host")
	if !slices.Contains(c.clients, host) {
		return // as it is put up
	}
	what := strings.TrimPrefix(string(e.Kind), "net.")
	r := row{shape: note, at: e.T, from: host, label: "network " + strings.TrimSpace(what+" "+strings.TrimPrefix(own(e), "host="+host)), tone: "net"}
	c.add(r)
}

// actorOf is the client that a server's event is about.
func (c *score) actorOf(e trace.Event) string {
	if a := c.actors[e.Get("session")]; a != "" {
		return a
	}
	user := e.Get("user")
	for _, cl := range c.clients {
		if cl == user || cl == user+"."+e.Get("device") {
			c.actors[e.Get("session")] = cl
			return cl
		}
	}
	return user
}

func (c *score) callFor(e trace.Event, actor string) string {
	if id := e.Get("call"); id != "" {
		return id
	}
	return c.current[actor]
}

// say draws a note.
func (c *score) say(e trace.Event, lane, label, tone, fold string, states ...string) *row {
	return c.add(row{shape: note, at: e.T, from: lane, call: c.callFor(e, lane), label: label, tone: tone, fold: fold, states: states, detail: attributes(e)})
}

// client draws what a client does.
func (c *score) client(e trace.Event) {
	who := e.Actor
	c.heard[who] = c.heard[who] || strings.HasPrefix(string(e.Kind), "signal.")
	switch e.Kind {
	case "signal.sent":
		c.sent(e)
	case "signal.received":
		c.received(e)
	case "media.window":
		c.window(e)
	case "media.flow":
		c.flow(e)
	case "media.source":
		c.add(row{shape: note, at: e.T, from: who, call: c.callFor(e, who), label: e.Get("state") + " sending", things: []string{e.Get("media")},
			fold: "source|" + who + e.Get("state"), detail: attributes(e)})
	case "ws.open", "ws.closed", "session.ended":
		c.connection(e)
	default:
		c.remark(e)
	}
}

// connection draws the beginning and the end of a client's connection.
func (c *score) connection(e trace.Event) {
	switch {
	case e.Kind == "ws.open":
		c.reconnected(e.Actor)
		c.say(e, e.Actor, "WebSocket open", "", "")
	case e.Kind == "session.ended":
		if e.Get("reason") != "closed" { // by itself, which its WebSocket shows
			c.say(e, e.Actor, "session ended: "+e.Get("reason"), "bad", "")
		}
	case e.Get("code") == "1000":
		c.say(e, e.Actor, "WebSocket closed", "", "")
	default:
		c.say(e, e.Actor, "WebSocket lost "+own(e), "bad", "")
	}
}

// remark draws what a client says of itself.
func (c *score) remark(e trace.Event) {
	who, state := e.Actor, e.Get("state")
	switch e.Kind {
	case "ice.state":
		c.say(e, who, "ICE", badState(state), "ice|"+who, state)
	case "dtls.state":
		c.say(e, who, "DTLS", badState(state), "dtls|"+who, state)
	case "pc.state":
		if badState(state) != "" { // else ICE and DTLS say it
			c.say(e, who, "PeerConnection", "bad", "pc|"+who, state)
		}
	case "ice.pair":
		c.say(e, who, "pair "+e.Get("local_type")+" – "+e.Get("remote_type")+" over "+e.Get("protocol"), "", "pair|"+who+own(e))
	case "call.connected":
		c.say(e, who, "call connected", "good", "")
	case "call.ended":
		c.say(e, who, "call ended: "+e.Get("reason"), "", "")
	default:
		c.say(e, who, strings.TrimSpace(string(e.Kind)+" "+own(e)), tone(e), "any|"+who+string(e.Kind)+own(e))
	}
}

func badState(s string) string {
	switch strings.ToLower(s) {
	case "failed", "disconnected":
		return "bad"
	}
	return ""
}

// tone finds bad news by the name of its kind.
func tone(e trace.Event) string {
	for _, w := range []string{"fail", "refus", "error", "violation", "reconnecting", "retry", "lost", "wrong", "unmarked"} {
		if strings.Contains(string(e.Kind), w) {
			return "bad"
		}
	}
	return ""
}

// sent draws a client's frame on its way to the server.
func (c *score) sent(e trace.Event) {
	label := frameLabel(e.Get("type") + "/" + e.Get("action"))
	if label == "call" {
		delete(c.current, e.Actor) // another call than the last one
	}
	r := row{at: e.T, from: e.Actor, to: "server", call: c.callFor(e, e.Actor), label: label, detail: attributes(e)}
	if label == "candidate" {
		r.fold = "candidate|" + e.Actor
	}
	key := c.frameKey("in", "sent", e.Actor, label, "", e.Get("request"))
	if label == "hello" {
		key = "hello|" + e.Actor // its arrival is told without its number
	}
	at := c.came("early " + key) // the server's record may come first in real time
	if at == nil {
		at = c.add(r)
		c.await(key, at)
		c.await("sent|"+key, &row{at: e.T})
	}
	if id := e.Get("request"); id != "" {
		c.await("ack|"+e.Actor+"|"+id, at)
	}
}

// frameLabel is the name of a frame: the action where it is a call's.
func frameLabel(frame string) string {
	frame = strings.TrimSuffix(frame, "/")
	return strings.TrimPrefix(frame, "rtc/")
}

// received draws, or lets arrive, a frame from the server.
func (c *score) received(e trace.Event) {
	label, n := frameLabel(e.Get("type")+"/"+e.Get("action")), e.Get("seq")
	if label == "ack" {
		if r := c.came("ack|" + e.Actor + "|" + e.Get("request")); r != nil {
			r.suffix = "ack " + short(e.T-r.at)
		}
		return
	}
	code := e.Get("code")
	if r := c.arrives(c.frameKey("out", "received", e.Actor, label, n, e.Get("request")), e.T); r != nil {
		r.label = strings.TrimSpace(r.label + " " + code) // which the server does not log with the frame
		return
	}
	r := row{at: e.T, from: "server", to: e.Actor, call: c.callFor(e, e.Actor), label: label, arrived: 1, detail: attributes(e)}
	if code != "" {
		r.label, r.tone = label+" "+code, "bad"
	}
	c.add(r)
}

// frameKey names a frame on its way in or out: by its number in the session, by
// its request, or, at protocol level 0 where frames have neither, by how many of
// its sort there were at this end of the way.
func (c *score) frameKey(way, end, client, label, seq, request string) string {
	switch {
	case seq != "" && seq != "0":
		return way + "|" + client + "|" + seq
	case request != "":
		return way + "|" + client + "|" + label + "|re " + request
	}
	key := client + "|" + way + "|" + label
	c.nth[key+"|"+end]++
	return key + "|" + strconv.Itoa(c.nth[key+"|"+end])
}

// reconnected forgets what was under way on a client's last connection, where
// only its order names it.
func (c *score) reconnected(client string) {
	for key := range c.nth {
		if strings.HasPrefix(key, client+"|") {
			delete(c.nth, key)
		}
	}
	for key := range c.waiting {
		if strings.HasPrefix(strings.TrimPrefix(key, "sent|"), client+"|") {
			delete(c.waiting, key)
		}
	}
}

// arrives ends the way of a message; nil if it is not known to be under way.
func (c *score) arrives(key string, at time.Duration) *row {
	r, begin := c.came(key), c.came("sent|"+key)
	if r == nil {
		return nil
	}
	r.arrived++
	if begin != nil {
		r.transit = max(r.transit, at-begin.at)
	}
	return r
}

// window counts media that arrived.
func (c *score) window(e trace.Event) {
	k := e.Actor + "|" + e.Get("media")
	if c.windows[k] == nil {
		c.windows[k] = &counts{client: e.Actor, media: e.Get("media")}
	}
	c.windows[k].units += int64(e.Number("units"))
	c.windows[k].lost += int64(e.Number("lost"))
}

// flow draws media that begins or ceases to arrive.
func (c *score) flow(e trace.Event) {
	state := e.Get("state")
	r := row{at: e.T, from: "kms", to: e.Actor, call: c.callFor(e, e.Actor), label: "media of " + e.Get("from"), things: []string{e.Get("media")}, arrived: 1,
		tone: "media", fold: "flow|" + e.Actor + state, detail: attributes(e)}
	if state == "silent" {
		r.label, r.tone = "no media of "+e.Get("from"), "mute"
	}
	r.label += ":"
	if gap := time.Duration(e.Number("gap_ms") * float64(time.Millisecond)); gap > 0 && state != "silent" {
		r.suffix = "after " + short(gap)
	}
	c.add(r)
}
