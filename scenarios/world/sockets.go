package world

import (
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/pion/transport/v5/stdnet"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
)

// sockets are this machine's own, behind a link for each device. Faults of the
// network are done there, on what the client itself sends and gets, so that no
// privilege is needed.
type sockets struct {
	seed int64
	line *slog.Logger // of the links

	mu    sync.Mutex // under load many calls share the world
	links map[string]*netsim.Link
}

func newSockets(seed int64, log *trace.Log) *sockets {
	return &sockets{seed: seed, line: slog.New(trace.Handler(log, "net")), links: map[string]*netsim.Link{}}
}

// link is the attachment of a device to the network.
func (s *sockets) link(c scenarios.Client) *netsim.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.User + "/" + c.Device
	if s.links[key] == nil {
		s.links[key] = netsim.NewLink(netsim.LinkConfig{Host: c.Name, Seed: uint64(s.seed), Log: s.line})
	}
	return s.links[key]
}

// config is what a client stands on.
func (s *sockets) config(c scenarios.Client) (simclient.Config, error) {
	link := s.link(c)
	std, err := stdnet.NewNet()
	if err != nil {
		return simclient.Config{}, fmt.Errorf("read the network's interfaces: %w", err)
	}
	return simclient.Config{Dial: link.Dialer(new(net.Dialer).DialContext), Net: netsim.Net(std, link)}, nil
}

// Network implements scenarios.World.
func (s *sockets) Network(c scenarios.Client) (scenarios.Network, error) { return s.link(c), nil }

// hangUp closes all links. The clients are closed already.
func (s *sockets) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, link := range s.links {
		link.Close()
	}
}
