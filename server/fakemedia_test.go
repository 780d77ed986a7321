package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
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
	made      map[string]*fakePipeline
	endpoints map[string]*fakeEndpoint // the latest of each pipeline, by "p1.e2"
	delay     map[string]time.Duration // by operation
	fail      map[string]error         // by operation
	hang      map[string]bool          // by operation: until the context ends
	noDTLS    int                      // the next so many endpoints never finish DTLS
	silent    bool                     // gathering makes no events at all
	recorders map[string]*fakeRecorder // by "p1.r1"
	starved   map[string]bool          // media that never come to a recorder, by kind
}

func newFakeMedia(j *journal) *fakeMedia {
	return &fakeMedia{j: j, objects: make(map[string]bool), made: make(map[string]*fakePipeline), endpoints: make(map[string]*fakeEndpoint),
		delay: make(map[string]time.Duration), fail: make(map[string]error), hang: make(map[string]bool),
		recorders: make(map[string]*fakeRecorder), starved: make(map[string]bool)}
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
	p := &fakePipeline{media: m, id: fmt.Sprintf("p%d", m.pipelines), made: make(map[string]int)}
	m.objects[p.id], m.made[p.id] = true, p
	return p, nil
}

func (m *fakeMedia) NewCall(ctx context.Context, on func(server.MediaEvent)) (server.Pipeline, server.Endpoint, error) {
	p, err := m.NewPipeline(ctx)
	if err != nil {
		return nil, nil, err
	}
	e, err := p.NewEndpoint(ctx, nil, on)
	if err != nil {
		m.j.add("kms undo pipeline %s", p.ID())
		m.drop(p.ID())
		return nil, nil, err
	}
	return p, e, nil
}

