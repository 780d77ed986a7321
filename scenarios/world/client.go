package world

import (
	"context"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// client makes a simulated client on its attachment to the network.
func (y *system) client(c scenarios.Client, log *trace.Log, url string, cfg simclient.Config) (scenarios.Caller, error) {
	return y.crew.caller(c, log, y.admit(c, log, url, cfg))
}

// admit lets a client in: the system knows its user, and it has what it shows.
func (y *system) admit(c scenarios.Client, log *trace.Log, url string, cfg simclient.Config) simclient.Config {
	y.know(c.User, log)
	cfg.URL = url
	if y.turn != nil && (y.parts.level0 || c.Has("level0")) { // level 0 tells of no ICE servers: the app knows its own
		cfg.ICEServers, _ = y.turn.issuer.ICE(c.User)
	}
	cfg.Token = func(context.Context) (string, error) { return y.token(c) }
	return cfg
}

// caller says in the words of scripts what a client does.
type caller struct {
	*simclient.Client
	asked signaling.HistoryQuery // the last one, for the page behind it
}

// Join implements scenarios.RoomMember.
func (c *caller) Join(ctx context.Context, room, kind, role string) error {
	return c.Client.Join(ctx, room, simclient.RoomOptions{Type: kind, Role: signaling.Role(role)})
}

// SetRole implements scenarios.RoomMember.
func (c *caller) SetRole(ctx context.Context, user, role string) error {
	return c.Client.SetRole(ctx, user, signaling.Role(role))
}

// Mute implements scenarios.Party.
func (c *caller) Mute(ctx context.Context, kind string, on bool) error {
	return c.SetMuted(ctx, media.Kind(kind), on)
}

// AskHistory implements scenarios.Archivist.
func (c *caller) AskHistory(ctx context.Context, q signaling.HistoryQuery) (err error) {
	if q.What != "" {
		c.asked = q
	}
	c.asked.Cursor, err = c.History(ctx, c.asked)
	return err
}
