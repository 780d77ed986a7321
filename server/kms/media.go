// Package kms runs the server's media through a Kurento Media Server. It is the
// only package that knows both.
package kms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
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
	// Observe is kurento.Config.Observe.
	Observe func(method string, took time.Duration, err error)
	// Endpoint are the parameters of every endpoint. The zero value sends and
	// receives.
	Endpoint kurento.WebRtcEndpointOptions
	// Mixer are the size and the rate of a mixer's picture. The zero value is
	// Kurento's: 800 by 600 pixels, 15 a second.
	Mixer kurento.CompositeOptions
	// LostAfter is how long the media server may be away, or silent, before every
	// object is told to be lost. Zero is DefaultLostAfter.
	LostAfter time.Duration
}

// DefaultLostAfter outlasts a connection that breaks and is made anew, and is
// well below the time after which users give up a silent call.
const DefaultLostAfter = 5 * time.Second

// comeBack is how long a new pipeline waits for a media server that is just
// away. A restarted Kurento listens after 0.1 s.
const comeBack = time.Second

// Media is a server.Media on one Kurento Media Server. It holds one session
// with it, and comes back to it by itself when the connection is lost.
type Media struct {
	client    *kurento.Client
	log       *slog.Logger
	options   kurento.WebRtcEndpointOptions
	composite kurento.CompositeOptions
	lostAfter time.Duration

	mu      sync.Mutex
	watched []*watcher                    // in the order in which they were made, until they are released or lost
	absence *time.Timer                   // runs out when the media server has been away for too long
	losses  int                           // counts the connection's losses and returns, to know a timer that is late
	gone    bool                          // it has been
	lost    int                           // how often every object was told to be lost
	alive   map[kurento.ObjectID]struct{} // pipelines that the media server has, as far as is known
	closed  bool
	work    sync.WaitGroup // releases that were put off
}

// Dial connects to the media server.
func Dial(ctx context.Context, cfg Config) (*Media, error) {
	if cfg.LostAfter < 0 {
		return nil, fmt.Errorf("media server: LostAfter is %v", cfg.LostAfter)
	}
	m := &Media{alive: make(map[kurento.ObjectID]struct{}), log: cfg.Log, options: cfg.Endpoint, composite: cfg.Mixer, lostAfter: cfg.LostAfter}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.lostAfter == 0 {
		m.lostAfter = DefaultLostAfter
	}
	var err error
	m.client, err = kurento.Dial(ctx, kurento.Config{URL: cfg.URL, Dial: cfg.Dial, Log: cfg.Log, Observe: cfg.Observe,
		PingInterval: m.lostAfter / 5, PingTimeout: m.lostAfter * 3 / 5, Backoff: backoff,
		OnLost: m.disconnected, OnReconnect: m.reconnected})
	if err != nil {
		return nil, fmt.Errorf("media server: %w", err)
	}
	return m, nil
}

// backoff is the pause before the n-th attempt to connect again: it doubles
// from 100 ms to 800 ms. There are few servers to one Kurento, so that it needs
// no chance to keep them apart; and a Kurento that is back is told from its
// first moment.
func backoff(attempt int) time.Duration {
	return 100 * time.Millisecond << min(attempt-1, 3)
}

// Ping reports whether the media server is there.
func (m *Media) Ping(ctx context.Context) error { return wrap(m.client.Ping(ctx)) }

// Close ends the connection and returns when nothing runs any more. Objects
// that were not released stay until the media server collects its garbage.
func (m *Media) Close() error {
	m.mu.Lock()
	m.closed = true
	if m.absence != nil {
		m.absence.Stop()
	}
	m.mu.Unlock()
	err := m.client.Close()
	m.work.Wait()
	return err
}

// putOff is how long a release waits for the connection to come back. The media
// server itself lets go of a session that nobody uses after 240 to 480 s.
const putOff = 10 * time.Minute

// release releases an object, and others that are in it before. Without a connection it is put off until there is
// one: whoever hangs up must not wait for the media server to come back. So it
// is when ctx has ended: what ran out of time must not stay for ever. What was
// lost with a media server that restarted needs no release.
func (m *Media) release(ctx context.Context, id kurento.ObjectID, before ...kurento.ObjectID) error {
	if !m.has(id) {
		return nil
	}
	if m.client.Connected() && ctx.Err() == nil {
		err := m.releaseNow(ctx, append(before, id))
		if lost := new(kurento.ConnectionError); !errors.As(err, &lost) {
			m.forget(id)
			return wrap(err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.work.Go(func() { m.releaseLater(id) })
	}
	return fmt.Errorf("release %s: put off: %w", id, server.ErrMediaGone)
}

func (m *Media) releaseNow(ctx context.Context, ids []kurento.ObjectID) error {
	if len(ids) == 1 {
		return m.client.Release(ctx, ids[0])
	}
	return m.client.ReleaseAll(ctx, ids...)
}

// releaseLater releases an object when there is a connection. What fails even so
// is garbage.
func (m *Media) releaseLater(id kurento.ObjectID) {
	ctx, cancel := context.WithTimeout(context.Background(), putOff)
	defer cancel()
	if m.client.Await(ctx) == nil && m.has(id) {
		_ = m.client.Release(ctx, id)
		m.forget(id)
	}
}

// keep notes that the media server has a pipeline.
func (m *Media) keep(pipeline kurento.ObjectID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive[pipeline] = struct{}{}
}

// has reports whether the media server may have an object: its pipeline was
// neither released nor lost.
func (m *Media) has(id kurento.ObjectID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.alive[pipelineOf(id)]
	return ok
}

// forget is told that an object was released.
func (m *Media) forget(id kurento.ObjectID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.alive, id)
}

// pipelineOf is the id of the pipeline that an object is in: ids are paths.
func pipelineOf(id kurento.ObjectID) kurento.ObjectID {
	root, _, _ := strings.Cut(string(id), "/")
	return kurento.ObjectID(root)
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
	case kurento.IsOverloaded(err):
		return fmt.Errorf("%w: %w", server.ErrMediaOverloaded, err)
	default:
		return err
	}
}
