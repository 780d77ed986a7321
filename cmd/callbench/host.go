package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/turn/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
	"github.com/callbench/callbench/server/push"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/server/turn"
	"github.com/callbench/callbench/signaling"
)

// host holds the parts beside the server that `callbench serve` starts: those
// that are embedded, and the connections to those that are not.
type host struct {
	ip         net.IP // where clients come in
	log        *slog.Logger
	parts      [][2]string            // what each part is, for people
	checks     []server.Check         // whether those that can fail are there
	collectors []prometheus.Collector // what is measured of them
	stop       []func() error
	taken      <-chan struct{} // closed when another server has taken this one's name
}

func (h *host) part(name, is string) { h.parts = append(h.parts, [2]string{name, is}) }

// close ends everything in the opposite order.
func (h *host) close() error {
	var errs []error
	for _, stop := range slices.Backward(h.stop) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// media connects to a Kurento, or to the mock, which it starts.
func (h *host) media(ctx context.Context, url string, lostAfter time.Duration) (server.Media, error) {
	if url == "" {
		var err error
		if url, err = h.mock(); err != nil {
			return nil, err
		}
		h.part("kurento", "embedded kmsmock, "+url)
	} else {
		h.part("kurento", url)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	metrics := kms.NewMetrics()
	h.collectors = append(h.collectors, metrics)
	m, err := kms.Dial(ctx, kms.Config{URL: url, Log: h.log, Observe: metrics.Request, LostAfter: lostAfter})
	if err != nil {
		return nil, fmt.Errorf("connect to the media server: %w", err)
	}
	h.stop = append(h.stop, m.Close)
	h.checks = append(h.checks, server.Check{Name: "media server", Ask: m.Ping, Spare: true})
	return m, nil
}

// mock starts the mock on a loopback port. Its media is on every interface, the
// loopback one included: a browser on this machine sends from either.
func (h *host) mock() (url string, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("read the network's interfaces: %w", err)
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	mock, err := kmsmock.New(kmsmock.Config{Log: h.log, Interfaces: names, Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", errors.Join(fmt.Errorf("listen for the media server: %w", err), mock.Close())
	}
	done := make(chan error, 1)
	go func() { done <- mock.Serve(ln) }()
	h.stop = append(h.stop, func() error { return errors.Join(mock.Close(), <-done) })
	return "ws://" + ln.Addr().String() + "/kurento", nil
}

// ice hands out credentials of a TURN server, which it starts if there is none.
func (h *host) ice(url, secret string) (func(string) ([]signaling.ICEServer, time.Duration), error) {
	own := url == ""
	if own {
		secret = turn.RandomSecret()
	}
	secrets, err := turn.NewSecrets(secret)
	if err != nil {
		return nil, err
	}
	if own {
		if url, err = h.turn(secrets); err != nil {
			return nil, err
		}
		h.part("turn", "embedded, "+url)
	} else {
		h.part("turn", url)
	}
	return (&turn.Issuer{URLs: []string{url}, Secrets: secrets}).ICE, nil
}

// turn starts the embedded TURN server at the address where clients come in. It
// relays to this machine's own addresses only: there the embedded media server is.
func (h *host) turn(secrets *turn.Secrets) (url string, err error) {
	at := h.ip.String()
	if h.ip.IsUnspecified() {
		at = "127.0.0.1"
	}
	conn, err := net.ListenPacket("udp4", net.JoinHostPort(at, "0"))
	if err != nil {
		return "", fmt.Errorf("listen for TURN clients: %w", err)
	}
	s, err := turn.New(turn.Config{PacketConn: conn, Secrets: secrets, Peers: ownAddresses(), Log: h.log,
		Relay: &pion.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(at), Address: at}})
	if err != nil {
		return "", errors.Join(err, conn.Close())
	}
	h.stop = append(h.stop, s.Close)
	return "turn:" + conn.LocalAddr().String() + "?transport=udp", nil
}

func ownAddresses() (own []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil { // then nothing private is relayed to
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	return own
}

// push tells a webhook of calls to who is not connected. Its URL may hold a secret.
func (h *host) push(hook, secret string) (server.Push, error) {
	w, err := push.New(push.Config{URL: hook, Secret: secret, Log: h.log})
	if err != nil {
		return nil, err
	}
	h.part("push", "webhook at "+w.Host())
	h.stop = append(h.stop, w.Close)
	return w, nil
}

// state keeps what is now, in Redis or in memory. A Redis that is not there is
// an error now, and not a failed write in every call.
func (h *host) state(ctx context.Context, addr string) (server.State, error) {
	if addr == "" {
		h.part("redis", "none: state is in memory")
		return &store.Memory{}, nil
	}
	cfg, err := store.ParseRedis(addr)
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	r := store.NewRedis(cfg)
	h.part("redis", cfg.String())
	h.stop = append(h.stop, r.Close)
	h.checks = append(h.checks, server.Check{Name: "redis", Ask: r.Ping})
	return r, r.Ping(ctx)
}

// claim takes the name of this node, if others may have it.
func (h *host) claim(ctx context.Context, state server.State, node string) error {
	r, shared := state.(*store.Redis)
	if !shared {
		return nil
	}
	claim, err := r.Claim(ctx, node, store.ClaimConfig{})
	if err != nil {
		return err
	}
	h.stop, h.taken = append(h.stop, claim.Close), claim.Lost()
	return nil
}

// mysql keeps what is permanent in a database, in which demo users are made. One
// that is away is no reason to take nobody: what is written waits for it.
func (h *host) mysql(ctx context.Context, cfg store.MySQLConfig) (*store.MySQL, error) {
	cfg.Log = h.log
	m, err := store.OpenMySQL(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h.part("mysql", fmt.Sprintf("%s, its journal in %s", m, cfg.Dir))
	h.stop = append(h.stop, m.Close)
	h.checks = append(h.checks, server.Check{Name: "mysql", Ask: m.Ping, Spare: true})
	if n := m.Waiting(); n > 0 {
		h.log.Warn("outbox.resumed", "waiting", n)
	}
	return m, nil
}