func (m *fakeMedia) Pipeline(ctx context.Context, id string) (server.Pipeline, error) {
	if err := m.op(ctx, "take over pipeline", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.objects[id] || m.made[id] == nil {
		return nil, fmt.Errorf("no pipeline %s: %w", id, server.ErrMediaGone)
	}
	return m.made[id], nil
}

type fakePipeline struct {
	media *fakeMedia
	id    string
	made  map[string]int // objects, by the letter of their kind
}

func (p *fakePipeline) ID() string { return p.id }

// object makes an object of the pipeline's, whose id is "p1.e1".
func (p *fakePipeline) object(ctx context.Context, what, letter string) (fakeElement, error) {
	m := p.media
	if err := m.op(ctx, "create "+what, p.id); err != nil {
		return fakeElement{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.objects[p.id] {
		return fakeElement{}, fmt.Errorf("no pipeline %s: %w", p.id, server.ErrMediaGone)
	}
	p.made[letter]++
	id := fmt.Sprintf("%s.%s%d", p.id, letter, p.made[letter])
	m.objects[id] = true
	return fakeElement{m, what, id}, nil
}

func (p *fakePipeline) NewEndpoint(ctx context.Context, peer server.Endpoint, on func(server.MediaEvent)) (server.Endpoint, error) {
	e, err := p.newEndpoint(ctx, on)
	if err != nil || peer == nil {
		return e, err
	}
	if err := e.Join(ctx, peer); err != nil {
		p.media.j.add("kms undo endpoint %s", e.ID())
		p.media.drop(e.ID())
		return nil, err
	}
	return e, nil
}

func (p *fakePipeline) newEndpoint(ctx context.Context, on func(server.MediaEvent)) (server.Endpoint, error) {
	made, err := p.object(ctx, "endpoint", "e")
	if err != nil {
		return nil, err
	}
	m := p.media
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &fakeEndpoint{fakeElement: made, on: on, dtls: m.noDTLS == 0}
	m.noDTLS = max(0, m.noDTLS-1)
	m.endpoints[e.id] = e
	return e, nil
}

// Endpoint takes an endpoint over: its events go to another from now on.
func (p *fakePipeline) Endpoint(ctx context.Context, id string, on func(server.MediaEvent)) (server.Endpoint, error) {
	m := p.media
	if err := m.op(ctx, "take over endpoint", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.objects[id] || !strings.HasPrefix(id, p.id+".e") {
		return nil, fmt.Errorf("no endpoint %s: %w", id, server.ErrMediaGone)
	}
	e := m.endpoints[id]
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on = on
	return e, nil
}

func (p *fakePipeline) NewMixer(ctx context.Context) (server.Mixer, error) {
	made, err := p.object(ctx, "mixer", "m")
	if err != nil {
		return nil, err
	}
	return &fakeMixer{made: made, pipeline: p}, nil
}

func (p *fakePipeline) NewRecorder(ctx context.Context, uri string, on func(server.RecorderEvent), media ...string) (server.Recorder, error) {
	made, err := p.object(ctx, "recorder", "r")
	if err != nil {
		return nil, err
	}
	if len(media) == 0 {
		media = []string{server.Audio, server.Video}
	}
	r := &fakeRecorder{fakeElement: made, uri: uri, on: on, media: media}
	p.media.set(func(m *fakeMedia) { m.recorders[r.id] = r })
	return r, nil
}

func (p *fakePipeline) Release(ctx context.Context) error {
	err := p.media.op(ctx, "release pipeline", p.id)
	p.media.drop(p.id)
	return err
}

func (p *fakePipeline) ReleaseWith(ctx context.Context, last server.Endpoint) error {
	return errors.Join(last.Release(ctx), p.Release(ctx))
}

// has reports objects that were released as the media server does.
func (m *fakeMedia) has(ids ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if !m.objects[id] {
			return fmt.Errorf("no object %s: %w", id, server.ErrMediaGone)
		}
	}
	return nil
}

// drop forgets an object and what is in it.
func (m *fakeMedia) drop(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.objects, func(o string, _ bool) bool { return o == id || strings.HasPrefix(o, id+".") })
}

// fakeElement is what all elements have in common.
type fakeElement struct {
	kms  *fakeMedia
	what string
	id   string
}

func (e *fakeElement) ID() string { return e.id }

func (e *fakeElement) Connect(ctx context.Context, sink server.Element) error {
	if err := e.kms.op(ctx, "connect", e.id+">"+sink.ID()); err != nil {
		return err
	}
	if err := e.kms.has(e.id, sink.ID()); err != nil {
		return err
	}
	if r, ok := sink.(*fakeRecorder); ok {
		r.connected()
	}
	return nil
}

func (e *fakeEndpoint) Join(ctx context.Context, other server.Endpoint) error {
	if err := e.Connect(ctx, other); err != nil {
		return err
	}
	return other.Connect(ctx, e)
}

func (e *fakeElement) Disconnect(ctx context.Context, sink server.Element) error {
	return e.kms.op(ctx, "disconnect", e.id+">"+sink.ID())
}

func (e *fakeElement) Release(ctx context.Context) error {
	err := e.kms.op(ctx, "release "+e.what, e.id)
	e.kms.drop(e.id)
	return err
}

// fakeMixer makes ports, "p1.m1.h1".
type fakeMixer struct {
	made     fakeElement
	pipeline *fakePipeline
}

func (m *fakeMixer) ID() string { return m.made.id }

func (m *fakeMixer) NewPort(ctx context.Context) (server.Element, error) {
	ports := fakePipeline{media: m.made.kms, id: m.made.id, made: m.pipeline.made}
	port, err := ports.object(ctx, "port", "h")
	if err != nil {
		return nil, err
	}
	return &port, nil
}

func (m *fakeMixer) Release(ctx context.Context) error { return m.made.Release(ctx) }

// fakeRecorder starts once something is connected to it and Record was called,
// unless a kind that it was made for is starved.
type fakeRecorder struct {
	fakeElement
	uri   string
	media []string
	on    func(server.RecorderEvent)

	mu                       sync.Mutex
	flowing, record, started bool
}

func (m *fakeMedia) recorder(id string) *fakeRecorder {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recorders[id]
}

func (r *fakeRecorder) connected() {
	for _, kind := range r.media {
		if !r.hungry(kind) {
			r.on(server.RecorderEvent{Kind: server.RecorderFlowIn, Medium: kind, State: server.StateFlowing})
		}
	}
	r.mu.Lock()
	r.flowing = true
	r.mu.Unlock()
	r.start()
}

func (r *fakeRecorder) hungry(kind string) bool {
	r.kms.mu.Lock()
	defer r.kms.mu.Unlock()
	return r.kms.starved[kind]
}

func (r *fakeRecorder) start() {
	complete := !slices.ContainsFunc(r.media, r.hungry)
	r.mu.Lock()
	starts := r.flowing && r.record && complete && !r.started
	r.started = r.started || starts
	r.mu.Unlock()
	if starts {
		r.on(server.RecorderEvent{Kind: server.RecorderStarted})
	}
}

func (r *fakeRecorder) Record(ctx context.Context) error {
	if err := r.kms.op(ctx, "record", r.id); err != nil {
		return err
	}
	r.mu.Lock()
	r.record = true
	r.mu.Unlock()
	r.start()
	return nil
}

func (r *fakeRecorder) Stop(ctx context.Context) error {
	if err := r.kms.op(ctx, "stop", r.id); err != nil {
		return err
	}
	r.mu.Lock()
	started := r.started
	r.mu.Unlock()
	if !started {
		return fmt.Errorf("recorder %s: %w", r.id, server.ErrNothingRecorded)
	}
	r.on(server.RecorderEvent{Kind: server.RecorderStopped})
	return nil
}

type fakeEndpoint struct {
	fakeElement
	dtls bool

	mu         sync.Mutex
	on         func(server.MediaEvent)
	negotiated bool
	offer      string
	candidates []server.Candidate
}

// tell raises an event.
func (e *fakeEndpoint) tell(ev server.MediaEvent) {
	e.mu.Lock()
	on := e.on
	e.mu.Unlock()
	on(ev)
}

func (e *fakeEndpoint) Negotiate(ctx context.Context, offer string) (string, error) {
	answer, err := e.processOffer(ctx, offer)
	if err != nil {
		return "", err
	}
	return answer, e.gather(ctx)
}

func (e *fakeEndpoint) processOffer(ctx context.Context, offer string) (string, error) {
	if err := e.kms.op(ctx, "process offer", e.id); err != nil {
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

// gather finds one candidate, and then the member's side connects at once.
func (e *fakeEndpoint) gather(ctx context.Context) error {
	if err := e.kms.op(ctx, "gather", e.id); err != nil {
		return err
	}
	e.kms.mu.Lock()
	silent := e.kms.silent
	e.kms.mu.Unlock()
	if silent {
		return nil
	}
	e.tell(server.MediaEvent{Kind: server.MediaCandidate, Candidate: server.Candidate{Text: "candidate:1 1 UDP 2015364095 10.0.0.9 4000 typ host", SDPMid: "0"}})
	e.tell(server.MediaEvent{Kind: server.MediaGathered})
	e.tell(server.MediaEvent{Kind: server.MediaICE, Component: 1, State: "CONNECTED"})
	e.tell(server.MediaEvent{Kind: server.MediaICE, Component: 2, State: "FAILED"})
	if e.dtls {
		e.tell(server.MediaEvent{Kind: server.MediaDTLS, State: "CONNECTED"})
		e.tell(server.MediaEvent{Kind: server.MediaDTLS, State: "CONNECTED"})
		e.tell(server.MediaEvent{Kind: server.MediaFlowOut, Medium: server.Audio, State: server.StateFlowing})
		e.tell(server.MediaEvent{Kind: server.MediaFlowOut, Medium: server.Video, State: server.StateFlowing})
	}
	return nil
}

func (e *fakeEndpoint) AddCandidates(ctx context.Context, cs []server.Candidate) error {
	err := e.kms.op(ctx, "add candidate", e.id)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.candidates = append(e.candidates, cs...)
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

// TestFakeRecorder holds the fake to what a recorder of Kurento's does: it
// starts when all that it was made for comes, and has nothing to stop before.
func TestFakeRecorder(t *testing.T) {
	for _, starved := range []bool{false, true} {
		ctx, m := t.Context(), newFakeMedia(&journal{})
		m.starved[server.Audio] = starved
		p, err := m.NewPipeline(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var events []server.RecorderEventKind
		r, err := p.NewRecorder(ctx, "file:///r.webm", func(e server.RecorderEvent) { events = append(events, e.Kind) })
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.NewEndpoint(ctx, nil, func(server.MediaEvent) {})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(r.Record(ctx), e.Connect(ctx, m.recorder(r.ID())), r.Stop(ctx))
		want := []server.RecorderEventKind{server.RecorderFlowIn, server.RecorderFlowIn, server.RecorderStarted, server.RecorderStopped}
		if starved {
			want = want[:1]
		}
		if !slices.Equal(events, want) || errors.Is(err, server.ErrNothingRecorded) != starved {
			t.Errorf("starved %v: %v, %v", starved, events, err)
		}
	}
}
