package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/callbench/callbench/server"
)

// fakeMedia is a media server that writes down what it is asked and does as it
// is told.
type fakeMedia struct {
	j *journal

	mu        sync.Mutex
	objects   map[string]bool // pipelines and endpoints that were not released
	pipelines int
	endpoints map[string]*fakeEndpoint // the latest of each pipeline, by "p1.e2"
	delay     map[string]time.Duration // by operation
	fail      map[string]error         // by operation
	hang      map[string]bool          // by operation: until the context ends
	noDTLS    int                      // the next so many endpoints never finish DTLS
	silent    bool                     // gathering makes no events at all
}

func newFakeMedia(j *journal) *fakeMedia {
	return &fakeMedia{j: j, objects: make(map[string]bool), endpoints: make(map[string]*fakeEndpoint),
		delay: make(map[string]time.Duration), fail: make(map[string]error), hang: make(map[string]bool)}
}

// set changes what the media server does.
func (m *fakeMedia) set(change func(m *fakeMedia)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *fakeMedia) left() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

func (m *fakeMedia) endpoint(id string) *fakeEndpoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.endpoints[id]
}

// op does what the operations have in common.
func (m *fakeMedia) op(ctx context.Context, name, object string) error {
	m.j.add("kms %s %s", name, object)
	m.mu.Lock()
	delay, fail, hang := m.delay[name], m.fail[name], m.hang[name]
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
	time.Sleep(delay)
	return fail
}

func (m *fakeMedia) NewPipeline(ctx context.Context) (server.Pipeline, error) {
	if err := m.op(ctx, "create pipeline", ""); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pipelines++
	p := &fakePipeline{media: m, id: fmt.Sprintf("p%d", m.pipelines)}
	m.objects[p.id] = true
	return p, nil
}

type fakePipeline struct {
	media *fakeMedia
	id    string
	made  int
}

func (p *fakePipeline) ID() string { return p.id }

func (p *fakePipeline) NewEndpoint(ctx context.Context, on func(server.MediaEvent)) (server.Endpoint, error) {
	m := p.media
	if err := m.op(ctx, "create endpoint", p.id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.objects[p.id] {
		return nil, errors.New("no such pipeline")
	}
	p.made++
	e := &fakeEndpoint{media: m, pipeline: p, id: fmt.Sprintf("%s.e%d", p.id, p.made), on: on, dtls: m.noDTLS == 0}
	m.noDTLS = max(0, m.noDTLS-1)
	m.objects[e.id], m.endpoints[e.id] = true, e
	return e, nil
}

func (p *fakePipeline) Release(ctx context.Context) error {
	m := p.media
	err := m.op(ctx, "release pipeline", p.id)
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.objects, func(id string, _ bool) bool { return id == p.id || strings.HasPrefix(id, p.id+".") })
	return err
}

type fakeEndpoint struct {
	media    *fakeMedia
	pipeline *fakePipeline
	id       string
	on       func(server.MediaEvent)
	dtls     bool

	mu         sync.Mutex
	negotiated bool
	offer      string
	candidates []server.Candidate
}

func (e *fakeEndpoint) ID() string { return e.id }

func (e *fakeEndpoint) Connect(ctx context.Context, sink server.Endpoint) error {
	return e.media.op(ctx, "connect", e.id+">"+sink.ID())
}

func (e *fakeEndpoint) ProcessOffer(ctx context.Context, offer string) (string, error) {
	if err := e.media.op(ctx, "process offer", e.id); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.negotiated {
		return "", errors.New("40208 Endpoint already negotiated")
	}
	e.negotiated, e.offer = true, offer
	return "answer of " + e.id, nil
}

// Gather finds one candidate, and then the member's side connects at once.
func (e *fakeEndpoint) Gather(ctx context.Context) error {
	if err := e.media.op(ctx, "gather", e.id); err != nil {
		return err
	}
	e.media.mu.Lock()
	silent := e.media.silent
	e.media.mu.Unlock()
	if silent {
		return nil
	}
	e.on(server.MediaEvent{Kind: server.MediaCandidate, Candidate: server.Candidate{Text: "candidate:1 1 UDP 2015364095 10.0.0.9 4000 typ host", SDPMid: "0"}})
	e.on(server.MediaEvent{Kind: server.MediaGathered})
	e.on(server.MediaEvent{Kind: server.MediaICE, Component: 1, State: "CONNECTED"})
	e.on(server.MediaEvent{Kind: server.MediaICE, Component: 2, State: "FAILED"})
	if e.dtls {
		e.on(server.MediaEvent{Kind: server.MediaDTLS, State: "CONNECTED"})
		e.on(server.MediaEvent{Kind: server.MediaDTLS, State: "CONNECTED"})
	}
	return nil
}

func (e *fakeEndpoint) AddCandidates(ctx context.Context, cs []server.Candidate) error {
	err := e.media.op(ctx, "add candidate", e.id)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.candidates = append(e.candidates, cs...)
	return err
}

func (e *fakeEndpoint) Release(ctx context.Context) error {
	err := e.media.op(ctx, "release endpoint", e.id)
	e.media.mu.Lock()
	defer e.media.mu.Unlock()
	delete(e.media.objects, e.id)
	return err
}

// passed are the candidates that arrived.
func (e *fakeEndpoint) passed() (texts []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.candidates {
		texts = append(texts, fmt.Sprintf("%s|%s|%d", c.Text, c.SDPMid, c.SDPMLineIndex))
	}
	return texts
}
