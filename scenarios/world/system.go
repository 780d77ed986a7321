// Package world holds the worlds that scenarios are played in. In all of them
// runs the same system: signaling server, media server, Redis and the clients;
// what differs is how real its parts and its time are.
package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// Plant puts a known fault into the system, so that tests can show that the
// harness finds it. The zero value plants none.
type Plant struct {
	KMS   kmsmock.Faults
	Front func(server http.Handler) http.Handler // stands between clients and server
	// History stands between the server and its history.
	History func(server.History) server.History
}

// dialer is how parts reach each other.
type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// system is what all worlds of one process have in common.
type system struct {
	log     *trace.Log
	redis   *miniredis.Miniredis
	state   *store.Redis
	history *store.MemoryHistory
	mock    *kmsmock.Server // nil if the media server is a real one
	control *kurento.Client // for probes
	before  map[string]bool // objects that the media server held when the world began
	media   *kms.Media
	turn    *relays       // nil if the scenario needs none
	level0  bool          // the server speaks level 0 of the protocol only
	clips   []*media.Clip // what clients send; nil is what they send by themselves
	server  *server.Server
	web     *http.Server
	pacer   *media.Pacer
	access
	running sync.WaitGroup
}

// parts says where a world puts the system's parts.
type parts struct {
	kmsURL      string
	kmsDial     dialer
	kmsListener net.Listener // of the mock; nil if the media server is a real one
	mock        kmsmock.Config
	webListener net.Listener
	newID       func(kind, user string) string
	workers     int        // of the pacer
	level0      bool       // the server speaks level 0 of the protocol only
	video       string     // bit rate of the clients' video
	turn        *turnParts // nil: no TURN server
	plant       Plant
}

// start brings the system up in the order in which its parts need each other.
func (y *system) start(ctx context.Context, p parts) error {
	y.access.init()
	y.level0 = p.level0
	if err := y.loadClips(p.video); err != nil {
		return err
	}
	y.pacer = media.NewPacer(media.PacerConfig{Workers: p.workers})
	if err := y.startMedia(ctx, p); err != nil {
		return err
	}
	y.redis = miniredis.NewMiniRedis()
	y.redis.ClockTTL(true)
	y.state = store.NewRedis(store.RedisConfig{Dial: y.dialRedis})
	y.history = store.NewMemoryHistory()
	var history server.History = recorded{y.history, y.log}
	if p.plant.History != nil {
		history = p.plant.History(history)
	}
	cfg := server.Config{Auth: server.JWT(y.secret), Media: y.media, State: y.state, History: history, Inbox: &store.MemoryInbox{}, Relations: &y.access,
		Log: y.logger("server"), NewID: p.newID, AllowLoopback: true, Level0: p.level0}
	if p.turn != nil {
		if err := y.startTURN(*p.turn); err != nil {
			return err
		}
		cfg.ICE = y.turn.issuer.ICE
	}
	srv, err := server.New(cfg)
	if err != nil {
		return err
	}
	y.server = srv
	var front http.Handler = srv
	if p.plant.Front != nil {
		front = p.plant.Front(srv)
	}
	y.web = &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	y.running.Go(func() {
		if err := y.web.Serve(p.webListener); !errors.Is(err, http.ErrServerClosed) {
			y.log.Add("server", "web.failed", trace.String("error", err.Error()))
		}
	})
	return nil
}

