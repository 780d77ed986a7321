package simclient

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// linkState says where the signaling connection stands.
type linkState string

const (
	linkIdle     linkState = "idle"
	linkDialing  linkState = "dialing"
	linkGreeting linkState = "greeting" // hello was sent, welcome awaited
	linkUp       linkState = "up"
	linkWaiting  linkState = "waiting" // for the next attempt to reconnect
	linkClosed   linkState = "closed"
)

// link is the signaling connection: the socket, and how the client gets the
// next one.
type link struct {
	state   linkState
	level   level
	sock    *socket
	connect func(error) // who waits in Connect
	refused error       // the server's answer to hello
	cancel  context.CancelFunc
	timer   *timer // of the attempt, or until the next one
	hello   *timer // until hello counts as unanswered

	down    time.Time // when the last socket that was up ended
	backoff *backoff
	resume  *resumption // until everything missed has been replayed

	beat, pong *timer
}

// resumption is what session.resumed will tell.
type resumption struct {
	attempts, replayed int
	gap                time.Duration
	call, room         string // that the server says the session is in
	had                *call  // the call that this side is in
}

func (c *Client) connect(done func(error)) {
	if c.link.state != linkIdle {
		done(ErrConnected)
		return
	}
	c.link.connect, c.link.level = done, c.firstLevel()
	c.attempt()
}

// abandonConnect ends a Connect whose caller has gone.
func (c *Client) abandonConnect() {
	if c.link.connect == nil {
		return
	}
	c.link.cancel()
	if c.link.sock != nil {
		c.link.sock.kill(causeClosed)
	}
}

// attempt dials beside the queue; what is said first is the level's.
func (c *Client) attempt() {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Reconnect.Attempt)
	c.link.state, c.link.cancel, c.link.refused = linkDialing, cancel, nil
	c.group.Go(func() {
		defer cancel()
		token, err := c.token(ctx)
		var sock *socket
		begin := time.Now()
		if err == nil {
			sock, err = dialSocket(ctx, &c.cfg, token)
		}
		took := time.Since(begin)
		c.q.Do(func() { c.dialed(sock, token, took, err) })
	})
}

func (c *Client) token(ctx context.Context) (string, error) {
	if c.cfg.Token == nil {
		return "", nil
	}
	return c.cfg.Token(ctx)
}

// dialed goes on with a new socket, which took so long to open, or without.
func (c *Client) dialed(sock *socket, token string, took time.Duration, err error) {
	if c.link.state != linkDialing { // closed meanwhile
		if sock != nil {
			sock.ws.Close()
		}
		return
	}
	if err != nil {
		c.attemptFailed(err)
		return
	}
	c.callEvent(c.call, eventWSOpen, slog.Int("attempt", c.link.backoff.attempts), ms("took_ms", took))
	c.link.sock = sock
	c.link.level.opened(sock, token)
	c.group.Go(func() {
		err := sock.read(func(b []byte) { c.q.Do(func() { c.receive(sock, b) }) },
			func() { c.q.Do(func() { c.ponged(sock) }) })
		c.q.Do(func() { c.lost(sock, err) })
	})
}

// lost goes on after a socket ended, for whatever reason.
func (c *Client) lost(sock *socket, err error) {
	code, cause := sock.closeCode(err)
	c.callEvent(c.call, eventWSClosed, slog.Int("code", code), slog.String("cause", cause))
	if c.link.sock != sock {
		return
	}
	state := c.link.state
	c.link.sock = nil
	c.stopTimers()
	switch state {
	case linkGreeting:
		c.attemptFailed(c.refusal(code, err))
	case linkUp:
		c.link.level.lost(code, cause)
	}
}

// stopTimers stops what is timed on a socket.
func (c *Client) stopTimers() {
	c.stopHeartbeat()
	c.link.timer.stop()
	c.link.hello.stop()
	c.session.receipt.stop()
}

// refusal is why there was no welcome: the server's error frame, else what its
// close code means, else err.
func (c *Client) refusal(code int, err error) error {
	if c.link.refused != nil {
		return c.link.refused
	}
	if info, ok := signaling.OfClose(code); ok {
		return &signaling.Error{Code: c.link.level.refusal(info), Message: info.Meaning}
	}
	return err
}

// attemptFailed reports to Connect, or plans the next attempt.
func (c *Client) attemptFailed(err error) {
	if done := c.link.connect; done != nil {
		c.link.state, c.link.connect = linkIdle, nil
		done(err)
		return
	}
	c.callEvent(c.call, eventRetry, slog.Int("attempt", c.link.backoff.attempts), slog.String("error", err.Error()))
	var refused *signaling.Error
	if errors.As(err, &refused) && refused.Code.Info().Retry == signaling.RetryNever {
		c.giveUp(string(refused.Code))
		return
	}
	c.retry()
}

// reconnect begins to come back, unless the close code says not to.
func (c *Client) reconnect(code int, cause string) {
	info, _ := signaling.OfClose(code)
	if info.Retry == signaling.RetryNever {
		c.giveUp(string(info.Code))
		return
	}
	if info.Retry == signaling.RetryFresh {
		c.session.token = ""
	}
	c.count.Reconnects++
	if c.link.resume == nil { // else this is still the last interruption
		c.link.down = time.Now()
		c.link.backoff.reset()
	}
	c.link.resume = nil
	c.callEvent(c.call, eventReconnecting, slog.String("session", c.session.id), slog.String("cause", cause))
	c.retry()
}

// retry plans the next attempt.
func (c *Client) retry() {
	delay := c.link.backoff.next()
	if time.Since(c.link.down)+delay > c.cfg.Reconnect.GiveUp {
		c.giveUp(reasonGaveUp)
		return
	}
	c.link.state = linkWaiting
	c.link.timer = c.after(delay, c.attempt)
}

// giveUp ends the session for good. Connect may be called again.
func (c *Client) giveUp(reason string) {
	c.link.state = linkIdle
	if c.session.begun {
		c.endSession(reason)
	} else {
		c.event(eventEnded, slog.String("reason", reason))
	}
}

// closeLink ends the connection in an orderly way.
func (c *Client) closeLink() {
	if c.link.state == linkClosed {
		return
	}
	if c.link.state == linkUp {
		c.sendReceipt()
	}
	c.link.state = linkClosed
	c.stopTimers()
	c.session.refresh.stop()
	if c.link.sock != nil {
		c.link.sock.shut(websocket.CloseNormalClosure, causeClosed)
	}
	if c.session.begun {
		c.sessionEnded(reasonClosed)
	}
}

// cutLink ends the connection without a word.
func (c *Client) cutLink() {
	c.link.state = linkClosed
	c.stopTimers()
	c.session.refresh.stop()
	if c.link.sock != nil {
		c.link.sock.kill(causeCrashed)
	}
}
