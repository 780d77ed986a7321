package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/callbench/callbench/scenarios/world/stack"
)

// linesCmd is what runs in one of the containers of a system, before Coturn and between servers and
// what they stand on.
type linesCmd struct {
	Control string   `required:"" placeholder:"HOST:PORT" help:"Where orders come in."`
	Line    []string `required:"" placeholder:"NAME=LISTEN=ADDRESS" help:"What is listened on, and where it leads."`
}

// Run implements the hidden `callbench lines`.
func (c *linesCmd) Run(ctx context.Context, out *console) (err error) {
	lines, err := stack.OpenLines(c.Line)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	ln, err := net.Listen("tcp", c.Control)
	if err != nil {
		return fmt.Errorf("listen for orders: %w", err)
	}
	web := &http.Server{Handler: lines, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	fmt.Fprintf(out, "orders     http://%s/lines/NAME\n", reached(ln))
	if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
