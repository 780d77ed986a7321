package world

import (
	"context"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
)

// client makes a simulated client on its attachment to the network.
func (y *system) client(c scenarios.Client, log *trace.Log, url string, cfg simclient.Config) (scenarios.Caller, error) {
	y.know(c.User, log)
	cfg.URL = url
	if y.turn != nil && (y.parts.level0 || c.Has("level0")) { // level 0 tells of no ICE servers: the app knows its own
		cfg.ICEServers, _ = y.turn.issuer.ICE(c.User)
	}
	cfg.Token = func(context.Context) (string, error) { return y.token(c) }
	return y.crew.caller(c, log, cfg)
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

// AskHistory implements scenarios.Archivist.
func (c *caller) AskHistory(ctx context.Context, q signaling.HistoryQuery) (err error) {
	if q.What != "" {
		c.asked = q
	}
	c.asked.Cursor, err = c.History(ctx, c.asked)
	return err
}
