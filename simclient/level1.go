package simclient

import (
	"cmp"
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// level1 has hello and welcome, request ids that are answered, numbered pushes
// and sessions that are resumed.
type level1 struct {
	c *Client
}

func (l *level1) number() int { return 1 }

// opened says hello. Silence means level 0 only to a client that has no session:
// another one knows better, and its network is what is silent.
func (l *level1) opened(sock *socket, token string) {
	c := l.c
	c.link.state = linkGreeting
	c.link.timer = c.after(c.cfg.Reconnect.Attempt, func() { sock.kill(causeWelcome) })
	if c.cfg.Level == nil && !c.session.begun {
		c.link.hello = c.after(c.cfg.HelloTimeout, func() { c.fallBack(causeWelcome, true) })
	}
	c.sayHello(sock, token)
}

// welcomed begins or goes on with a session.
func (l *level1) welcomed(f signaling.Frame) {
	c := l.c
	var w signaling.Welcome
	if err := f.Into(&w); err != nil || c.link.state != linkGreeting {
		c.violation(nil, violationWelcome, slog.String("session", w.SessionID))
		return
	}
	c.link.timer.stop()
	c.link.hello.stop()
	c.link.state = linkUp
	if w.Resumed && c.session.begun {
		c.resuming(w)
	} else {
		c.begin(w)
	}
	c.probe()
}

// alive is not called: nothing is pinged before welcome.
func (l *level1) alive() {}

func (l *level1) refusal(info signaling.ErrorInfo) signaling.Code { return info.Code }

func (l *level1) lost(code int, cause string) { l.c.reconnect(code, cause) }

// request sends a frame with an id, and r.done runs when its answer came. While
// there is no connection it waits for the session to be resumed.
func (l *level1) request(r *request, t signaling.Type, action signaling.Action, data any) {
	c := l.c
	f, err := signaling.New(t, action, data)
	if err != nil {
		r.done(signaling.Frame{}, err)
		return
	}
	f.ID = c.requests.newID()
	r.frame = f
	c.requests.pending = append(c.requests.pending, r)
	if c.link.state == linkUp {
		c.submit(r)
	}
}

// submit sends a request, maybe not for the first time.
func (c *Client) submit(r *request) {
	c.write(c.link.sock, r.frame, r.sent)
	r.sent = true
}

func (l *level1) answered(f signaling.Frame) {
	c := l.c
	r := c.requests.take(f.ID)
	var err error
	if f.Type == signaling.TypeError {
		err = c.refused(f, r)
	}
	switch {
	case c.link.state == linkGreeting && err != nil: // of hello, whether it names it or not
		l.helloRefused(errorOf(f))
	case r != nil:
		r.done(f, err)
	case f.ID != "" && !c.requests.issued(f.ID):
		c.violation(c.call, violationUnknownID, slog.String("request", f.ID))
	}
}

func (l *level1) helloRefused(e *signaling.Error) {
	if l.c.cfg.Level == nil && unknownHello(e.Code) {
		l.c.fallBack(string(e.Code), false)
		return
	}
	l.c.link.refused = e
}

func (l *level1) inOrder(f signaling.Frame) bool {
	c := l.c
	switch f.Type {
	case signaling.TypeRTC, signaling.TypeInvite, signaling.TypeMessage, signaling.TypeState:
	default:
		return true
	}
	kind := []slog.Attr{slog.String("type", string(f.Type)), slog.String("action", string(f.Action))}
	if f.Seq == 0 {
		c.violation(c.call, violationNoSeq, kind...)
		return true
	}
	if f.Seq <= c.session.lastSeq {
		c.count.Duplicates++
		c.callEvent(c.call, eventDuplicate, append(kind, slog.Uint64("seq", f.Seq))...)
		return false
	}
	if expected := c.session.lastSeq + 1; f.Seq != expected {
		c.count.Missing += f.Seq - expected
		c.violation(c.call, violationSeqGap, slog.Uint64("seq", f.Seq), slog.Uint64("expected", expected))
	}
	c.session.lastSeq = f.Seq
	if c.link.resume != nil {
		c.link.resume.replayed++
	}
	c.owe()
	return true
}

func (l *level1) onRTC(action signaling.Action, rtc signaling.RTC) {
	if k := l.c.call; k != nil && k.is(rtc) {
		l.c.pushed(k, action, rtc)
	} else {
		l.stray(action, rtc)
	}
}

// is tells whether a frame is about this call: by its call id, and by its room
// if it has none.
func (k *call) is(rtc signaling.RTC) bool {
	if rtc.CallID == "" || k.id == "" {
		return rtc.RoomID != "" && rtc.RoomID == k.room
	}
	return rtc.CallID == k.id
}

// stray takes a push about a call that is not the current one.
func (l *level1) stray(action signaling.Action, rtc signaling.RTC) {
	c := l.c
	of := []slog.Attr{slog.String("call", cmp.Or(rtc.CallID, rtc.RoomID)), slog.String("action", string(action))}
	switch {
	case c.ended(cmp.Or(rtc.CallID, rtc.RoomID)) != nil:
		if action == signaling.ActionEnded {
			c.violation(nil, violationEndedTwice, append(of, slog.String("reason", string(rtc.Reason)))...)
		}
	case c.call != nil && c.call.state == callDialing && c.call.in == nil && c.link.resume != nil:
		// The acknowledgement was lost with the last connection; the replay comes before
		// the repeated request's.
		c.identify(c.call, rtc.CallID, rtc.RoomID)
		l.onRTC(action, rtc)
	default:
		c.violation(nil, violationUnknownCall, of...)
	}
}

// mediaLost makes a leg anew, as soon as a pong has shown that the signaling
// connection is alive.
func (l *level1) mediaLost(k *call) {
	k.renew = true
	l.c.probe()
}
