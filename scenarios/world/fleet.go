package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world/stack"
	"github.com/callbench/callbench/server/store"
)

// Fleet is a system in containers on which one scenario after the other is played.
// It is built anew when one has left something behind.
type Fleet struct {
	stack *stack.Stack
	at    stack.Addresses
	dir   string // of the journal of what the harness itself writes to the database
	say   func(format string, args ...any)

	mu     sync.Mutex
	played int // scenarios so far, whose users have names of their own
	db     *store.MySQL
	dirty  string // why the system must be built anew; "" if it need not
}

// StartFleet starts a system in containers.
func StartFleet(ctx context.Context, cfg stack.Config) (_ *Fleet, err error) {
	f := &Fleet{say: cfg.Say}
	if f.say == nil {
		f.say = func(string, ...any) {}
	}
	if f.stack, err = stack.Start(ctx, cfg); err != nil {
		return nil, err
	}
	if f.dir, err = os.MkdirTemp("", "callbench-fleet-"); err != nil {
		return nil, errors.Join(fmt.Errorf("make a folder: %w", err), f.Close())
	}
	if err := f.settleIn(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Stack is what the fleet is made of.
func (f *Fleet) Stack() *stack.Stack { return f.stack }

// settleIn connects to what the harness itself writes to.
func (f *Fleet) settleIn(ctx context.Context) (err error) {
	f.at = f.stack.Addresses()
	f.db, err = store.OpenMySQL(ctx, store.MySQLConfig{DSN: f.at.MySQL, Dir: f.dir})
	return err
}

// Close removes all containers.
func (f *Fleet) Close() error {
	var errs []error
	if f.db != nil {
		errs = append(errs, f.db.Close())
	}
	errs = append(errs, f.stack.Close())
	if f.dir != "" {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}

// cleanLimit is how long what a scenario left may take to go, until the system is built anew.
const cleanLimit = 10 * time.Second

// ready makes the system ready for a scenario: nothing is paused, dead, or cut off,
// and nothing is left of the last one.
func (f *Fleet) ready(ctx context.Context) error {
	f.mu.Lock()
	why := f.dirty
	f.dirty = ""
	f.mu.Unlock()
	if why == "" {
		if err := f.stack.Mend(ctx); err != nil {
			why = err.Error()
		}
	}
	if why == "" {
		why = f.left(ctx)
	}
	if why == "" {
		return nil
	}
	if err := f.renew(ctx, why); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dirty = why // the next scenario tries again
		return fmt.Errorf("build the system anew: %w", err)
	}
	return nil
}

// renew builds the system anew.
func (f *Fleet) renew(ctx context.Context, why string) error {
	f.say("building the system anew: %s", why)
	if f.db != nil {
		_ = f.db.Close() // what it could not write is of the system that goes
		f.db = nil
	}
	if err := f.stack.Renew(ctx); err != nil {
		return err
	}
	return f.settleIn(ctx)
}

// left is what scenarios have left in the end, "" if nothing.
func (f *Fleet) left(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	for {
		why, err := f.leftNow(ctx)
		if why == "" && err == nil {
			return ""
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			if why == "" {
				why = err.Error()
			}
			return why
		}
	}
}

func (f *Fleet) leftNow(ctx context.Context) (left string, err error) {
	c, err := kurento.Dial(ctx, kurento.Config{URL: f.at.Kurento})
	if err != nil {
		return "", err
	}
	ids, err := c.ServerManager().Pipelines(ctx)
	if err := errors.Join(err, c.Close()); err != nil {
		return "", err
	}
	if len(ids) > 0 {
		return fmt.Sprintf("the media server has %d pipelines", len(ids)), nil
	}
	keys, err := f.redis(func(r *redis.Client) ([]string, error) { return r.Keys(ctx, "rtc:*").Result() })
	if i := slices.IndexFunc(keys, scenarios.Left); i >= 0 {
		return "Redis has " + keys[i], nil
	}
	return "", err
}

// redis does something with a connection to Redis.
func (f *Fleet) redis(do func(*redis.Client) ([]string, error)) (all []string, err error) {
	r := redis.NewClient(&redis.Options{Addr: f.at.Redis, DisableIdentity: true, MaxRetries: -1})
	all, err = do(r)
	return all, errors.Join(err, r.Close())
}

// introduce makes users known to the servers and each other's contacts.
func (f *Fleet) introduce(ctx context.Context, users []string) error {
	r := f.db.Relations()
	if err := r.Know(ctx, users...); err != nil {
		return err
	}
	for i, a := range users {
		for _, b := range users[i+1:] {
			if err := r.Befriend(ctx, a, b); err != nil {
				return err
			}
		}
	}
	return learn(ctx)
}

// learn waits until servers have read who knows and who blocks whom.
func learn(ctx context.Context) error {
	select {
	case <-time.After(2 * stack.RelationsRefresh):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// accounts are the users of the next scenario: no other has them, and so finds
// nothing of theirs.
func (f *Fleet) accounts(s *scenarios.Scenario) []Account {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.played++
	var all []Account
	for _, u := range s.Users() {
		all = append(all, Account{User: fmt.Sprintf("%s.%d", u, f.played)})
	}
	return all
}

// Stage plays on the fleet.
func (f *Fleet) Stage(seed int64) scenarios.Stage {
	t := f.target(nil, nil)
	blind := t.Probes.blind()
	blind[scenarios.SightEvents] = "what the parts say while they work is in their containers' logs, not in the trace"
	return scenarios.Stage{Name: "containers", Parts: t.parts(), Lacks: f.lacks, Blind: blind,
		Fit: f.fit,
		Open: func(ctx context.Context, s *scenarios.Scenario, log *trace.Log) (scenarios.World, error) {
			return openContainers(ctx, f, s, seed, log)
		}}
}

// fit gives a scenario users of its own, or says why it is not played.
func (f *Fleet) fit(s *scenarios.Scenario) (fitted *scenarios.Scenario, lack string) {
	if part := f.missing(s); part != "" {
		return s, part + " runs elsewhere: it is not for the harness to stop"
	}
	t := Target{Accounts: f.accounts(s)}
	return t.fit(s)
}

// missing is the first part that a scenario acts on and that is in no container; ""
// if all are.
func (f *Fleet) missing(s *scenarios.Scenario) string {
	for _, st := range s.Steps {
		c := st.Clauses[0]
		if st.Kind != scenarios.Action || len(st.Actors) > 0 || c.Verb != "part" {
			continue
		}
		if _, err := f.stack.Part(c.Args[0]); err != nil {
			return c.Args[0]
		}
	}
	return ""
}

// target is the system as a remote one would be seen. own says what clients show.
func (f *Fleet) target(own *access, s *scenarios.Scenario) Target {
	t := Target{URL: f.at.Web, Markers: f.stack.StandIn(stack.Kurento) == "kmsmock", Parts: f.stack.Versions(),
		Probes: Probes{Redis: f.at.Redis, MySQL: f.at.MySQL, KMS: f.at.Kurento, TURN: &TURN{URL: f.at.TURN, Secret: f.at.Secret, Log: f.at.TURNLog}}}
	if s != nil && !s.TURN() {
		t.Probes.TURN.Log = "" // clients that can do without a relay may leave one to its time
	}
	if own != nil {
		t.Token = func(_ context.Context, c scenarios.Client) (string, error) { return own.token(c) }
	}
	return t
}

// lacks says what a system in containers has not got.
func (f *Fleet) lacks(capability string) string {
	elsewhere := func(part, why string) string {
		if _, err := f.stack.Part(part); err != nil {
			return why
		}
		return ""
	}
	switch capability {
	case scenarios.Chromium:
		return noChromium()
	case "virtualtime":
		return "the minutes would pass in real time"
	case "kmsevents":
		return "a media server in a container tells nobody what it is asked for"
	case "kms-faults":
		return "a media server in a container does not fail in single requests"
	case "push":
		return "there is no webhook that servers in containers reach"
	case "rotation":
		return "the secret of the TURN server is that which its container was started with"
	case "kms-control":
		return elsewhere(stack.Kurento, "the media server runs elsewhere")
	case "redis-control":
		return elsewhere(stack.Redis, "Redis runs elsewhere")
	case "files":
		return elsewhere(stack.Kurento, "the media server runs elsewhere, and so do the files of recordings")
	case "mixed":
		if f.stack.StandIn(stack.Kurento) != "kmsmock" {
			return "a real Kurento codes its mix anew, without markers"
		}
	case "allocations":
		return elsewhere(stack.Coturn, "the TURN server runs elsewhere")
	}
	return ""
}
