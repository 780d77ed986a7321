package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world/stack"
	"github.com/callbench/callbench/server"
)

// Containers is the world in which every part is real and a container of its own.
// It is seen as a remote one is, and its parts can be stopped and cut off.
type Containers struct {
	*Remote
	fleet *Fleet
	own   *access
	log   *trace.Log
	files map[string][]trace.Attr // what was found of recordings that do not change any more

	acting sync.WaitGroup // faults that go on
	mu     sync.Mutex
	failed []error // of those
}

func openContainers(ctx context.Context, f *Fleet, s *scenarios.Scenario, seed int64, log *trace.Log) (*Containers, error) {
	if err := f.ready(ctx); err != nil {
		return nil, err
	}
	w := &Containers{fleet: f, own: new(access), log: log, files: map[string][]trace.Attr{}}
	w.own.init()
	w.own.secret = f.at.Token
	var users []string
	for _, c := range s.Clients {
		w.own.know(c.User, w)
		users = append(users, c.User)
	}
	if err := f.introduce(ctx, users); err != nil {
		return nil, fmt.Errorf("make the users known: %w", err)
	}
	var err error
	w.Remote, err = NewRemote(ctx, s, f.target(w.own, s), seed, log)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Close implements scenarios.World. What is broken is mended before the next
// scenario.
func (w *Containers) Close() error {
	w.acting.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.Remote.Close(), errors.Join(w.failed...))
}

// Token implements scenarios.World.
func (w *Containers) Token(c scenarios.Client, kind string) error {
	if err := w.own.Token(c, kind); err != nil || kind != scenarios.TokenRevoked {
		return err
	}
	id := w.own.lastID(c)
	if id == "" {
		return fmt.Errorf("token %s revoked: it has shown none", c.Name)
	}
	return w.fleet.revoke(server.Revocation{TokenID: id})
}

// revokeLimit is how long a server may take to take back a token.
const revokeLimit = 5 * time.Second

// revoke takes back tokens, as the product's administrators do.
func (f *Fleet) revoke(r server.Revocation) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.at.Admin[0]+"/revocations", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+f.at.AdminToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("take back a token: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, longest))
		return fmt.Errorf("take back a token: %s", bytes.TrimSpace(said))
	}
	return nil
}

// Block implements scenarios.World.
func (w *Containers) Block(user, other string, on bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), revokeLimit)
	defer cancel()
	r := w.fleet.db.Relations()
	change := r.Unblock
	if on {
		change = r.Block
	}
	if err := change(ctx, user, other); err != nil {
		return err
	}
	return learn(ctx)
}

// Probe implements scenarios.World: with what the files of recordings are. A media
// server that was killed gives no answer, and holds nothing.
func (w *Containers) Probe(ctx context.Context) ([]scenarios.Finding, error) {
	found, err := w.Remote.Probe(ctx)
	if p, err := w.fleet.stack.Part(stack.Kurento); err == nil && p.Dead() {
		found = slices.DeleteFunc(found, func(f scenarios.Finding) bool { return f.What == "left" && attr(f, "where") == "kms probe" })
	}
	for i := range found {
		f := &found[i]
		if f.What != "recording" || !over(server.RecordingHistory{Status: attr(*f, "state")}) {
			continue
		}
		room, id := attr(*f, "room"), attr(*f, "recording")
		if w.files[id] == nil {
			w.files[id] = w.fleet.look(ctx, room, id, attr(*f, "size"))
		}
		f.Attrs = append(f.Attrs, w.files[id]...)
	}
	return found, err
}

// look reads a recording's file in a container.
func (f *Fleet) look(ctx context.Context, room, recording, size string) []trace.Attr {
	b, err := f.stack.Recording(ctx, room+"/"+recording+".webm")
	written, err2 := strconv.Atoi(size)
	return fileAttrs(b, errors.Join(err, err2), int64(written))
}

// Part implements scenarios.PartsControl.
func (w *Containers) Part(name string) (scenarios.Part, error) {
	if name == stack.Server {
		return allServers{w}, nil
	}
	p, err := w.fleet.stack.Part(name)
	if err != nil {
		return nil, err
	}
	return tellingPart{p, w, name}, nil
}

