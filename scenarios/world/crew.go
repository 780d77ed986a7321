package world

import (
	"fmt"
	"log/slog"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// crew makes the simulated clients of a world, and sends what they send.
type crew struct {
	clips []*media.Clip // nil is what they send by themselves
	pacer *media.Pacer
}

// newCrew makes clients whose video has this bit rate, in the words of the setting.
func newCrew(video string, workers int) (*crew, error) {
	clips, err := loadClips(video)
	if err != nil {
		return nil, err
	}
	return &crew{clips: clips, pacer: media.NewPacer(media.PacerConfig{Workers: workers})}, nil
}

// loadClips takes other clips than the clients' own for video of a high bit rate.
func loadClips(video string) (clips []*media.Clip, err error) {
	if video != "500k" {
		return nil, nil
	}
	for _, name := range []string{media.ClipOpus, media.ClipVP8Load} {
		clip, err := media.Load(name)
		if err != nil {
			return nil, fmt.Errorf("load clips: %w", err)
		}
		clips = append(clips, clip)
	}
	return clips, nil
}

// caller makes a client of the scenario. What stands in cfg is of its world.
func (w *crew) caller(c scenarios.Client, log *trace.Log, cfg simclient.Config) (scenarios.Caller, error) {
	profile, err := simclient.ProfileByName(c.Profile)
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Device, cfg.Profile = c.User, c.Device, profile
	cfg.Relay, cfg.Clips = c.Has("relay"), w.clips
	if c.Has("level0") {
		cfg.Level = new(int)
	}
	cfg.Log, cfg.Pacer = slog.New(trace.Handler(log, c.Name)), w.pacer
	client, err := simclient.New(cfg)
	if err != nil {
		return nil, err
	}
	return &caller{Client: client}, nil
}

func (w *crew) close() error {
	if w == nil {
		return nil
	}
	return w.pacer.Close()
}
