package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/callbench/callbench/kmsmock/record"
)

// recordFlags are the flags of `callbench mock` that put a recording proxy in
// the mock's place.
type recordFlags struct {
	Record string `placeholder:"ws://HOST:PORT/kurento" help:"Be no mock: pass everything on to that server, and record it for callbench conform."`
	Out    string `name:"out" short:"o" type:"path" placeholder:"DIR" help:"Folder of the recording; the present one if not given."`
	Name   string `help:"Name of the recording, NAME.jsonl; the time if not given."`
	Mask   bool   `help:"Mask ICE passwords, fingerprints, credentials of TURN, public addresses and mDNS names in the recording."`
}

// record serves the proxy until ctx ends.
func (c *mockCmd) record(ctx context.Context, out *console) (err error) {
	name := c.Name
	if name == "" {
		name = time.Now().UTC().Format("20060102-150405")
	}
	if name != filepath.Base(name) {
		return fmt.Errorf("-name is %q, want a name without folders", name)
	}
	folder := cmp.Or(c.Out, ".")
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for clients: %w (-listen takes another address)", err)
	}
	defer ln.Close()
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	file := filepath.Join(folder, name+".jsonl")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // without -mask it holds secrets
	if err != nil {
		return fmt.Errorf("record: %w (-name takes another name)", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	cfg := record.Config{Target: c.Record, Name: name, Mask: c.Mask, Out: f}
	if c.Verbose {
		cfg.Log = slog.New(slog.NewTextHandler(out.err, nil))
	}
	proxy, err := record.New(cfg)
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(ln) }()
	fmt.Fprintf(out, "kurento    ws://%s/kurento\nrecording  %s\n", reached(ln), file)
	if err := connects(ctx, c.Record); err != nil {
		fmt.Fprintf(out.err, "callbench: %s does not answer now: %v; clients are cut until it does\n", c.Record, err)
	}
	select {
	case <-ctx.Done():
		err = errors.Join(proxy.Close(), <-served)
	case err = <-served:
		err = errors.Join(err, proxy.Close())
	}
	fmt.Fprintln(out, "stopped")
	return err
}

// connects tells whether something listens where a server is to be.
func connects(ctx context.Context, server string) error {
	address, err := url.Parse(server)
	if err != nil {
		return err
	}
	port := cmp.Or(address.Port(), map[string]string{"ws": "80", "wss": "443"}[address.Scheme])
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(address.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}
