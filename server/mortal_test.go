package server_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// life ends when its server is killed: then nothing passes to what is around it.
type life struct {
	over  atomic.Bool
	state *store.Redis
}

var errKilled = errors.New("the server was killed")

func (l *life) err() error {
	if l.over.Load() {
		return errKilled
	}
	return nil
}

type mortalHistory struct {
	server.History
	life *life
}

func (m mortalHistory) RoomEnded(ctx context.Context, r server.RoomHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.RoomEnded(ctx, r)
}

func (m mortalHistory) MemberLeft(ctx context.Context, r server.MemberHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.MemberLeft(ctx, r)
}

func (m mortalHistory) CallChanged(ctx context.Context, c server.CallHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.CallChanged(ctx, c)
}

func (m mortalHistory) RoomStarted(ctx context.Context, r server.RoomHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.RoomStarted(ctx, r)
}

func (m mortalHistory) MemberJoined(ctx context.Context, r server.MemberHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.MemberJoined(ctx, r)
}

func (m mortalHistory) RecordingChanged(ctx context.Context, r server.RecordingHistory) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.History.RecordingChanged(ctx, r)
}

type mortalInbox struct {
	server.Inbox
	life *life
}

func (m mortalInbox) Put(ctx context.Context, owner string, msg signaling.Message) (server.Letter, bool, error) {
	if err := m.life.err(); err != nil {
		return server.Letter{}, false, err
	}
	return m.Inbox.Put(ctx, owner, msg)
}

type mortalMedia struct {
	server.Media
	life *life
}

func (m mortalMedia) NewPipeline(ctx context.Context) (server.Pipeline, error) {
	p, err := m.Media.NewPipeline(ctx)
	return mortalPipeline{p, m.life}, errors.Join(err, m.life.err())
}

func (m mortalMedia) NewCall(ctx context.Context, on func(server.MediaEvent)) (server.Pipeline, server.Endpoint, error) {
	p, e, err := m.Media.NewCall(ctx, on)
	if err != nil {
		return nil, nil, err
	}
	return mortalPipeline{p, m.life}, mortalEndpoint{e, m.life}, m.life.err()
}

func (m mortalMedia) Pipeline(ctx context.Context, id string) (server.Pipeline, error) {
	p, err := m.Media.Pipeline(ctx, id)
	if err != nil {
		return nil, err
	}
	return mortalPipeline{p, m.life}, nil
}

type mortalPipeline struct {
	server.Pipeline
	life *life
}

func (m mortalPipeline) NewEndpoint(ctx context.Context, peer server.Endpoint, on func(server.MediaEvent)) (server.Endpoint, error) {
	if err := m.life.err(); err != nil {
		return nil, err
	}
	e, err := m.Pipeline.NewEndpoint(ctx, peer, on)
	return mortalEndpoint{e, m.life}, err
}

func (m mortalPipeline) Endpoint(ctx context.Context, id string, on func(server.MediaEvent)) (server.Endpoint, error) {
	e, err := m.Pipeline.Endpoint(ctx, id, on)
	if err != nil {
		return nil, err
	}
	return mortalEndpoint{e, m.life}, nil
}

func (m mortalPipeline) Release(ctx context.Context) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.Pipeline.Release(ctx)
}

type mortalEndpoint struct {
	server.Endpoint
	life *life
}

func (m mortalEndpoint) Release(ctx context.Context) error {
	if err := m.life.err(); err != nil {
		return err
	}
	return m.Endpoint.Release(ctx)
}
