package simclient

import (
	"context"
	"log/slog"
	"time"

	"github.com/callbench/callbench/signaling"
)

// A token is renewed when 4/5 of its life are over. If that fails it is tried
// again at 4/5 of the rest, but not more often than this.
const refreshPause = time.Second

// RefreshToken gets a new token from Config.Token and shows it to the server. It
// returns when the server has taken it, or refused it with an *signaling.Error.
func (c *Client) RefreshToken(ctx context.Context) error {
	return c.wrap("refresh the token", c.do(ctx, c.refreshToken))
}

// refreshToken gets the token beside the queue.
func (c *Client) refreshToken(done func(error)) {
	switch {
	case c.cfg.Token == nil:
		done(ErrNoToken)
		return
	case !c.session.begun:
		done(ErrNotConnected)
		return
	}
	c.group.Go(func() {
		token, err := c.token(c.ctx)
		c.q.Do(func() {
			switch {
			case c.link.state == linkClosed: // nobody waits
			case err != nil:
				done(err)
			default:
				c.showToken(token, done)
			}
		})
	})
}

func (c *Client) showToken(token string, done func(error)) {
	c.request(&request{done: func(f signaling.Frame, err error) {
		var ack signaling.TokenTTL
		if err == nil {
			err = f.Into(&ack)
		}
		if err == nil {
			c.event(eventTokenRefreshed, slog.Int("ttl", ack.TokenTTL))
			c.tokenTTL(ack.TokenTTL)
		}
		done(err)
	}}, signaling.TypeToken, "", signaling.Token{Token: token})
}

// tokenTTL plans to renew a token that runs out so many seconds from now. 0 says
// nothing new.
func (c *Client) tokenTTL(seconds int) {
	if seconds <= 0 || c.cfg.Token == nil {
		return
	}
	c.session.expires = time.Now().Add(time.Duration(seconds) * time.Second)
	c.planRefresh()
}

func (c *Client) planRefresh() {
	c.session.refresh.stop()
	rest := time.Until(c.session.expires)
	if rest < refreshPause {
		return // the server closes with token_expired, and the next connection has a new one
	}
	c.session.refresh = c.after(max(rest*4/5, refreshPause), func() {
		c.refreshToken(func(err error) {
			if err != nil && c.session.begun {
				c.failure(nil, "refresh the token", err)
				c.planRefresh()
			}
		})
	})
}
