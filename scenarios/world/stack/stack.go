// Package stack runs the whole system in containers on a private network: a media
// server, a TURN server, Redis, MySQL, signaling servers with a balancer in front,
// and ways between them that can be impaired. It is the one place that knows of a
// container engine.
package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Given are parts that run elsewhere, and are used instead of containers. They must
// be reachable from containers: loopback is not.
type Given struct {
	Kurento string // URL, ws://HOST:PORT/kurento
	Redis   string // HOST:PORT
	MySQL   string // DSN, user:password@tcp(HOST:PORT)/database
	TURN    string // turn:HOST:PORT?transport=udp
	Secret  string // of the TURN server
}

// Config says what a stack is made of.
type Config struct {
	Images  Images
	Given   Given
	Servers int    // signaling servers behind the balancer; 0 is one
	Dir     string // where logs are kept; it exists
	// Say is told what is being done, for people; nil: nobody is.
	Say func(format string, args ...any)
}

// Label marks everything in the engine that belongs to a stack; its value is the run's name.
const Label = "org.callbench.run"

// Stack is a system in containers.
type Stack struct {
	cfg     Config
	run     string // name, in which no other has a part
	engine  *Engine
	private *private
	files   string // volume of recordings
	found   images
	parts   []*Part
	lines   map[string]*Line
	secrets secrets
	life    context.Context // ends when logs are not followed any more
	end     context.CancelFunc
	logs    sync.WaitGroup
	watch   func() error // ends the watch over what must not be left
}

// secrets of one run.
type secrets struct{ token, admin, turn, mysql string }

// Start brings the system up. What was started is removed again if that fails, or
// if this process dies.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if err := cfg.Given.check(); err != nil {
		return nil, err
	}
	e, err := ConnectEngine(ctx)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	s := &Stack{cfg: cfg, run: "callbench-" + strings.ToLower(rand.Text()[:8]), engine: e, lines: map[string]*Line{}, life: life, end: end,
		secrets: secrets{rand.Text() + rand.Text(), rand.Text(), rand.Text(), rand.Text()}}
	s.cfg.Servers = max(cfg.Servers, 1)
	if s.cfg.Say == nil {
		s.cfg.Say = func(string, ...any) {}
	}
	if err := s.up(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) labels(part string) map[string]string {
	return map[string]string{Label: s.run, Label + ".part": part}
}

// up makes sure of the images, and builds the system.
func (s *Stack) up(ctx context.Context) error {
	if err := s.fetch(ctx); err != nil {
		return err
	}
	if err := s.guard(ctx); err != nil {
		return err
	}
	return s.build(ctx)
}

