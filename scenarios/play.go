package scenarios

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/signaling"
)

// Stage is a kind of world: what it is, and how to put one up for one run.
type Stage struct {
	Name  string            // "virtual", "local", …
	Parts map[string]string // what runs in it, with versions
	// Lacks says why such a world has not got a capability; "" if it has.
	Lacks func(capability string) string
	// Fit adapts a scenario to the stage, or says why it cannot be played there; nil
	// leaves it as it is.
	Fit func(*Scenario) (fitted *Scenario, lack string)
	// Blind says what cannot be seen there, by its sight, and why: expectations about
	// that are skipped.
	Blind map[string]string
	// Open starts a world; its events go to the log.
	Open func(ctx context.Context, s *Scenario, log *trace.Log) (World, error)
	// Keep keeps what shows how a scenario failed, by the name of a file; nil throws
	// it away.
	Keep func(name string, content []byte) error
}

// World is where a scenario is played.
type World interface {
	// Client makes one of the scenario's clients, whose events go to log; it is
	// not connected yet.
	Client(c Client, log *trace.Log) (Caller, error)
	// Network is a client's attachment to the network.
	Network(Client) (Network, error)
	// Token says what a client shows when it connects, from now on: one of the
	// words of the token verb, or a duration.
	Token(c Client, kind string) error
	// Block makes a user block another one, or ends that.
	Block(user, other string, on bool) error
	// Probe looks at what the servers hold now.
	Probe(context.Context) ([]Finding, error)
	// Settle is how long clean-up may take in this world.
	Settle() time.Duration
	// Close stops everything and returns when it has ended.
	Close() error
}

// Network is what the net verb acts on.
type Network interface {
	Cut()
	Restore()
	Reset()
	// Hold stalls streams to the server (up) and from it (down) until Restore, or
	// Reset, which loses what is stalled.
	Hold(up, down bool)
	// CutUDP drops every datagram, or ends that.
	CutUDP(bool)
	SetLoss(percent float64)
	SetDelay(time.Duration)
}

// Finding is one thing that a probe found: something left behind ("left"), a
// key in Redis ("key") or a room of the history ("room").
type Finding struct {
	What  string
	Attrs []trace.Attr
}

// probeEvery is how often the world is looked at while an expectation waits.
const probeEvery = 100 * time.Millisecond

// closeLimit is how long clients and world may take to close. What takes longer
// never ends, and in virtual time would keep the processor busy for ever.
const closeLimit = 2 * time.Minute

// actionLimit is how long an action may take before it counts as failed.
const actionLimit = 30 * time.Second

// Play plays a scenario on a stage and judges it. Everything is recorded in log,
// from run.begin to run.end.
func Play(ctx context.Context, stage Stage, s *Scenario, seed int64, log *trace.Log) reports.Scenario {
	s, lack := fit(stage, s)
	p := &play{s: s, log: log, judge: NewJudge(s), lack: lack, clients: map[string]Caller{}, decided: make(chan int, len(s.Steps)+1)}
	p.judge.OnDecided = func(i int) { p.decided <- i }
	log.Watch(p.judge.Observe)
	log.Add("script", trace.KindRunBegin, p.head(stage, seed)...)
	log.Add("script", trace.KindRunEnd, p.onStage(ctx, stage)...)
	return p.judge.Result()
}

// onStage puts up the world, runs the script in it and takes it down. It gives
// the attributes of run.end: skip, if the world lacks something, and error, if
// the play itself broke.
func (p *play) onStage(ctx context.Context, stage Stage) []trace.Attr {
	if p.lack != "" {
		return []trace.Attr{trace.String("skip", p.lack)}
	}
	w, err := stage.Open(ctx, p.s, p.log)
	if err == nil {
		p.w = w
		err = errors.Join(p.run(ctx), p.witness(stage), p.close())
	}
	if err != nil {
		return []trace.Attr{trace.String("error", err.Error())}
	}
	return nil
}

// witness keeps what the clients have on their screens when something has failed.
func (p *play) witness(stage Stage) error {
	w, ok := p.w.(Witness)
	if !ok || stage.Keep == nil || !p.judge.Failed() {
		return nil
	}
	var errs []error
	screens := w.Screens()
	for _, client := range sortedKeys(screens) {
		file := strings.NewReplacer("[", "", "]", "").Replace(client) + ".png"
		errs = append(errs, stage.Keep(file, screens[client]))
		p.log.Add("script", "screen", trace.String("client", client), trace.String("file", file))
	}
	return errors.Join(errs...)
}

