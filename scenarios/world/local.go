package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"time"

	"github.com/pion/turn/v5"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// Local is the world on this machine's loopback, in real time: the same parts
// as in the virtual one, on real sockets. Faults of the network are done on the
// clients' own sockets, so that no privilege is needed.
type Local struct {
	system
	*sockets
	addr string // of the signaling server
	near bool   // media is all on loopback, where a media server elsewhere, as in a container, is not
}

// LocalStage puts up local worlds. kms is the URL of a real Kurento, or empty
// for the mock.
func LocalStage(kms string, seed int64, plant Plant) scenarios.Stage {
	return LocalStageWithTURN(kms, nil, seed, plant)
}

// LocalStageWithTURN is LocalStage with a TURN server outside, or with the
// embedded one if outside is nil.
func LocalStageWithTURN(kms string, outside *TURN, seed int64, plant Plant) scenarios.Stage {
	parts := versions()
	if kms != "" {
		parts["kurento"] = "at " + kms
	}
	lacks := localLacks(kms, outside)
	if outside != nil {
		parts["turn"] = "at " + outside.URL
	}
	return scenarios.Stage{Name: "local", Parts: parts, Lacks: lacks,
		Open: func(ctx context.Context, s *scenarios.Scenario, log *trace.Log) (scenarios.World, error) {
			return newLocal(ctx, s, kms, outside, seed, log, plant)
		}}
}

// localLacks says what a world lacks in which minutes take minutes, and whose
// media and TURN servers may be real ones.
func localLacks(kms string, outside *TURN) func(capability string) string {
	return func(capability string) string {
		switch {
		case capability == scenarios.Chromium:
			return noChromium()
		case capability == "virtualtime":
			return "the minutes would pass in real time"
		case capability == "kmsevents" && kms != "":
			return "a real Kurento tells nobody what it is asked for"
		case capability == "kms-control" && kms != "":
			return "a real Kurento does not fail when it is told to"
		case capability == "kms-faults" && kms != "":
			return "a real Kurento does not fail when it is told to"
		case capability == "parts-control":
			return ownParts
		case capability == "mixed" && kms != "":
			return "a real Kurento codes its mix anew, without markers"
		case capability == "files" && kms != "" && !onLoopback(kms):
			return "the files are on the machine of the media server"
		case outside != nil:
			return outside.lacks(capability)
		}
		return ""
	}
}

// onLoopback reports whether a URL's host is this machine.
func onLoopback(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
}

func newLocal(ctx context.Context, s *scenarios.Scenario, kms string, outside *TURN, seed int64, log *trace.Log, plant Plant) (*Local, error) {
	l := &Local{system: system{log: log}, sockets: newSockets(seed, log), near: kms == "" || onLoopback(kms)}
	if err := l.boot(ctx, s, kms, outside, plant); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Local) boot(ctx context.Context, s *scenarios.Scenario, kms string, outside *TURN, plant Plant) error {
	p := parts{kmsURL: kms, listenWeb: l.listen, workers: runtime.GOMAXPROCS(0), plant: plant}
	p.demand(s)
	var err error
	if kms == "" {
		p.kmsListener, err = net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen for the media server: %w", err)
		}
		p.kmsURL = "ws://" + p.kmsListener.Addr().String() + "/kurento"
		p.mock = kmsmock.Config{Interfaces: []string{"lo"}, Seed: uint64(l.seed)}
	}
	if s.TURN() {
		if p.turn, err = turnOnLoopback(outside, s.TURNTTL()); err != nil {
			return err
		}
	}
	return l.start(ctx, p)
}

// listen opens the port for clients: any one, and then the same again.
func (l *Local) listen() (net.Listener, error) {
	if l.addr == "" {
		l.addr = "127.0.0.1:0"
	}
	web, err := net.Listen("tcp", l.addr)
	if err == nil {
		l.addr = web.Addr().String()
	}
	return web, err
}

// turnOnLoopback opens the sockets of the embedded TURN server, if there is
// none outside.
func turnOnLoopback(outside *TURN, ttl time.Duration) (*turnParts, error) {
	if outside != nil {
		return &turnParts{outside: outside, ttl: ttl}, nil
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for TURN clients: %w", err)
	}
	return &turnParts{conn: conn, url: "turn:" + conn.LocalAddr().String() + "?transport=udp", ttl: ttl,
		peers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		relay: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}}, nil
}

// url is where clients reach the signaling server.
func (l *Local) url() string { return "ws://" + l.addr + "/ws" }

// Client implements scenarios.World.
func (l *Local) Client(c scenarios.Client, log *trace.Log) (scenarios.Caller, error) {
	cfg, err := l.sockets.config(c)
	if err != nil {
		return nil, err
	}
	if cfg.Loopback = true; l.near {
		cfg.IPFilter = net.IP.IsLoopback
	}
	if c.Chromium() {
		return l.crew.tab(c, log, l.link(c), l.admit(c, log, l.url(), cfg))
	}
	return l.client(c, log, l.url(), cfg)
}

// Close implements scenarios.World.
func (l *Local) Close() error {
	err := l.close()
	l.hangUp()
	return err
}
