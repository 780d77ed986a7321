// Package world holds the worlds that scenarios are played in. In all of them
// runs the same system: signaling server, media server, Redis and the clients;
// what differs is how real its parts and its time are.
package world

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
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
	log       *trace.Log
	parts     parts
	redis     *miniredis.Miniredis
	redisLine redisLine
	history   *store.MemoryHistory
	inbox     *store.MemoryInbox
	mock      *kmsmock.Server // nil if the media server is a real one
	pipelines *pipelines      // of a real media server, for probes
	files     string          // folder of the mock's recordings; "" if there are none
	turn      *relays         // nil if the scenario needs none
	crew      *crew           // makes the clients
	instance  *instance       // the signaling server; nil while it is dead
	access
	revoked store.MemoryRevocations
	running sync.WaitGroup
}

// parts says where a world puts the system's parts.
type parts struct {
	kmsURL      string
	kmsDial     dialer
	kmsListener net.Listener // of the mock; nil if the media server is a real one
	mock        kmsmock.Config
	listenWeb   func() (net.Listener, error)
	newID       func(kind, user string) string
	workers     int           // of the pacer
	level0      bool          // the server speaks level 0 of the protocol only
	video       string        // bit rate of the clients' video
	turn        *turnParts    // nil: no TURN server
	mortal      bool          // the scenario kills the signaling server
	tamper      bool          // it meddles with Redis
	records     bool          // it makes recordings
	pushes      bool          // devices that are not connected are woken
	roomLimit   int           // members of a room of several; 0 is as the server has it
	window      time.Duration // in which sessions can be resumed; 0 is as the server has it
	plant       Plant
}

// demand notes what a scenario does to the system's parts.
func (p *parts) demand(s *scenarios.Scenario) {
	p.level0, p.video = s.Level() == 0, s.Video()
	p.mortal, p.tamper, p.records = slices.Contains(s.Needs, "server-control"), slices.Contains(s.Needs, "redis-control"), slices.Contains(s.Needs, "files")
	p.pushes, p.roomLimit = slices.Contains(s.Needs, "push"), s.RoomLimit()
	p.window = s.ResumeWindow()
}

// start brings the system up in the order in which its parts need each other.
func (y *system) start(ctx context.Context, p parts) error {
	y.access.init()
	y.parts = p
	var err error
	if y.crew, err = newCrew(p.video, p.workers); err != nil {
		return err
	}
	if err := y.startMedia(ctx); err != nil {
		return err
	}
	y.redis = miniredis.NewMiniRedis()
	y.redis.ClockTTL(true)
	y.redisLine.inner = y.dialRedis
	if p.tamper {
		y.redisLine.link = netsim.NewLink(netsim.LinkConfig{Host: "redis", Log: y.logger("net")})
	}
	y.history, y.inbox = &store.MemoryHistory{MaxRows: math.MaxInt}, new(store.MemoryInbox) // a run is judged by all of it
	if p.turn != nil {
		if err := y.startTURN(*p.turn); err != nil {
			return err
		}
	}
	v, err := y.newInstance(ctx)
	y.instance = v
	return err
}

// startMedia starts the mock, if there is to be one, or connects to the media
// server for probes.
func (y *system) startMedia(ctx context.Context) error {
	p := &y.parts
	if p.kmsListener != nil {
		return y.startMock(p.mock)
	}
	if p.records {
		if err := y.makeFolder(); err != nil {
			return err
		}
	}
	var err error
	y.pipelines, err = openPipelines(ctx, kurento.Config{URL: p.kmsURL, Dial: p.kmsDial})
	return err
}

func (y *system) startMock(cfg kmsmock.Config) error {
	cfg.Log, cfg.Faults = y.logger("kms"), y.parts.plant.KMS
	if y.parts.records {
		if err := y.makeFolder(); err != nil {
			return err
		}
		cfg.FileRoot = y.files
	}
	mock, err := kmsmock.New(cfg)
	if err != nil {
		return err
	}
	y.mock = mock
	y.running.Go(func() {
		if err := mock.Serve(y.parts.kmsListener); err != nil {
			y.log.Add("kms", "kms.failed", trace.String("error", err.Error()))
		}
	})
	return nil
}

func (y *system) logger(actor string) *slog.Logger { return slog.New(trace.Handler(y.log, actor)) }

// mediaObjects finds what the media server holds: the mock tells of every
// object, a real one of its pipelines.
func (y *system) mediaObjects(ctx context.Context) (found []scenarios.Finding, err error) {
	if y.mock == nil {
		return y.pipelines.look(ctx)
	}
	for _, id := range y.mock.Left() {
		found = append(found, left("kms", id))
	}
	return found, nil
}

// Settle implements scenarios.World.
func (y *system) Settle() time.Duration { return 15 * time.Second }

// close ends everything in the opposite order of start. The clients are closed
// already.
func (y *system) close() error {
	var errs []error
	errs = append(errs, y.crew.closeTabs())
	if y.instance != nil {
		errs = append(errs, y.instance.close())
	}
	if y.redisLine.link != nil {
		y.redisLine.link.Close()
	}
	if y.redis != nil {
		y.redis.Close()
	}
	errs = append(errs, y.closeTURN())
	if y.pipelines != nil {
		errs = append(errs, y.pipelines.close())
	}
	if y.mock != nil {
		errs = append(errs, y.mock.Close())
	}
	errs = append(errs, y.crew.close())
	y.running.Wait()
	if y.files != "" {
		errs = append(errs, os.RemoveAll(y.files))
	}
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