// Line implements scenarios.PartsControl.
func (w *Containers) Line(name string) (scenarios.Line, error) {
	l, err := w.fleet.stack.Line(name)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// tellingPart is a part whose faults show in the trace.
type tellingPart struct {
	*stack.Part
	world *Containers
	name  string
}

func (p tellingPart) tell(err error, what string) error {
	if err == nil {
		p.world.log.Add("parts", trace.Kind("part."+what), trace.String("part", p.name))
	}
	return err
}

// Pause implements scenarios.Part.
func (p tellingPart) Pause() error { return p.tell(p.Part.Pause(), "paused") }

// Resume implements scenarios.Part.
func (p tellingPart) Resume() error { return p.tell(p.Part.Resume(), "resumed") }

// Kill implements scenarios.Part.
func (p tellingPart) Kill() error { return p.tell(p.Part.Kill(), "killed") }

// Start implements scenarios.Part.
func (p tellingPart) Start() error { return p.tell(p.Part.Start(), "started") }

// Partition implements scenarios.Part.
func (p tellingPart) Partition(on bool) error {
	what := "joined"
	if on {
		what = "parted"
	}
	return p.tell(p.Part.Partition(on), what)
}

// later does something beside the script, which the world's end waits for.
func (w *Containers) later(do func() error) {
	w.acting.Go(func() {
		if err := do(); err != nil {
			w.mu.Lock()
			w.failed = append(w.failed, err)
			w.mu.Unlock()
		}
	})
}

// on does something with a part.
func (w *Containers) on(name string, do func(scenarios.Part) error) error {
	p, err := w.Part(name)
	if err != nil {
		return err
	}
	return do(p)
}

// killThenStart restarts a part: it may be dead already.
func killThenStart(p scenarios.Part, after time.Duration) error {
	if err := p.Kill(); err != nil && !errors.Is(err, stack.ErrDead) {
		return err
	}
	time.Sleep(after)
	return p.Start()
}

// KillKMS implements scenarios.MediaServerControl.
func (w *Containers) KillKMS() {
	w.later(func() error { return w.on(stack.Kurento, scenarios.Part.Kill) })
}

// RestartKMS implements scenarios.MediaServerControl.
func (w *Containers) RestartKMS(after time.Duration) {
	w.later(func() error {
		return w.on(stack.Kurento, func(p scenarios.Part) error { return killThenStart(p, after) })
	})
}

// HangKMS implements scenarios.MediaServerControl.
func (w *Containers) HangKMS() error { return w.on(stack.Kurento, scenarios.Part.Pause) }

// HealKMS implements scenarios.MediaServerControl.
func (w *Containers) HealKMS() {
	w.later(func() error { return w.on(stack.Kurento, scenarios.Part.Resume) })
}

// BreakKMS implements scenarios.MediaServerControl.
func (w *Containers) BreakKMS(scenarios.KMSFault) error {
	return errors.New(w.fleet.lacks("kms-faults"))
}

// RestartRedis implements scenarios.RedisControl.
func (w *Containers) RestartRedis(away time.Duration) {
	w.later(func() error {
		return w.on(stack.Redis, func(p scenarios.Part) error { return killThenStart(p, away) })
	})
}

// FlushRedis implements scenarios.RedisControl.
func (w *Containers) FlushRedis() {
	w.later(func() error {
		_, err := w.fleet.redis(func(r *redis.Client) ([]string, error) { return nil, r.FlushAll(context.Background()).Err() })
		return err
	})
}

// SlowRedis implements scenarios.RedisControl.
func (w *Containers) SlowRedis(d time.Duration) {
	w.later(func() error {
		l, err := w.Line(stack.Redis)
		if err != nil {
			return err
		}
		return l.SetDelay(d)
	})
}

// servers does something with all signaling servers at once.
func (w *Containers) servers(do func(scenarios.Part) error) error {
	var all sync.WaitGroup
	parts := w.fleet.stack.ServerParts()
	errs := make([]error, len(parts))
	for i, p := range parts {
		all.Go(func() { errs[i] = do(tellingPart{p, w, p.Name()}) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// allServers are the signaling servers as one part.
type allServers struct{ world *Containers }

// Pause implements scenarios.Part.
func (a allServers) Pause() error { return a.world.servers(scenarios.Part.Pause) }

// Resume implements scenarios.Part.
func (a allServers) Resume() error { return a.world.servers(scenarios.Part.Resume) }

// Kill implements scenarios.Part.
func (a allServers) Kill() error { return a.world.servers(scenarios.Part.Kill) }

// Start implements scenarios.Part.
func (a allServers) Start() error { return a.world.StartServer() }

// Partition implements scenarios.Part.
func (a allServers) Partition(on bool) error {
	return a.world.servers(func(p scenarios.Part) error { return p.Partition(on) })
}

// KillServer implements scenarios.ServerControl.
func (w *Containers) KillServer() error { return w.servers(scenarios.Part.Kill) }

// StartServer implements scenarios.ServerControl: the balancer lets clients in then.
func (w *Containers) StartServer() error {
	if err := w.servers(scenarios.Part.Start); err != nil {
		return err
	}
	return w.fleet.stack.Open()
}
