package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/turn/v5"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
)

// Virtual is the world in memory. It must be made and used inside a
// testing/synctest bubble: an hour of call passes in seconds, and state changes
// fall on the same instant in every run.
type Virtual struct {
	system
	net   *netsim.Topology
	delay time.Duration
	hosts map[string]*netsim.Host
}

const (
	virtualServer = "server:8080"
	virtualKMS    = "kms:8888"
	virtualTURN   = "turn:3478"
)

// VirtualStage puts up virtual worlds. Its Open must be called in a bubble.
func VirtualStage(seed int64, plant Plant) scenarios.Stage {
	return scenarios.Stage{
		Name:  "virtual",
		Parts: versions(),
		Lacks: virtualLacks,
		Open: func(ctx context.Context, s *scenarios.Scenario, log *trace.Log) (scenarios.World, error) {
			return newVirtual(ctx, s, seed, log, plant)
		},
	}
}

// ownParts is why a world has no parts that could be stopped by themselves.
const ownParts = "its parts are in the harness's own process: kms, redis and server act on them"

// virtualLacks says what a world lacks whose parts are all in this process, and
// whose time is not that of the machine.
func virtualLacks(capability string) string {
	switch capability {
	case scenarios.Chromium:
		return "a browser lives in real time; play it in the local world"
	case "parts-control":
		return ownParts
	}
	return ""
}

func newVirtual(ctx context.Context, s *scenarios.Scenario, seed int64, log *trace.Log, plant Plant) (*Virtual, error) {
	v := &Virtual{system: system{log: log}, delay: s.Delay(), hosts: map[string]*netsim.Host{}}
	net, err := netsim.NewTopology(netsim.TopologyConfig{Seed: uint64(seed), Log: v.logger("net")})
	if err != nil {
		return nil, err
	}
	v.net = net
	if err := v.boot(ctx, s, seed, plant); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *Virtual) boot(ctx context.Context, s *scenarios.Scenario, seed int64, plant Plant) error {
	serverHost, err := v.net.Host("server")
	if err != nil {
		return err
	}
	kmsHost, err := v.net.Host("kms")
	if err != nil {
		return err
	}
	serverHost.Link.SetDelay(serverSkew)
	kmsHost.Link.SetDelay(kmsSkew)
	kms, err := kmsHost.Listen(virtualKMS)
	if err != nil {
		return err
	}
	var relay *turnParts
	if s.TURN() {
		if relay, err = v.turnHost(kmsHost, s.TURNTTL()); err != nil {
			return err
		}
	}
	p := parts{turn: relay, kmsURL: "ws://" + virtualKMS + "/kurento", kmsDial: serverHost.Dial, kmsListener: kms,
		mock: kmsmock.Config{Net: kmsHost.Net, Seed: uint64(seed)}, newID: numberedIDs(), workers: 1, plant: plant,
		listenWeb: func() (net.Listener, error) { return serverHost.Listen(virtualServer) }}
	p.demand(s)
	return v.start(ctx, p)
}

// turnHost makes the host of the TURN server, which may reach the media server
// and nobody else of this private network.
func (v *Virtual) turnHost(kms *netsim.Host, ttl time.Duration) (*turnParts, error) {
	h, err := v.net.Host("turn")
	if err != nil {
		return nil, err
	}
	conn, err := h.Net.ListenPacket("udp4", h.IP.String()+":3478")
	if err != nil {
		return nil, fmt.Errorf("listen for TURN clients: %w", err)
	}
	return &turnParts{conn: conn, url: "turn:" + virtualTURN + "?transport=udp", ttl: ttl, peers: []netip.Prefix{netip.PrefixFrom(kms.IP, kms.IP.BitLen())},
		relay: &turn.RelayAddressGeneratorStatic{RelayAddress: h.IP.AsSlice(), Address: h.IP.String(), Net: h.Net}}, nil
}

// numberedIDs names sessions, calls and rooms by their users, so that two runs
// can be compared.
func numberedIDs() func(kind, user string) string {
	counts := make(map[string]int)
	lock := make(chan struct{}, 1)
	return func(kind, user string) string {
		lock <- struct{}{}
		defer func() { <-lock }()
		name := kind + "-" + user
		counts[name]++
		return name + "-" + strconv.Itoa(counts[name])
	}
}

// skew makes each client a little farther away than the one before. Without it,
// what two clients send in the same instant arrives in the same instant, and
// which comes first, and so waits for the other, would be chance.
const skew = 100 * time.Microsecond

// serverSkew and kmsSkew do the same for what a client says to both servers in
// one instant, such as that it leaves and that its DTLS ends: neither arrives
// together with what the other server makes of it and passes on.
const (
	serverSkew = 13 * time.Microsecond
	kmsSkew    = 29 * time.Microsecond
)

func (v *Virtual) host(c scenarios.Client) (*netsim.Host, error) {
	if h := v.hosts[c.Name]; h != nil {
		return h, nil
	}
	h, err := v.net.Host(c.Name)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", c.Name, err)
	}
	h.Link.SetDelay(v.delay + time.Duration(len(v.hosts))*skew)
	v.hosts[c.Name] = h
	return h, nil
}

// Client implements scenarios.World.
func (v *Virtual) Client(c scenarios.Client, log *trace.Log) (scenarios.Caller, error) {
	h, err := v.host(c)
	if err != nil {
		return nil, err
	}
	return v.client(c, log, "ws://"+virtualServer+"/ws", simclient.Config{Dial: h.Dial, Net: h.Net})
}

// Network implements scenarios.World.
func (v *Virtual) Network(c scenarios.Client) (scenarios.Network, error) {
	h, err := v.host(c)
	if err != nil {
		return nil, err
	}
	return h.Link, nil
}

// Close implements scenarios.World.
func (v *Virtual) Close() error {
	return errors.Join(v.close(), v.net.Close())
}
