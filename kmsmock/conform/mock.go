package conform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kmsmock/transcript"
)

// PlayMock replays a transcript against a kmsmock that is set up as the
// recording needs it. Unless the recording needs sockets (see NeedsOf), it
// belongs into a testing/synctest bubble: everything is in memory, and hours of
// recording take no time.
func PlayMock(ctx context.Context, file string, lines []transcript.Line) []Difference {
	m := &mock{needs: NeedsOf(filepath.Base(file), lines)}
	target, err := m.open()
	if err != nil {
		return []Difference{{File: filepath.Base(file), Line: 1, Text: fmt.Sprintf("set up the mock: %v", err)}}
	}
	out := Play(ctx, file, lines, target)
	if err := m.close(); err != nil {
		out = append(out, Difference{File: filepath.Base(file), Line: len(lines), Text: fmt.Sprintf("close the mock: %v", err)})
	}
	return out
}

// A mock is an embedded server with its network.
type mock struct {
	needs    Needs
	config   kmsmock.Config
	server   *kmsmock.Server
	listener *memListener
	served   chan error
	router   *vnet.Router
	hosts    int
}

func (m *mock) open() (Target, error) {
	m.config = kmsmock.Config{Seed: 1, CollectorPeriod: m.needs.CollectorPeriod, DisableRequestCache: m.needs.NoRequestCache, Warm: m.needs.Warm}
	if m.needs.NoResources {
		m.config.Faults.ThreadLimit = -1
	}
	root, err := os.MkdirTemp("", "callbench-conform-")
	if err != nil {
		return Target{}, fmt.Errorf("make a folder for recordings: %w", err)
	}
	m.config.FileRoot = root
	if err := writeClips(root, m.needs.Clips); err != nil {
		return Target{}, err
	}
	target := Target{URL: "ws://mock/kurento", Stop: m.stop, Start: m.start}
	if m.needs.Sockets {
		m.config.Interfaces = []string{"lo"}
	} else if err := m.network(&target); err != nil {
		return target, err
	}
	if err := m.start(); err != nil {
		return target, err
	}
	target.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return m.listener.dial(ctx, network, address)
	}
	return target, nil
}

// network makes a virtual network with the server as its first host.
func (m *mock) network(target *Target) error {
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}})
	if err != nil {
		return err
	}
	m.router = router
	m.config.Interfaces = []string{"eth0"} // of a virtual host
	host := func() transport.Net {
		m.hosts++
		n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{fmt.Sprintf("10.0.0.%d", m.hosts)}})
		if err == nil {
			err = router.AddNet(n)
		}
		if err != nil {
			panic(fmt.Sprintf("add a host to the network: %v", err))
		}
		return n
	}
	m.config.Net = host()
	target.PeerNet = host
	return router.Start()
}

// start starts the server, and starts it again with other ids after stop.
func (m *mock) start() error {
	server, err := kmsmock.New(m.config)
	if err != nil {
		return err
	}
	m.config.Seed++
	m.server, m.listener, m.served = server, newMemListener(), make(chan error, 1)
	go func() { m.served <- server.Serve(m.listener) }()
	return nil
}

func (m *mock) stop() error {
	if m.server == nil {
		return nil
	}
	err := m.server.Close()
	m.listener.Close()
	err = errors.Join(err, <-m.served)
	m.server = nil
	return err
}

func (m *mock) close() error {
	err := errors.Join(m.stop(), os.RemoveAll(m.config.FileRoot))
	if m.router != nil {
		err = errors.Join(err, m.router.Stop())
	}
	return err
}
