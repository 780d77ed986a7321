package simclient

import (
	"context"
	"log/slog"

	"github.com/callbench/callbench/simclient/media"
)

// SetMuted stops sending one kind of media, or goes on, in this call and in later
// ones. Nothing is sent meanwhile: whoever receives it hears silence, not loss.
func (c *Client) SetMuted(ctx context.Context, kind media.Kind, muted bool) error {
	return c.wrap("mute "+string(kind), c.do(ctx, func(done func(error)) {
		c.muted[kind] = muted
		if c.call != nil && c.call.media != nil {
			for _, s := range c.call.media.made {
				s.mute(c.muted[s.kind])
			}
		}
		c.callEvent(c.call, eventMuted, slog.String("media", string(kind)), slog.Bool("muted", muted))
		done(nil)
	}))
}

// mute lets a sender send nothing, or go on.
func (s *sender) mute(muted bool) {
	for _, v := range s.voices {
		v.source.SetMuted(muted)
	}
}