// close closes clients and world. What is stuck is left behind: in a bubble that
// ends the process with the stacks of what did not end.
func (p *play) close() error {
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(p.closeClients(), p.w.Close()) }()
	limit := time.NewTimer(closeLimit)
	defer limit.Stop()
	select {
	case err := <-closed:
		return err
	case <-limit.C:
		return fmt.Errorf("clients and world did not close within %v", closeLimit)
	}
}

// fit adapts a scenario to a stage; lack is why it cannot be played there.
func fit(stage Stage, s *Scenario) (fitted *Scenario, lack string) {
	if stage.Fit != nil {
		if s, lack = stage.Fit(s); lack != "" {
			return s, lack
		}
	}
	return s, missing(stage, s)
}

// missing says which of the scenario's needs the stage lacks and why; "" if it
// has them all.
func missing(stage Stage, s *Scenario) string {
	var lacks []string
	for _, n := range s.takes() {
		why := stage.Lacks(n)
		if s.Level() == 0 && contains(ofLevel1, n) {
			why = "the server speaks level 0 only"
		}
		if why != "" {
			lacks = append(lacks, n+": "+why)
		}
	}
	return strings.Join(lacks, "; ")
}

type play struct {
	w       World
	s       *Scenario
	log     *trace.Log
	judge   *Judge
	lack    string // why it is not played; "" if it is
	clients map[string]Caller
	former  []Caller // that reopen put another client in the place of
	decided chan int
}

func (p *play) head(stage Stage, seed int64) []trace.Attr {
	attrs := []trace.Attr{trace.Int("version", trace.Version), trace.String("scenario", p.s.Name), trace.String("file", p.s.File),
		trace.String("world", stage.Name), trace.Int("level", p.s.Level()), trace.Int("seed", seed), trace.String("text", p.s.Text)}
	for _, part := range sortedKeys(stage.Parts) {
		attrs = append(attrs, trace.String("part."+part, stage.Parts[part]))
	}
	for _, sight := range sortedKeys(stage.Blind) {
		attrs = append(attrs, trace.String(blindKey+sight, stage.Blind[sight]))
	}
	for _, user := range sortedKeys(p.s.accounts) {
		attrs = append(attrs, trace.String(userKey+user, p.s.accounts[user]))
	}
	return append(attrs, trace.String("env.system", runtime.GOOS+"/"+runtime.GOARCH), trace.Int("env.cpus", runtime.GOMAXPROCS(0)))
}

func (p *play) run(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	for i := 0; i < len(p.s.Steps); {
		n, err := p.steps(ctx, i)
		if err != nil {
			return err
		}
		for range n {
			<-p.decided
		}
		if p.judge.Failed() {
			return nil // what follows a failure says nothing about the system
		}
		i += n
	}
	return p.audit(ctx)
}

// steps plays the step i, and the actions behind it that do not wait for it. It
// returns how many these were.
func (p *play) steps(ctx context.Context, i int) (n int, err error) {
	var acting sync.WaitGroup
	defer acting.Wait()
	for timed := true; timed && i+n < len(p.s.Steps) && (n == 0 || p.s.Steps[i+n].timed()); n++ {
		k, st := i+n, p.s.Steps[i+n]
		timed = st.timed()
		if err := p.wait(ctx, st.At); err != nil {
			return n, err
		}
		p.log.Add("script", trace.KindStepBegin, trace.Int("step", k), trace.Int("line", st.Line), trace.String("text", st.Text))
		if st.Kind != Action {
			return n + 1, p.await(ctx, k, st)
		}
		acting.Add(1)
		go func() {
			defer acting.Done()
			p.act(ctx, k, st)
		}()
	}
	return n, nil
}

// timed reports whether the step is an action with a time of its own: it then
// waits for no action before it that has one too.
func (st Step) timed() bool { return st.Kind == Action && st.At >= 0 }

func (p *play) connect(ctx context.Context) error {
	for _, c := range p.s.Clients {
		cl, err := p.w.Client(c, p.log)
		if err != nil {
			return fmt.Errorf("make client %s: %w", c.Name, err)
		}
		p.clients[c.Name] = cl
		if c.Has("offline") {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, actionLimit)
		err = cl.Connect(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("connect %s: %w", c.Name, err)
		}
	}
	return nil
}

func (p *play) closeClients() error {
	var errs []error
	for _, c := range p.former {
		errs = append(errs, c.Close())
	}
	for _, c := range p.s.Clients {
		if cl := p.clients[c.Name]; cl != nil {
			errs = append(errs, cl.Close())
		}
	}
	return errors.Join(errs...)
}

