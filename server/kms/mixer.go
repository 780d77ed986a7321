package kms

import (
	"context"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// mixer is a Composite.
type mixer struct {
	media   *Media
	kurento kurento.Composite
}

// NewMixer implements server.Pipeline.
func (p *pipeline) NewMixer(ctx context.Context) (server.Mixer, error) {
	k, err := p.kurento.CreateComposite(ctx, p.media.composite)
	if err != nil {
		return nil, wrap(err)
	}
	return mixer{p.media, k}, nil
}

// ID implements server.Mixer.
func (m mixer) ID() string { return string(m.kurento.ID()) }

// NewPort implements server.Mixer.
func (m mixer) NewPort(ctx context.Context) (server.Element, error) {
	k, err := m.kurento.CreateHubPort(ctx)
	if err != nil {
		return nil, wrap(err)
	}
	return element{media: m.media, kurento: k.MediaElement}, nil
}

// Release implements server.Mixer.
func (m mixer) Release(ctx context.Context) error { return m.media.release(ctx, m.kurento.ID()) }
