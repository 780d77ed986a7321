// Package kms runs the server's media through a Kurento Media Server. It is the
// only package that knows both.
package kms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// Config says where the media server is.
type Config struct {
	// URL of the media server, "ws://host:8888/kurento".
	URL string
	// Dial opens the TCP connection; nil is that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Log receives the events of package kurento; nil discards them.
	Log *slog.Logger
	// Endpoint are the parameters of every endpoint. The zero value sends and
	// receives.
	Endpoint kurento.WebRtcEndpointOptions
}

// Media is a server.Media on one Kurento Media Server. It holds one session
// with it, and comes back to it by itself when the connection is lost.
type Media struct {
	client  *kurento.Client
	options kurento.WebRtcEndpointOptions

	mu        sync.Mutex
	endpoints map[*endpoint]struct{} // that have not been released
	closed    bool
	work      sync.WaitGroup // releases that were put off
}

// Dial connects to the media server.
func Dial(ctx context.Context, cfg Config) (*Media, error) {
	m := &Media{options: cfg.Endpoint, endpoints: make(map[*endpoint]struct{})}
	var err error
	m.client, err = kurento.Dial(ctx, kurento.Config{URL: cfg.URL, Dial: cfg.Dial, Log: cfg.Log, OnReconnect: m.reconnected})
	if err != nil {
		return nil, fmt.Errorf("media server: %w", err)
	}
	return m, nil
}

// Close ends the connection and returns when nothing runs any more. Objects
// that were not released stay until the media server collects its garbage.
func (m *Media) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	err := m.client.Close()
	m.work.Wait()
	return err
}

// reconnected is told that there is a connection again. If the media server has
// forgotten the session, every endpoint is lost.
func (m *Media) reconnected(r kurento.Reconnected) {
	if r.Resumed() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := range m.endpoints {
		e.tell(server.MediaEvent{Kind: server.MediaLost, Detail: "the media server lost the session"})
	}
}

// putOff is how long a release waits for the connection to come back. The media
// server itself lets go of a session that nobody uses after 240 to 480 s.
const putOff = 10 * time.Minute

// release releases an object. Without a connection it is put off until there is
// one: whoever hangs up must not wait for the media server to come back. So it
// is when ctx has ended: what ran out of time must not stay for ever.
func (m *Media) release(ctx context.Context, id kurento.ObjectID) error {
	if m.client.Connected() && ctx.Err() == nil {
		err := m.client.Release(ctx, id)
		if lost := new(kurento.ConnectionError); !errors.As(err, &lost) {
			return wrap(err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), putOff)
			defer cancel()
			_ = m.client.Release(ctx, id) // it waits for a connection; what fails even so is garbage
		})
	}
	return fmt.Errorf("release %s: put off: %w", id, server.ErrMediaGone)
}

// wrap says in the server's terms what an error of Kurento's means for it.
func wrap(err error) error {
	switch lost := new(kurento.ConnectionError); {
	case err == nil:
		return nil
	case kurento.HasCode(err, kurento.CodeSDPParse):
		return fmt.Errorf("%w: %w", server.ErrSDPRefused, err)
	case kurento.IsNotFound(err), kurento.IsInvalidSession(err), errors.As(err, &lost), errors.Is(err, kurento.ErrClosed):
		return fmt.Errorf("%w: %w", server.ErrMediaGone, err)
	default:
		return err
	}
}

// NewPipeline implements server.Media.
func (m *Media) NewPipeline(ctx context.Context) (server.Pipeline, error) {
	p, err := m.client.CreateMediaPipeline(ctx)
	if err != nil {
		return nil, wrap(err)
	}
	return &pipeline{media: m, kurento: p}, nil
}

type pipeline struct {
	media   *Media
	kurento kurento.MediaPipeline
}

// ID implements server.Pipeline.
func (p *pipeline) ID() string { return string(p.kurento.ID()) }

// Release implements server.Pipeline.
func (p *pipeline) Release(ctx context.Context) error {
	p.media.mu.Lock()
	for e := range p.media.endpoints {
		if e.pipeline == p {
			delete(p.media.endpoints, e)
		}
	}
	p.media.mu.Unlock()
	return p.media.release(ctx, p.kurento.ID())
}
