package simclient

import (
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// level is what differs between the two levels of the protocol. Its methods run
// on the client's queue.
type level interface {
	number() int
	// opened says what is said first on a new socket.
	opened(sock *socket, token string)
	// welcomed takes a welcome.
	welcomed(f signaling.Frame)
	// alive takes the first pong of a socket that has no session yet.
	alive()
	// refusal is what a close code means that came instead of a session.
	refusal(info signaling.ErrorInfo) signaling.Code
	// lost goes on after the socket of a session ended.
	lost(code int, cause string)
	// request sends a frame and calls r.done, once.
	request(r *request, t signaling.Type, action signaling.Action, data any)
	// answered takes ack and error.
	answered(f signaling.Frame)
	// inOrder follows the numbers of pushes. It returns false for one that was seen
	// before.
	inOrder(f signaling.Frame) bool
	// onRTC finds out what a push about a call means.
	onRTC(action signaling.Action, rtc signaling.RTC)
	// mediaLost goes on with a call that lost its media for good.
	mediaLost(k *call)
}

// firstLevel is what the first connection is tried at.
func (c *Client) firstLevel() level {
	if c.cfg.Level != nil && *c.cfg.Level == 0 {
		return &level0{c: c}
	}
	return &level1{c: c}
}

// unknownHello tells whether a refusal of hello means that the server does not
// know what a hello is.
func unknownHello(code signaling.Code) bool {
	return code == signaling.CodeUnknownType || code == signaling.CodeBadFrame
}

// fallBack goes on at level 0 on the connection that there is, and stays there
// until Connect is called again. A server that said nothing may still say
// welcome: silent is then true.
func (c *Client) fallBack(why string, silent bool) {
	c.link.timer.stop()
	c.link.hello.stop()
	c.event(eventFallback, slog.String("reason", why))
	l := &level0{c: c, silent: silent}
	c.link.level = l
	l.ask(c.link.sock)
}
