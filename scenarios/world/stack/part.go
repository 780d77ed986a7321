package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	tclog "github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// spec says what a part is run with.
type spec struct {
	image   Image
	command []string // nil is the image's own
	env     map[string]string
	files   []testcontainers.ContainerFile
	binds   []string // volume:folder
	port    string   // what clients of this machine may need: 6379/tcp
	caps    caps
	// ready looks once whether the part answers.
	ready func(context.Context, *Part) error
	// version asks the part what it is.
	version func(context.Context, *Part) (string, error)
}

// caps are what a part may take of the machine, so that one that runs wild leaves
// the others alive.
type caps struct {
	cpus   float64
	memory int64 // bytes
	pids   int64
}

const (
	mib = 1 << 20
	// startLimit is how long a part may take until it answers.
	startLimit = 90 * time.Second
	// readyEvery is how often a part is looked at that starts.
	readyEvery = 100 * time.Millisecond
	// readyLimit is how long one look may take.
	readyLimit = 5 * time.Second
)

// Part is a container of the stack.
type Part struct {
	name    string
	spec    spec
	address netip.Addr
	stack   *Stack
	box     *testcontainers.DockerContainer
	version string

	mu                  sync.Mutex
	paused, dead, apart bool
}

// Name is what scripts call the part.
func (p *Part) Name() string { return p.name }

// Dead tells whether the part was killed, and not started again.
func (p *Part) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// Address is where the part is in the stack's network, for as long as the stack is there.
func (p *Part) Address() netip.Addr { return p.address }

// start makes the container and waits until it answers.
func (p *Part) start(ctx context.Context) (err error) {
	p.box, err = testcontainers.Run(ctx, p.spec.image.Name, p.options()...)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.follow(time.Time{})
	if err := p.await(ctx); err != nil {
		return err
	}
	p.version, err = p.spec.version(ctx, p)
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", p.name, err)
	}
	return nil
}

// options are what the container is made with. Of its ports none but one is published,
// and that on loopback: an image may name many.
func (p *Part) options() []testcontainers.ContainerCustomizer {
	s := p.spec
	all := []testcontainers.ContainerCustomizer{
		testcontainers.WithLogger(tclog.NewNoopLogger()),
		testcontainers.WithName(p.stack.run + "-" + p.name),
		testcontainers.WithLabels(p.stack.labels(p.name)),
		testcontainers.WithEnv(s.env),
		testcontainers.WithFiles(s.files...),
		testcontainers.WithExposedPorts(s.port),
		tcnetwork.WithNetwork([]string{p.name}, p.stack.private.net),
		testcontainers.WithEndpointSettingsModifier(func(ends map[string]*network.EndpointSettings) {
			for _, e := range ends {
				e.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: p.address}
			}
		}),
		testcontainers.WithHostConfigModifier(p.host),
	}
	if s.command != nil {
		all = append(all, testcontainers.WithCmd(s.command...))
	}
	return all
}

// host says what the container has of its machine.
func (p *Part) host(h *container.HostConfig) {
	c := p.spec.caps
	h.Binds = p.spec.binds
	h.PortBindings = network.PortMap{network.MustParsePort(p.spec.port): {{HostIP: netip.MustParseAddr("127.0.0.1")}}}
	h.Resources = container.Resources{NanoCPUs: int64(min(c.cpus, float64(p.stack.engine.CPUs)) * 1e9), Memory: c.memory, PidsLimit: &c.pids}
}

// await waits until the part answers.
func (p *Part) await(outer context.Context) error {
	ctx, cancel := context.WithTimeout(outer, startLimit)
	defer cancel()
	for {
		err := p.look(ctx)
		if err == nil {
			return nil
		}
		if ended := p.ended(ctx); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			if outer.Err() != nil {
				return fmt.Errorf("wait for %s: %w", p.name, context.Cause(outer))
			}
			return fmt.Errorf("%s does not answer after %v: %w; its log is %s", p.name, startLimit, err, p.logFile())
		case <-time.After(readyEvery):
		}
	}
}

func (p *Part) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return p.spec.ready(ctx, p)
}

