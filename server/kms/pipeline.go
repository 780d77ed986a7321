package kms

import (
	"context"
	"fmt"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// pipeline is a MediaPipeline.
type pipeline struct {
	media   *Media
	kurento kurento.MediaPipeline
}

// NewPipeline implements server.Media. A call that begins while the media
// server is away is refused soon: its caller waits.
func (m *Media) NewPipeline(ctx context.Context) (server.Pipeline, error) {
	if err := m.present(ctx); err != nil {
		return nil, err
	}
	p, err := m.client.CreateMediaPipeline(ctx)
	if err != nil {
		return nil, wrap(err)
	}
	m.keep(p.ID())
	return &pipeline{media: m, kurento: p}, nil
}

// Pipeline implements server.Media.
func (m *Media) Pipeline(ctx context.Context, id string) (server.Pipeline, error) {
	if err := m.present(ctx); err != nil {
		return nil, err
	}
	if err := m.exists(ctx, kurento.ObjectID(id), "MediaPipeline"); err != nil {
		return nil, err
	}
	m.keep(kurento.ObjectID(id))
	return &pipeline{media: m, kurento: m.client.MediaPipeline(kurento.ObjectID(id))}, nil
}

// present waits a moment for a media server that is away.
func (m *Media) present(ctx context.Context) error {
	m.mu.Lock()
	gone := m.gone
	m.mu.Unlock()
	if gone {
		return fmt.Errorf("the media server is away: %w", server.ErrMediaGone)
	}
	ctx, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	return wrap(m.client.Await(ctx))
}

// exists reports an object that the media server does not know as gone. From
// then on the session holds the object.
func (m *Media) exists(ctx context.Context, id kurento.ObjectID, class string) error {
	if id == "" { // Kurento would miss the parameter
		return fmt.Errorf("%w: no %s is named", server.ErrMediaGone, class)
	}
	d, err := m.client.Describe(ctx, id)
	switch {
	case err != nil:
		return wrap(err)
	case d.Type != class:
		return fmt.Errorf("%w: %s is a %s and not a %s", server.ErrMediaGone, id, d.Type, class)
	default:
		return nil
	}
}

// ID implements server.Pipeline.
func (p *pipeline) ID() string { return string(p.kurento.ID()) }

// Release implements server.Pipeline.
func (p *pipeline) Release(ctx context.Context) error {
	p.unwatch()
	return p.media.release(ctx, p.kurento.ID())
}

// ReleaseWith implements server.Pipeline.
func (p *pipeline) ReleaseWith(ctx context.Context, last server.Endpoint) error {
	p.unwatch()
	return p.media.release(ctx, p.kurento.ID(), kurento.ObjectID(last.ID()))
}

// unwatch is the end of telling of anything in the pipeline.
func (p *pipeline) unwatch() {
	p.media.unwatch(func(w *watcher) bool { return w.pipeline.ID() == p.ID() })
}