// startMedia starts the mock, if there is to be one, and connects to the media
// server: once for the signaling server and once for probes.
func (y *system) startMedia(ctx context.Context, p parts) error {
	if p.kmsListener != nil {
		p.mock.Log, p.mock.Faults = y.logger("kms"), p.plant.KMS
		mock, err := kmsmock.New(p.mock)
		if err != nil {
			return err
		}
		y.mock = mock
		y.running.Go(func() {
			if err := mock.Serve(p.kmsListener); err != nil {
				y.log.Add("kms", "kms.failed", trace.String("error", err.Error()))
			}
		})
	}
	m, err := kms.Dial(ctx, kms.Config{URL: p.kmsURL, Dial: p.kmsDial, Log: y.logger("server")})
	if err != nil {
		return fmt.Errorf("connect to the media server: %w", err)
	}
	y.media = m
	if y.mock != nil {
		return nil
	}
	y.control, err = kurento.Dial(ctx, kurento.Config{URL: p.kmsURL, Dial: p.kmsDial})
	if err != nil {
		return fmt.Errorf("connect to the media server: %w", err)
	}
	left, err := y.mediaObjects(ctx)
	y.before = map[string]bool{}
	for _, id := range left {
		y.before[id] = true
	}
	return err
}

// loadClips takes other clips than the clients' own for video of a high bit rate.
func (y *system) loadClips(video string) error {
	if video != "500k" {
		return nil
	}
	for _, name := range []string{media.ClipOpus, media.ClipVP8Load} {
		clip, err := media.Load(name)
		if err != nil {
			return fmt.Errorf("load clips: %w", err)
		}
		y.clips = append(y.clips, clip)
	}
	return nil
}

func (y *system) logger(actor string) *slog.Logger { return slog.New(trace.Handler(y.log, actor)) }

// client makes a simulated client on its attachment to the network.
func (y *system) client(c scenarios.Client, log *trace.Log, url string, cfg simclient.Config) (scenarios.Caller, error) {
	profile, err := simclient.ProfileByName(c.Profile)
	if err != nil {
		return nil, err
	}
	y.know(c.User, log)
	cfg.User, cfg.Device, cfg.URL, cfg.Profile = c.User, c.Device, url, profile
	cfg.Relay, cfg.Clips = c.Has("relay"), y.clips
	if c.Has("level0") {
		cfg.Level = new(int)
	}
	if y.turn != nil && (y.level0 || c.Has("level0")) { // level 0 tells of no ICE servers: the app knows its own
		cfg.ICEServers, _ = y.turn.issuer.ICE(c.User)
	}
	cfg.Token = func(context.Context) (string, error) { return y.token(c) }
	cfg.Log, cfg.Pacer = slog.New(trace.Handler(log, c.Name)), y.pacer
	return simclient.New(cfg)
}

// mediaObjects lists what the media server holds: the mock tells of every
// object, a real one of its pipelines.
func (y *system) mediaObjects(ctx context.Context) ([]string, error) {
	if y.mock != nil {
		return y.mock.Left(), nil
	}
	ids, err := y.control.ServerManager().Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out, nil
}

// Settle implements scenarios.World.
func (y *system) Settle() time.Duration { return 15 * time.Second }

// close ends everything in the opposite order of start. The clients are closed
// already.
func (y *system) close() error {
	var errs []error
	if y.web != nil {
		errs = append(errs, y.web.Close())
		y.server.Close()
		errs = append(errs, y.state.Close())
	}
	if y.redis != nil {
		y.redis.Close()
	}
	errs = append(errs, y.closeTURN())
	if y.media != nil {
		errs = append(errs, y.media.Close())
	}
	if y.control != nil {
		errs = append(errs, y.control.Close())
	}
	if y.mock != nil {
		errs = append(errs, y.mock.Close())
	}
	errs = append(errs, y.pacer.Close())
	y.running.Wait()
	return errors.Join(errs...)
}

// Version is the release of Callbench.
const Version = "0.1.0"

// Tool is the name and version that reports carry.
func Tool() string { return "callbench " + Version }

// versions is what a world is made of that has everything in this process.
func versions() map[string]string {
	return map[string]string{"callbench": Version, "go": runtime.Version(), "kurento": "kmsmock of 7.3.0",
		"redis": "miniredis " + library("github.com/alicebob/miniredis/v2"), "webrtc": "pion " + library("github.com/pion/webrtc/v4")}
}

// library is the version of a module that the binary was built with.
func library(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