// build starts the parts in the order in which they need each other, those that do
// not at once.
func (s *Stack) build(ctx context.Context) (err error) {
	if s.private, err = newPrivate(ctx, s.engine, s.labels("")); err != nil {
		return err
	}
	if err := s.volume(ctx); err != nil {
		return err
	}
	s.plan()
	for _, stage := range s.stages() {
		s.cfg.Say("%s: starting %s", s.run, strings.Join(namesOf(stage), ", "))
		together, ctx := errgroup.WithContext(ctx)
		for _, p := range stage {
			together.Go(func() error { return p.start(ctx) })
		}
		if err := together.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Renew builds the system anew: whatever was in it is gone.
func (s *Stack) Renew(ctx context.Context) error {
	err := s.removeAll()
	s.logs.Wait()
	s.parts, s.lines = nil, map[string]*Line{}
	return errors.Join(err, s.build(ctx))
}

// stages are the parts that start together: what servers stand on, servers, and the
// balancer before them.
func (s *Stack) stages() [][]*Part {
	var below, servers, above []*Part
	for _, p := range s.parts {
		switch {
		case p.name == HAProxy:
			above = append(above, p)
		case strings.HasPrefix(p.name, Server):
			servers = append(servers, p)
		default:
			below = append(below, p)
		}
	}
	return [][]*Part{below, servers, above}
}

func namesOf(parts []*Part) []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// Part is the part of that name. server is the first server.
func (s *Stack) Part(name string) (*Part, error) {
	if name == Server {
		name = serverName(1)
	}
	for _, p := range s.parts {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no part in a container is called %s, only %s", name, strings.Join(namesOf(s.parts), ", "))
}

// ServerParts are the signaling servers.
func (s *Stack) ServerParts() []*Part {
	return slices.DeleteFunc(slices.Clone(s.parts), func(p *Part) bool { return !strings.HasPrefix(p.name, Server) })
}

// Line is the way from the servers to a part, or from clients to Coturn.
func (s *Stack) Line(name string) (*Line, error) {
	if l := s.lines[name]; l != nil {
		return l, nil
	}
	if name == Coturn {
		return nil, errors.New("no line goes to a TURN server that runs elsewhere")
	}
	return nil, fmt.Errorf("no line goes to %s, only to %s", name, strings.Join([]string{Coturn, Kurento, MySQL, Redis}, ", "))
}

// Mend undoes all that was done to parts and lines, and waits until the servers have
// all that they stand on.
func (s *Stack) Mend(ctx context.Context) error {
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.mend())
	}
	for _, l := range s.lines {
		errs = append(errs, l.mend())
	}
	for _, p := range s.ServerParts() {
		errs = append(errs, p.await(ctx))
	}
	return errors.Join(errs...)
}

// StandIn is what takes a part's place by the user's wish, "" if nothing does.
func (s *Stack) StandIn(part string) string { return s.cfg.Images.StandIn(part) }

// Open waits until the balancer lets clients in.
func (s *Stack) Open() error {
	p, err := s.Part(HAProxy)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return p.await(ctx)
}

// Versions are the parts with version and image, as reports name them.
func (s *Stack) Versions() map[string]string {
	all := map[string]string{"engine": "docker " + s.engine.Version}
	for _, p := range s.parts {
		text := p.version + ", image " + p.spec.image.String()
		if what := s.cfg.Images.StandIn(p.name); what != "" {
			text = what + " in the place of " + p.name + ": " + text
		}
		all[p.name] = text
	}
	for part, at := range map[string]string{Kurento: s.cfg.Given.Kurento, Redis: s.cfg.Given.Redis, MySQL: hostOfDSN(s.cfg.Given.MySQL), Coturn: s.cfg.Given.TURN} {
		if at != "" {
			all[part] = "at " + at
		}
	}
	return all
}

// Addresses are where this process reaches the parts.
type Addresses struct {
	Web     string // of clients, through the balancer: ws://HOST:PORT/ws
	Admin   []string
	Kurento string
	Redis   string
	MySQL   string // DSN
	TURN    string
	Secret  string // that TURN credentials are signed with
	TURNLog string // Coturn's log; "" if it runs elsewhere
	Token   []byte // secret that users' tokens are signed with
	// AdminToken is what the servers' administrators show.
	AdminToken string
}

// Addresses tells where the parts are.
func (s *Stack) Addresses() Addresses {
	a := Addresses{Kurento: s.cfg.Given.Kurento, Redis: s.cfg.Given.Redis, MySQL: s.cfg.Given.MySQL, TURN: s.cfg.Given.TURN, Secret: s.cfg.Given.Secret,
		Token: []byte(s.secrets.token), AdminToken: s.secrets.admin}
	for _, p := range s.parts {
		switch p.name {
		case Kurento:
			a.Kurento = "ws://" + p.at(kurentoPort) + "/kurento"
		case Redis:
			a.Redis = p.at(redisPort)
		case MySQL:
			a.MySQL = s.dsn(p.at(mysqlPort))
		case Coturn:
			a.TURN, a.Secret, a.TURNLog = s.turnURL(p), s.secrets.turn, p.logFile()
		case HAProxy:
			a.Web = "ws://" + p.at(webPort) + "/ws"
		default:
			if strings.HasPrefix(p.name, Server) {
				a.Admin = append(a.Admin, "http://"+p.at(adminPort))
			}
		}
	}
	return a
}

func (p *Part) at(port int) string {
	return net.JoinHostPort(p.address.String(), strconv.Itoa(port))
}

// Close removes everything that belongs to the stack, and returns when logs are
// written and nothing is left.
func (s *Stack) Close() error {
	kept := s.keepParts()
	err := s.removeAll()
	s.end()
	s.logs.Wait()
	if s.watch != nil {
		err = errors.Join(err, s.watch())
	}
	return errors.Join(err, kept, s.engine.Close())
}

// keepParts writes beside the logs what the parts were.
func (s *Stack) keepParts() error {
	if len(s.parts) == 0 {
		return nil
	}
	b, err := json.MarshalIndent(s.Versions(), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.cfg.Dir, "parts.json"), append(b, '\n'), 0o644)
}
