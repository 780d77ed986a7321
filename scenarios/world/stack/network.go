package stack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// private is the network of one stack. Its parts have addresses of their own for
// as long as it is there, also when they are started anew: so clients, browsers and
// Kurento, which knows no names of TURN servers, need not be told twice.
type private struct {
	net    *testcontainers.DockerNetwork
	subnet netip.Prefix
	next   int
}

// firstHost is the address of the first part behind that of the network.
const firstHost = 10

// networkTries is how often another range is asked for if one was taken meanwhile.
const networkTries = 5

// newPrivate makes a network in a range that the engine finds free.
func newPrivate(ctx context.Context, e *Engine, labels map[string]string) (*private, error) {
	var last error
	for range networkTries {
		subnet, err := freeSubnet(ctx, e, labels)
		if err != nil {
			return nil, err
		}
		n, err := tcnetwork.New(ctx, tcnetwork.WithLabels(labels),
			tcnetwork.WithIPAM(&network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet}}}))
		if err == nil {
			return &private{net: n, subnet: subnet}, nil
		}
		last = err
	}
	return nil, fmt.Errorf("make a network: %w", last)
}

// freeSubnet is a range that the engine would choose now: addresses that stay can
// be given out only in one that was asked for.
func freeSubnet(ctx context.Context, e *Engine, labels map[string]string) (netip.Prefix, error) {
	n, err := tcnetwork.New(ctx, tcnetwork.WithLabels(labels))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("make a network: %w", err)
	}
	got, err := e.api.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{})
	if err := errors.Join(err, n.Remove(ctx)); err != nil {
		return netip.Prefix{}, fmt.Errorf("find a range of addresses: %w", err)
	}
	for _, c := range got.Network.IPAM.Config {
		if c.Subnet.Addr().Is4() {
			return c.Subnet, nil
		}
	}
	return netip.Prefix{}, errors.New("the engine's networks have no IPv4 addresses")
}

// address is the next one that no part has.
func (p *private) address() netip.Addr {
	a := p.subnet.Masked().Addr()
	for range firstHost + p.next {
		a = a.Next()
	}
	p.next++
	return a
}

// endpoint is how a part is in the network.
func (p *private) endpoint(at netip.Addr) *network.EndpointSettings {
	return &network.EndpointSettings{NetworkID: p.net.ID, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: at}}
}
