package world

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// crew makes the simulated clients of a world, and sends what they send.
type crew struct {
	clips []*media.Clip // nil is what they send by themselves
	look  time.Duration // how often they look at pictures; 0 is not at all
	pacer *media.Pacer
	tabs  tabs // those that are real browsers
}

// newCrew makes clients whose video has this bit rate, in the words of the setting.
func newCrew(video string, workers int) (*crew, error) {
	clips, err := loadClips(video)
	if err != nil {
		return nil, err
	}
	w := &crew{clips: clips, pacer: media.NewPacer(media.PacerConfig{Workers: workers})}
	if video == media.ClipBarcode {
		w.look = lookEvery
	}
	return w, nil
}

// loadClips takes other clips than the clients' own for video of a high bit rate,
// and for browsers, which are to see whom they see.
func loadClips(video string) (clips []*media.Clip, err error) {
	names := []string{media.ClipOpus}
	switch video {
	case media.ClipBarcode:
		names = append(names, media.ClipBarcode)
	case "500k":
		names = append(names, media.ClipVP8Load)
	default:
		return nil, nil
	}
	for _, name := range names {
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
	cfg.Relay, cfg.Clips, cfg.Look = c.Has("relay"), w.clips, w.look
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
	return errors.Join(w.closeTabs(), w.pacer.Close())
}