// ended says how a part ended that should run; nil if it runs or nobody knows.
func (p *Part) ended(ctx context.Context) error {
	state, err := p.box.State(ctx)
	if err != nil || state.Running {
		return nil
	}
	return fmt.Errorf("%s ended with code %d as soon as it was started; its log is %s", p.name, state.ExitCode, p.logFile())
}

// exec runs a program in the part's container and returns what it says.
func (p *Part) exec(ctx context.Context, command ...string) (string, error) {
	code, out, err := p.box.Exec(ctx, command, tcexec.Multiplexed())
	if err != nil {
		return "", err
	}
	said, err := io.ReadAll(out)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d: %.200s", strings.Join(command, " "), code, said)
	}
	return string(said), err
}

// errs of parts that are not as an action needs them.
var (
	errPaused    = errors.New("it is paused already")
	errNotPaused = errors.New("it is not paused")
	// ErrDead is of a part that is to be killed.
	ErrDead     = errors.New("it is dead already")
	errAlive    = errors.New("it lives")
	errApart    = errors.New("it is off the network already")
	errTogether = errors.New("it is on the network")
)

// change does something to the part if a state of it is not as it will be then.
func (p *Part) change(state *bool, to bool, is error, do func(context.Context) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *state == to {
		return fmt.Errorf("%s: %w", p.name, is)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	*state = to
	return nil
}

// Pause stops the part's processes where they are: connections stay open, and
// nothing answers on them.
func (p *Part) Pause() error {
	return p.change(&p.paused, true, errPaused, func(ctx context.Context) error {
		_, err := p.stack.engine.api.ContainerPause(ctx, p.box.ID, client.ContainerPauseOptions{})
		return err
	})
}

// Resume lets them go on.
func (p *Part) Resume() error {
	return p.change(&p.paused, false, errNotPaused, func(ctx context.Context) error {
		_, err := p.stack.engine.api.ContainerUnpause(ctx, p.box.ID, client.ContainerUnpauseOptions{})
		return err
	})
}

// Kill ends the part as kill -9 does. What it has on disk stays.
func (p *Part) Kill() error {
	return p.change(&p.dead, true, ErrDead, func(ctx context.Context) error {
		_, err := p.stack.engine.api.ContainerKill(ctx, p.box.ID, client.ContainerKillOptions{Signal: "KILL"})
		p.paused = false
		return errors.Join(err, p.awaitEnd(ctx))
	})
}

// awaitEnd waits until the engine knows that the part has ended: until then it
// would not start it.
func (p *Part) awaitEnd(ctx context.Context) error {
	for {
		state, err := p.box.State(ctx)
		if err != nil || !state.Running {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyEvery / 10):
		}
	}
}

// Start starts a part that was killed, and waits until it answers.
func (p *Part) Start() error {
	return p.change(&p.dead, false, errAlive, func(ctx context.Context) error {
		since := time.Now()
		if _, err := p.stack.engine.api.ContainerStart(ctx, p.box.ID, client.ContainerStartOptions{}); err != nil {
			return err
		}
		p.follow(since)
		return p.await(ctx)
	})
}

// Partition takes the part off the network, or puts it back at the same address.
// Nobody is told of the connections that it had.
func (p *Part) Partition(on bool) error {
	id := p.stack.private.net.ID
	if on {
		return p.change(&p.apart, true, errApart, func(ctx context.Context) error {
			_, err := p.stack.engine.api.NetworkDisconnect(ctx, id, client.NetworkDisconnectOptions{Container: p.box.ID, Force: true})
			return err
		})
	}
	return p.change(&p.apart, false, errTogether, func(ctx context.Context) error {
		end := p.stack.private.endpoint(p.address)
		end.Aliases = []string{p.name}
		_, err := p.stack.engine.api.NetworkConnect(ctx, id, client.NetworkConnectOptions{Container: p.box.ID, EndpointConfig: end})
		return err
	})
}

// mend undoes what was done to the part.
func (p *Part) mend() error {
	p.mu.Lock()
	paused, dead, apart := p.paused, p.dead, p.apart
	p.mu.Unlock()
	var errs []error
	if apart {
		errs = append(errs, p.Partition(false))
	}
	if paused {
		errs = append(errs, p.Resume())
	}
	if dead {
		errs = append(errs, p.Start())
	}
	return errors.Join(errs...)
}

// firstLine is what a program says of itself first.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}