// wait sleeps until the run is as old as at says.
func (p *play) wait(ctx context.Context, at time.Duration) error {
	return sleep(ctx, at-p.log.Now())
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// act performs an action on all its clients at once and records how it went.
func (p *play) act(ctx context.Context, i int, st Step) {
	ctx, cancel := context.WithTimeout(ctx, actionLimit)
	defer cancel()
	err := p.perform(ctx, st)
	attrs := []trace.Attr{trace.Int("step", i)}
	var refused *signaling.Error
	if errors.As(err, &refused) {
		attrs = append(attrs, trace.String("code", string(refused.Code)))
	}
	if err != nil {
		attrs = append(attrs, trace.String("error", err.Error()))
	}
	p.log.Add("script", trace.KindStepEnd, attrs...)
}

func (p *play) perform(ctx context.Context, st Step) error {
	clause := st.Clauses[0]
	if len(st.Actors) == 0 {
		return findVerb(clause.Verb, true).world(p.w, p.s, clause)
	}
	clients, err := p.s.ResolveAll(st.Actors)
	if err != nil {
		return err
	}
	verb := findVerb(clause.Verb, false)
	if verb.again {
		if err := p.reopen(clients); err != nil {
			return err
		}
	}
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for k, c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[k] = verb.client(ctx, p.clients[c.Name], p.aim(clause, k, len(clients)))
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// reopen puts a new client in the place of each.
func (p *play) reopen(clients []Client) error {
	for _, c := range clients {
		next, err := p.w.Client(c, p.log)
		if err != nil {
			return fmt.Errorf("make client %s: %w", c.Name, err)
		}
		p.former = append(p.former, p.clients[c.Name])
		p.clients[c.Name] = next
	}
	return nil
}

// aim turns an argument that names clients into the user that the k-th of n
// actors means: a group's members pair up with another group's.
func (p *play) aim(c Clause, k, n int) Clause {
	if !findVerb(c.Verb, false).aimed {
		return c
	}
	targets, err := p.s.Resolve(c.Args[0])
	if err != nil {
		return c // a user who is not a client of the script
	}
	c.Args = slices.Clone(c.Args)
	c.Args[0] = targets[0].User
	if n > 1 && len(targets) == n {
		c.Args[0] = targets[k].User
	}
	return c
}

// await waits until the judge has decided an expectation or its time is up.
func (p *play) await(ctx context.Context, i int, st Step) error {
	limit := p.limit(st)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	var look <-chan time.Time
	if x := findExpectation(st.Clauses[0].Verb, true); len(st.Actors) == 0 && x.round != nil {
		ticker := time.NewTicker(probeEvery)
		defer ticker.Stop()
		look = ticker.C
		if err := p.probe(ctx); err != nil {
			return err
		}
	}
	for {
		select {
		case got := <-p.decided:
			p.decided <- got // run takes it
			return nil
		case <-look:
			if err := p.probe(ctx); err != nil {
				return err
			}
		case <-deadline.C:
			p.log.Add("script", trace.KindDeadline, trace.Int("step", i))
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *play) limit(st Step) time.Duration {
	switch {
	case st.Kind == Never:
		return st.For
	case st.Within > 0:
		return st.Within
	case st.Clauses[0].Verb == "clean":
		return p.w.Settle()
	default:
		return p.s.Timeout()
	}
}

// audit looks at the world for the last time, when the script has been played:
// until the history says what the clients saw, or clean-up has had its time.
// Under load the history is of other calls too, and says nothing.
func (p *play) audit(ctx context.Context) error {
	if p.s.shared {
		return nil
	}
	for begin := time.Now(); ; {
		if err := p.probe(ctx, trace.Bool("final", true)); err != nil {
			return err
		}
		if p.judge.balanced() || time.Since(begin) >= p.w.Settle() {
			return nil
		}
		if err := sleep(ctx, probeEvery); err != nil {
			return err
		}
	}
}

// probe records what the world holds now, as one round of events, whose end has
// the attributes given.
func (p *play) probe(ctx context.Context, end ...trace.Attr) error {
	found, err := p.w.Probe(ctx)
	if err != nil {
		return fmt.Errorf("look at the servers: %w", err)
	}
	for _, f := range found {
		p.log.Add("script", trace.KindProbe, append([]trace.Attr{trace.String("what", f.What)}, f.Attrs...)...)
	}
	p.log.Add("script", trace.KindProbe, append([]trace.Attr{trace.String("what", "done")}, end...)...)
	return nil
}
