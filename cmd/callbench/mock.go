package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/callbench/callbench/kmsmock"
)

type mockCmd struct {
	Listen          string        `default:"127.0.0.1:8888" help:"Address for clients; 127.0.0.1:0 is a free port."`
	Control         bool          `help:"Let clients of other machines use the control endpoint."`
	Interfaces      []string      `placeholder:"NAME,…" help:"Network interfaces for media; all but the loopback one if not given."`
	Seed            uint64        `help:"Decides ids and all chance; 0: another one at each start, as a Kurento that is started again has other ids."`
	Timing          string        `enum:"recorded,fast" default:"recorded" help:"Delays of answers and events: recorded from Kurento, or fast (none)."`
	NoNagle         bool          `help:"Do not hold the second of two small frames back for 40 ms."`
	Shuffle         bool          `help:"Let events overtake each other and the answer to their cause."`
	Warm            bool          `help:"Spare the first endpoint and negotiation their delay."`
	NoCrash         bool          `help:"Answer where Kurento crashes."`
	ResumablePlayer bool          `help:"Let players go on after pause and setPosition, where the recorded Kurento reports errors."`
	FileRoot        string        `type:"path" placeholder:"DIR" help:"Folder that stands for the root of the file system in the URIs of recorders and players."`
	GcPeriod        time.Duration `default:"240s" help:"Period of the garbage collection of sessions."`
	NoRequestCache  bool          `help:"Switch the response cache of 20 s off."`
	ThreadLimit     int           `help:"Refuse to create with error 40009 once that many objects exist; 0: no limit."`
	Verbose         bool          `short:"v" help:"Log requests, events and faults on standard error."`

	recordFlags
}

// Run implements `callbench mock`.
func (c *mockCmd) Run(ctx context.Context, out *console) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	if c.Record != "" {
		return c.record(ctx, out)
	}
	for c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	s, err := kmsmock.New(c.config(out))
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for clients: %w (-listen takes another address)", err), s.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	fmt.Fprintf(out, "kurento    ws://%s/kurento\ncontrol    http://%s/_control\nseed       %d\n", reached(ln), reached(ln), c.Seed)
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- nil
	}
	err = errors.Join(err, s.Close())
	err = errors.Join(err, <-served)
	fmt.Fprintln(out, "stopped")
	return err
}

// check refuses values that cannot be meant, and flags that would do nothing.
func (c *mockCmd) check() error {
	switch {
	case c.GcPeriod <= 0:
		return fmt.Errorf("-gc-period is %v, want more than 0", c.GcPeriod)
	case c.ThreadLimit < 0:
		return fmt.Errorf("-thread-limit is %d, want 0, for none, or more", c.ThreadLimit)
	case c.Record == "" && (c.Out != "" || c.Name != "" || c.Mask):
		return errors.New("-out, -name and -mask are about a recording; add -record")
	case c.Record != "" && (c.Control || c.NoNagle || c.Shuffle || c.Warm || c.NoCrash || c.NoRequestCache || c.ThreadLimit > 0):
		return errors.New("with -record a real server answers: -control, -no-nagle, -shuffle, -warm, -no-crash, -no-request-cache and -thread-limit are the mock's")
	}
	for _, name := range c.Interfaces {
		if _, err := net.InterfaceByName(name); err != nil {
			return fmt.Errorf("-interfaces: %q is none of this machine's network interfaces", name)
		}
	}
	return nil
}

// reached is where programs on this machine reach a listener: one on all
// addresses at the loopback one.
func reached(ln net.Listener) string {
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return ln.Addr().String()
}

func (c *mockCmd) config(out *console) kmsmock.Config {
	cfg := kmsmock.Config{Interfaces: c.Interfaces, Seed: c.Seed, NoNagle: c.NoNagle, Shuffle: c.Shuffle, Warm: c.Warm, NoCrash: c.NoCrash,
		ResumablePlayer: c.ResumablePlayer, FileRoot: c.FileRoot,
		CollectorPeriod: c.GcPeriod, DisableRequestCache: c.NoRequestCache, Control: c.Control, Faults: kmsmock.Faults{ThreadLimit: c.ThreadLimit}}
	if c.Timing == "fast" {
		cfg.Timing = kmsmock.Fast
	}
	if c.Verbose {
		cfg.Log = slog.New(slog.NewTextHandler(out.err, nil))
	}
	return cfg
}
