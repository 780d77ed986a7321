package kms

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// endpoint is a WebRtcEndpoint.
type endpoint struct {
	media    *Media
	pipeline *pipeline
	kurento  kurento.WebRtcEndpoint

	mu sync.Mutex // one event at a time
	on func(server.MediaEvent)
}

// NewEndpoint implements server.Pipeline. It costs two round trips: all
// subscriptions travel together, as soon as there is an id to subscribe to.
func (p *pipeline) NewEndpoint(ctx context.Context, on func(server.MediaEvent)) (server.Endpoint, error) {
	k, err := p.kurento.CreateWebRtcEndpoint(ctx, p.media.options)
	if err != nil {
		return nil, wrap(err)
	}
	e := &endpoint{media: p.media, pipeline: p, kurento: k, on: on}
	p.media.mu.Lock()
	p.media.endpoints[e] = struct{}{}
	p.media.mu.Unlock()
	if _, err := k.Subscribe(ctx, e.event, subscribed...); err != nil {
		return nil, fmt.Errorf("%w (its endpoint was released: %v)", wrap(err), e.Release(ctx))
	}
	return e, nil
}

// ID implements server.Endpoint.
func (e *endpoint) ID() string { return string(e.kurento.ID()) }

// Connect implements server.Endpoint.
func (e *endpoint) Connect(ctx context.Context, sink server.Endpoint) error {
	return wrap(e.kurento.Connect(ctx, kurento.ObjectID(sink.ID())))
}

// ProcessOffer implements server.Endpoint.
func (e *endpoint) ProcessOffer(ctx context.Context, offer string) (string, error) {
	answer, err := e.kurento.ProcessOffer(ctx, offer)
	return answer, wrap(err)
}

// Gather implements server.Endpoint.
func (e *endpoint) Gather(ctx context.Context) error { return wrap(e.kurento.GatherCandidates(ctx)) }

// AddCandidates implements server.Endpoint.
func (e *endpoint) AddCandidates(ctx context.Context, candidates []server.Candidate) error {
	var first error
	for _, c := range candidates {
		err := e.kurento.AddIceCandidate(ctx, kurento.IceCandidate{Candidate: c.Text, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex})
		if first == nil {
			first = err
		}
	}
	return wrap(first)
}

// Release implements server.Endpoint.
func (e *endpoint) Release(ctx context.Context) error {
	e.media.mu.Lock()
	delete(e.media.endpoints, e)
	e.media.mu.Unlock()
	return e.media.release(ctx, e.kurento.ID())
}

// subscribed are the events that the server wants of an endpoint.
var subscribed = []kurento.EventType{
	kurento.EventIceCandidateFound, kurento.EventIceGatheringDone,
	kurento.EventIceComponentStateChanged, kurento.EventDtlsConnectionStateChange, kurento.EventConnectionStateChanged,
	kurento.EventMediaFlowInStateChanged, kurento.EventMediaFlowOutStateChanged, kurento.EventMediaTranscodingStateChanged,
	kurento.EventError,
}

// event hands an event on in the server's terms.
func (e *endpoint) event(ev kurento.Event) {
	body, err := ev.Decode()
	if err != nil {
		e.tell(server.MediaEvent{Kind: server.MediaFailure, Detail: err.Error()})
		return
	}
	if out, ok := translate(body); ok {
		e.tell(out)
	}
}

func (e *endpoint) tell(out server.MediaEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on(out)
}

// translate is the table of what Kurento's events mean to the server.
func translate(body any) (out server.MediaEvent, ok bool) {
	switch b := body.(type) {
	case kurento.IceCandidateFound:
		c := b.Candidate
		return server.MediaEvent{Kind: server.MediaCandidate,
			Candidate: server.Candidate{Text: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex}}, true
	case kurento.IceGatheringDone:
		return server.MediaEvent{Kind: server.MediaGathered}, true
	case kurento.IceComponentStateChanged:
		return server.MediaEvent{Kind: server.MediaICE, State: string(b.State), Component: b.ComponentID}, true
	case kurento.DtlsConnectionStateChange:
		return server.MediaEvent{Kind: server.MediaDTLS, State: string(b.State)}, true
	case kurento.ConnectionStateChanged:
		return server.MediaEvent{Kind: server.MediaConnection, State: string(b.NewState)}, true
	case kurento.MediaFlowInStateChanged:
		return flow(server.MediaFlowIn, b.MediaType, b.State), true
	case kurento.MediaFlowOutStateChanged:
		return flow(server.MediaFlowOut, b.MediaType, b.State), true
	case kurento.MediaTranscodingStateChanged:
		return flow(server.MediaTranscoding, b.MediaType, b.State), true
	case kurento.ErrorRaised: // its description may quote a TURN password
		return server.MediaEvent{Kind: server.MediaFailure, State: b.Name, Detail: fmt.Sprintf("%s (%d)", b.Name, b.ErrorCode)}, true
	default:
		return out, false
	}
}

func flow(kind server.MediaEventKind, medium kurento.MediaType, state kurento.State) server.MediaEvent {
	return server.MediaEvent{Kind: kind, State: string(state), Medium: strings.ToLower(string(medium))}
}
