// Package reaper removes what a process has made in a container engine once that
// process is gone, however it went: a child of the same binary holds the other end
// of a pipe, which the kernel closes with the process.
package reaper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// The child is this binary, called so and told by the environment what to remove. Any
// binary that has this package can be it, that of a test too: see init.
const (
	childCommand = "reap"
	labelEnv     = "CALLBENCH_REAP_LABEL"
	hostEnv      = "CALLBENCH_REAP_HOST"
)

// What goes over the pipes: the child says that it watches, and the parent that
// it ends as it should. A pipe that ends without that is a parent that was killed.
const (
	watching = "watching"
	farewell = "farewell"
)

// Start begins a child that removes the containers, networks and volumes with a
// label, which is KEY=VALUE or KEY, when this process ends. An empty host is the
// engine of the environment (DOCKER_HOST, or Docker's own socket). It returns once
// the child is there and the engine has answered it. stop has the child remove now
// what is left, waits for it and returns what went wrong.
func Start(ctx context.Context, dockerHost, label string) (stop func() error, err error) {
	if label == "" {
		return nil, errors.New("reaper: no label, which would be everything in the engine")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("reaper: find the binary: %w", err)
	}
	child := exec.Command(self, childCommand) // not of ctx: it outlives everything
	child.Env = append(os.Environ(), labelEnv+"="+label, hostEnv+"="+dockerHost)
	child.SysProcAttr = apart()
	var said bytes.Buffer
	child.Stderr = &said
	pipe, err := child.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("reaper: %w", err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("reaper: %w", err)
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("reaper: start: %w", err)
	}
	stop = func() error {
		_, err := io.WriteString(pipe, farewell)
		return errors.Join(err, pipe.Close(), ended(child, &said))
	}
	if err := ready(ctx, out); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// ready waits until the child has said that it watches.
func ready(ctx context.Context, out io.ReadCloser) error {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // an error is a line that is not the one that is waited for
		line <- text
	}()
	select {
	case text := <-line:
		if strings.TrimSpace(text) != watching {
			return errors.New("reaper: it ended before it watched")
		}
		return nil
	case <-ctx.Done():
		err := out.Close()
		<-line
		return errors.Join(fmt.Errorf("reaper: wait until it watches: %w", ctx.Err()), err)
	}
}

// ended waits for the child's end.
func ended(child *exec.Cmd, said *bytes.Buffer) error {
	if err := child.Wait(); err != nil {
		return fmt.Errorf("reaper: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}
