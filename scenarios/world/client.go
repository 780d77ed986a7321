package world

import (
	"context"
	"log/slog"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// client makes a simulated client on its attachment to the network.
func (y *system) client(c scenarios.Client, log *trace.Log, url string, cfg simclient.Config) (scenarios.Caller, error) {
	profile, err := simclient.ProfileByName(c.Profile)
	if err != nil {
		return nil, err
	}
	y.know(c.User, log)
	cfg.User, cfg.Device, cfg.URL, cfg.Profile = c.User, c.Device, url, profile
	cfg.Relay, cfg.Clips = c.Has("relay"), y.clips
	if y.parts.browsers {
		cfg.Look = lookEvery
	}
	if c.Has("level0") {
		cfg.Level = new(int)
	}
	if y.turn != nil && (y.parts.level0 || c.Has("level0")) { // level 0 tells of no ICE servers: the app knows its own
		cfg.ICEServers, _ = y.turn.issuer.ICE(c.User)
	}
	cfg.Token = func(context.Context) (string, error) { return y.token(c) }
	cfg.Log, cfg.Pacer = slog.New(trace.Handler(log, c.Name)), y.pacer
	client, err := simclient.New(cfg)
	if err != nil {
		return nil, err
	}
	return &caller{Client: client}, nil
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
