package reaper

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/moby/moby/client"
)

const (
	answerLimit = 10 * time.Second // for the engine's first answer
	removeLimit = 5 * time.Minute  // for everything, with an engine that is restarted meanwhile
	// A request that the parent sent just before it was killed is still carried out:
	// what it makes is looked for so long after the last that was found.
	settleTime = 5 * time.Second
	lookEvery  = 500 * time.Millisecond
)

// init makes this process the child if it was started as that. It is no call in
// main, so that tests have it without a main of their own.
func init() {
	label := os.Getenv(labelEnv)
	if label == "" || len(os.Args) != 2 || os.Args[1] != childCommand {
		return
	}
	if err := live(os.Stdin, os.Stdout, os.Getenv(hostEnv), label); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// live is the child's life.
func live(pipe io.Reader, out io.Writer, host, label string) error {
	// Whoever stops the parent by a signal to all its processes does not mean this one.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	api, err := connect(host)
	if err != nil {
		return err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	_, err = api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	cancel()
	if err != nil {
		return fmt.Errorf("connect to the container engine: %w", err)
	}
	if _, err := fmt.Fprintln(out, watching); err != nil {
		return err
	}
	last, err := io.ReadAll(pipe)
	if err != nil {
		last = nil // a parent that cannot be heard is none
	}
	ctx, cancel = context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	if string(last) == farewell {
		return sweep(ctx, api, label, 0)
	}
	return sweep(ctx, api, label, settleTime)
}

// connect makes a client of the engine at a host, or of the environment's.
func connect(host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	api, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the container engine: %w", err)
	}
	return api, nil
}

// sweep removes what carries a label until nothing is found for as long as settle
// says. What cannot be removed now, such as a network that a container is just
// leaving, is tried again.
func sweep(ctx context.Context, api *client.Client, label string, settle time.Duration) error {
	quiet := time.Now()
	for {
		found, err := Remove(ctx, api, label)
		if found > 0 || err != nil {
			quiet = time.Now()
		}
		if found == 0 && err == nil && time.Since(quiet) >= settle {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove what carries %s: %w", label, err)
		case <-time.After(lookEvery):
		}
	}
}
