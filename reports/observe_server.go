package reports

import (
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// server draws what the server does: the frames that it gets and sends, what it
// asks of the media server and hears from it, and notes of its own.
func (c *score) server(e trace.Event) {
	c.heard["server"] = c.heard["server"] || e.Kind == "frame.in"
	switch e.Kind {
	case "frame.in":
		c.frameIn(e)
	case "frame.out":
		c.frameOut(e)
	case "kms.request":
		c.asks(e)
	case "kms.response":
		c.answered(e)
	case "kms.event":
		c.hears(e)
	case "session.start", "session.resume":
		c.greeted(e)
	case "leg.created":
		c.legs[e.Get("endpoint")] = e.Get("user")
		c.say(e, "server", "leg of "+e.Get("user")+" made", "", "")
	case "leg.released", "leg.connected":
		c.say(e, "server", "leg of "+e.Get("user")+strings.Replace(string(e.Kind), "leg.", " ", 1), "", "")
	case "leg.ice", "leg.dtls", "leg.connection", "leg.flow_in", "leg.flow_out", "leg.transcoding":
		c.legEvent(e)
	case "request.refused":
		c.say(e, "server", "refuses "+frameLabel(e.Get("frame"))+" of "+e.Get("user")+": "+e.Get("code"), "bad", "")
	case "session.end":
		c.add(row{shape: note, at: e.T, from: "server", label: "session over (" + e.Get("cause") + "):", things: []string{e.Get("user")}, fold: "end " + e.Get("cause"), detail: attributes(e)})
	case "conn.closed":
		if e.Get("cause") != "" { // else the client closed it, which shows there
			c.say(e, "server", "closes the connection of "+e.Get("user")+": "+e.Get("cause"), "bad", "")
		}
	case "call.ended":
		// The frames that tell of it follow.
	case "call.state":
		c.say(e, "server", "call", "", "state|"+e.Get("call"), e.Get("from"), e.Get("to"))
	default:
		c.say(e, "server", strings.TrimSpace(string(e.Kind)+" "+own(e)), tone(e), "any|"+string(e.Kind)+own(e))
	}
}

// frameIn lets a client's frame arrive.
func (c *score) frameIn(e trace.Event) {
	label := frameLabel(e.Get("frame"))
	key := c.frameKey("in", "received", c.actorOf(e), label, "", e.Get("request"))
	if c.arrives(key, e.T) != nil {
		return
	}
	r := c.add(row{at: e.T, from: c.actorOf(e), to: "server", call: c.callFor(e, c.actorOf(e)), label: label, arrived: 1, detail: attributes(e)})
	c.await("early "+key, r)
}

// greeted is the arrival of a hello, which no other event tells of.
func (c *score) greeted(e trace.Event) {
	c.arrives("hello|"+c.actorOf(e), e.T)
	if e.Kind == "session.resume" {
		c.say(e, "server", "session resumed, "+e.Get("replayed")+" replayed", "good", "")
	}
}

// frameOut draws a frame on its way to a client.
func (c *score) frameOut(e trace.Event) {
	label, who := frameLabel(e.Get("frame")), c.actorOf(e)
	if label == "ack" {
		return // it shows with the request
	}
	r := row{at: e.T, from: "server", to: who, call: c.callFor(e, who), label: label, detail: attributes(e)}
	if label == "candidate" {
		r.fold = "pushed candidate|" + who
	}
	if label == "error" {
		r.tone = "bad"
	}
	key := c.frameKey("out", "sent", who, label, e.Get("seq"), e.Get("request"))
	c.await(key, c.add(r))
	c.await("sent|"+key, &row{at: e.T})
}

// asks draws a request to the media server.
func (c *score) asks(e trace.Event) {
	method, object := e.Get("method"), e.Get("object")
	label, fold := method, ""
	switch method {
	case "create":
		label += " " + e.Get("type")
	case "invoke":
		label = e.Get("operation")
		fold = label + object
	case "release":
		if c.legs[object] == "" {
			label += " " + class(object)
		}
	case "subscribe":
		fold = method + object
	}
	if user := c.legs[object]; user != "" {
		label += " (" + user + ")"
	}
	r := c.add(row{at: e.T, from: "server", to: "kms", call: e.Get("call"), label: label, fold: fold, detail: attributes(e)})
	c.await("kms|"+e.Get("kms_request"), r)
}

// answered is the media server's answer.
func (c *score) answered(e trace.Event) {
	c.heard["kms"] = true
	r := c.came("kms|" + e.Get("kms_request"))
	if r == nil {
		return
	}
	r.arrived++
	took := time.Duration(e.Number("took_ms") * float64(time.Millisecond))
	if took >= r.transit {
		r.transit = took
		r.suffix = short(took)
	}
	if msg := e.Get("error"); msg != "" {
		r.tone, r.suffix = "bad", msg
	}
}

// hears draws an event of the media server that no leg tells of.
func (c *score) hears(e trace.Event) {
	t := e.Get("type")
	if e.Get("wanted") != "true" || strings.HasSuffix(t, "StateChanged") || strings.HasSuffix(t, "StateChange") {
		return
	}
	label := t
	if user := c.legs[e.Get("object")]; user != "" {
		label += " (" + user + ")"
	}
	c.add(row{at: e.T, from: "kms", to: "server", label: label, arrived: 1, fold: "event" + t + e.Get("object"), detail: attributes(e)})
}

// legEvent draws a change of state that the media server reported of a leg.
func (c *score) legEvent(e trace.Event) {
	what, user, state := strings.TrimPrefix(string(e.Kind), "leg."), e.Get("user"), strings.ToLower(e.Get("state"))
	r := row{at: e.T, from: "kms", to: "server", call: e.Get("call"), arrived: 1, fold: string(e.Kind) + user, tone: badState(state), detail: attributes(e)}
	switch what {
	case "transcoding":
		if state != "transcoding" {
			return
		}
		r.label, r.tone = "transcodes "+e.Get("medium")+" of "+user, "bad"
	case "flow_in", "flow_out":
		way := map[string]string{"flow_in": " from ", "flow_out": " to "}[what]
		r.label, r.fold = strings.ReplaceAll(state, "_", " ")+way+user+":", r.fold+state
		r.things = []string{strings.ToLower(e.Get("medium"))}
	default:
		r.label = map[string]string{"ice": "ICE", "dtls": "DTLS", "connection": "connection"}[what] + " of " + user
		r.states = []string{state}
	}
	c.add(r)
}
