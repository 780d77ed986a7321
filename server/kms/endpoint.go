package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// endpoint is a WebRtcEndpoint.
type endpoint struct {
	element
	kurento kurento.WebRtcEndpoint
}

// NewEndpoint implements server.Pipeline.
func (p *pipeline) NewEndpoint(ctx context.Context, peer server.Endpoint, on func(server.MediaEvent)) (server.Endpoint, error) {
	losses := p.media.lossesSoFar()
	w := &watcher{}
	var with kurento.ObjectID
	if peer != nil {
		with = kurento.ObjectID(peer.ID())
	}
	k, err := p.kurento.CreateEndpoint(ctx, p.media.options, with, w.handle(on), subscribed...)
	if err != nil {
		return nil, wrap(err)
	}
	return p.made(ctx, k, w, on, losses)
}

// NewCall implements server.Media. As NewPipeline it waits a moment for a media
// server that is away.
func (m *Media) NewCall(ctx context.Context, on func(server.MediaEvent)) (server.Pipeline, server.Endpoint, error) {
	if err := m.present(ctx); err != nil {
		return nil, nil, err
	}
	losses := m.lossesSoFar()
	w := &watcher{}
	kp, ke, err := m.client.CreateCall(ctx, m.options, w.handle(on), subscribed...)
	if err != nil {
		return nil, nil, wrap(err)
	}
	m.keep(kp.ID())
	p := &pipeline{media: m, kurento: kp}
	e, err := p.made(ctx, ke, w, on, losses)
	if err != nil {
		return nil, nil, errors.Join(err, p.Release(ctx))
	}
	return p, e, nil
}

// made makes the handle of an endpoint that was created, and whose loss is told from
// now on. If everything was lost since losses were counted, so is the endpoint.
func (p *pipeline) made(ctx context.Context, k kurento.WebRtcEndpoint, w *watcher, on func(server.MediaEvent), losses int) (*endpoint, error) {
	w.pipeline, w.lost = p, lostEndpoint(on)
	e := &endpoint{element{p.media, k.MediaElement, w}, k}
	if !p.media.watchSince(w, losses) {
		return nil, fmt.Errorf("%w: it went while endpoint %s was made (released: %v)", server.ErrMediaGone, k.ID(), e.Release(ctx))
	}
	return e, nil
}

func lostEndpoint(on func(server.MediaEvent)) func(string) {
	return func(detail string) { on(server.MediaEvent{Kind: server.MediaLost, Detail: detail}) }
}

// handle is the handler of an endpoint's events.
func (w *watcher) handle(on func(server.MediaEvent)) func(kurento.Event) {
	return func(ev kurento.Event) { w.tell(func() { tellEndpoint(ev, on) }) }
}

// Endpoint implements server.Pipeline.
func (p *pipeline) Endpoint(ctx context.Context, id string, on func(server.MediaEvent)) (server.Endpoint, error) {
	object := kurento.ObjectID(id)
	if object.Parent() != p.kurento.ID() {
		return nil, fmt.Errorf("%w: %s is not in pipeline %s", server.ErrMediaGone, id, p.ID())
	}
	if err := p.media.exists(ctx, object, "WebRtcEndpoint"); err != nil {
		return nil, err
	}
	e := p.endpoint(p.media.client.WebRtcEndpoint(object), on)
	err := e.subscribe(ctx, on)
	if err == nil {
		err = e.tellPresent(ctx, on)
	}
	if err != nil {
		p.media.unwatch(func(w *watcher) bool { return w == e.watcher })
		return nil, wrap(err)
	}
	return e, nil
}

// tellPresent tells what an endpoint has told somebody else before: that it is
// connected, and what flows out of it.
func (e *endpoint) tellPresent(ctx context.Context, on func(server.MediaEvent)) error {
	tell := func(out server.MediaEvent) { e.watcher.tell(func() { on(out) }) }
	state, err := e.kurento.ConnectionState(ctx)
	if err != nil {
		return err
	}
	if state == kurento.StateConnected { // which it is when DTLS is
		tell(server.MediaEvent{Kind: server.MediaConnection, State: server.StateConnected})
		tell(server.MediaEvent{Kind: server.MediaDTLS, State: server.StateConnected})
	}
	for _, medium := range []kurento.MediaType{kurento.Audio, kurento.Video} {
		flowing, err := e.kurento.FlowingOut(ctx, medium)
		if err != nil {
			return err
		}
		if flowing {
			tell(flow(server.MediaFlowOut, medium, kurento.StateFlowing))
		}
	}
	return nil
}

// endpoint makes the handle of an endpoint, whose loss is told from now on.
func (p *pipeline) endpoint(k kurento.WebRtcEndpoint, on func(server.MediaEvent)) *endpoint {
	w := &watcher{pipeline: p, lost: lostEndpoint(on)}
	p.media.watch(w)
	return &endpoint{element{p.media, k.MediaElement, w}, k}
}

func (e *endpoint) subscribe(ctx context.Context, on func(server.MediaEvent)) error {
	_, err := e.kurento.Subscribe(ctx, e.watcher.handle(on), subscribed...)
	return err
}

// Join implements server.Endpoint.
func (e *endpoint) Join(ctx context.Context, other server.Endpoint) error {
	return wrap(e.kurento.Join(ctx, kurento.ObjectID(other.ID())))
}

// Negotiate implements server.Endpoint.
func (e *endpoint) Negotiate(ctx context.Context, offer string) (string, error) {
	answer, err := e.kurento.Negotiate(ctx, offer)
	return answer, wrap(err)
}

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

// subscribed are the events that the server wants of an endpoint.
var subscribed = []kurento.EventType{
	kurento.EventIceCandidateFound, kurento.EventIceGatheringDone,
	kurento.EventIceComponentStateChanged, kurento.EventDtlsConnectionStateChange, kurento.EventConnectionStateChanged,
	kurento.EventMediaFlowInStateChanged, kurento.EventMediaFlowOutStateChanged, kurento.EventMediaTranscodingStateChanged,
	kurento.EventError,
}

// tellEndpoint tells an event in the server's terms.
func tellEndpoint(ev kurento.Event, tell func(server.MediaEvent)) {
	body, err := ev.Decode()
	if err != nil {
		tell(server.MediaEvent{Kind: server.MediaFailure, Detail: err.Error()})
		return
	}
	if out, ok := translate(body); ok {
		tell(out)
	}
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
