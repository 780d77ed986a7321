package server

import (
	"errors"
	"time"

	"github.com/callbench/callbench/signaling"
)

// greet waits for the first frame, which decides the level of the connection. So
// does its absence, if the header's token says who is there. A client that is
// refused is told so; its connection is then shutting down, and session stays nil.
func (c *conn) greet() {
	c.expectHello()
	switch {
	case c.who == nil:
	case c.srv.cfg.Level0:
		c.silent()
	default:
		quiet := time.AfterFunc(c.srv.cfg.LevelTimeout, c.silent)
		defer quiet.Stop()
	}
	f, err := c.read()
	if !c.decide() {
		err = c.take(f, err) // silence had decided
	} else {
		err = c.first(f, err)
	}
	if err != nil {
		c.finish(err)
		return
	}
	go c.serve()
}

// expectHello gives the client its time to say hello, unless the server has
// begun to shut down.
func (c *conn) expectHello() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shutting {
		_ = c.ws.SetReadDeadline(time.Now().Add(c.srv.cfg.HelloTimeout))
	}
}

// decide reports whether the level is open still. It is not any more then.
func (c *conn) decide() bool {
	c.opening.Lock()
	defer c.opening.Unlock()
	was := c.opened
	c.opened = true
	return !was
}

// silent makes a connection that said nothing one of level 0.
func (c *conn) silent() {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.opened {
		return
	}
	c.opened = true
	if wire := c.srv.enter0(c); wire != nil {
		c.fail("", wire)
	}
}

// first does the first frame, or what came instead of it. It returns nil if
// reading may go on.
func (c *conn) first(f signaling.Frame, err error) error {
	var wire *signaling.Error
	switch {
	case isTimeout(err):
		c.fail("", signaling.Errorf(signaling.CodeHelloRequired, "no hello within %v", c.srv.cfg.HelloTimeout))
		return err
	case err != nil && !errors.As(err, &wire):
		return err
	case wire != nil && wire.Code == signaling.CodeTooLarge:
		c.fail("", wire)
		return nil
	case wire == nil && f.Type == signaling.TypeHello && !c.srv.cfg.Level0:
		if wire := c.srv.welcome(c, f); wire != nil {
			c.fail(f.ID, wire)
		}
		return nil
	}
	return c.first0(f, err)
}

// first0 does a first frame that only a client of level 0 sends. Without a valid
// token in the header there is no such client.
func (c *conn) first0(f signaling.Frame, err error) error {
	if c.who != nil {
		if wire := c.srv.enter0(c); wire != nil {
			c.fail("", wire)
			return nil
		}
		return c.take(f, err)
	}
	if f.Type == signaling.TypeHello { // this server speaks level 0 only
		c.sendError("", signaling.Errorf(signaling.CodeUnknownType, "no type %q", f.Type))
	}
	switch {
	case c.refused != nil:
		c.fail("", c.refused)
	case c.srv.cfg.Level0:
		c.fail("", signaling.Errorf(signaling.CodeUnauthorized, "no token in the header"))
	default:
		c.fail(f.ID, signaling.Errorf(signaling.CodeHelloRequired, "the first frame is not hello"))
	}
	return nil
}
