package kms

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// recorder is a RecorderEndpoint.
type recorder struct {
	element
	kurento kurento.RecorderEndpoint

	done chan struct{} // closed when the file is complete, or nothing more will come

	mu     sync.Mutex
	failed string // what the first error was
	lost   bool
	ended  bool // done is closed
}

// NewRecorder implements server.Pipeline.
func (p *pipeline) NewRecorder(ctx context.Context, uri string, on func(server.RecorderEvent), media ...string) (server.Recorder, error) {
	profile, err := profileOf(media)
	if err != nil {
		return nil, err
	}
	k, err := p.kurento.CreateRecorderEndpoint(ctx, uri, profile)
	if err != nil {
		return nil, wrap(err)
	}
	r := &recorder{kurento: k, done: make(chan struct{})}
	tell := func(out server.RecorderEvent) {
		on(out) // before Stop returns
		r.note(out)
	}
	w := &watcher{pipeline: p, lost: func(detail string) {
		tell(server.RecorderEvent{Kind: server.RecorderLost, Detail: detail})
	}}
	r.element = element{p.media, k.MediaElement, w}
	p.media.watch(w)
	handle := func(ev kurento.Event) { w.tell(func() { tellRecorder(ev, tell) }) }
	if _, err := k.Subscribe(ctx, handle, subscribedRecorder...); err != nil {
		return nil, fmt.Errorf("%w (its recorder was released: %v)", wrap(err), r.Release(ctx))
	}
	return r, nil
}

// profileOf is the profile that takes these kinds of media.
func profileOf(media []string) (kurento.MediaProfile, error) {
	var audio, video bool
	for _, kind := range media {
		switch kind {
		case server.Audio:
			audio = true
		case server.Video:
			video = true
		default:
			return "", fmt.Errorf("recorder: there is no medium %q", kind)
		}
	}
	switch {
	case audio == video:
		return kurento.ProfileWebM, nil
	case audio:
		return kurento.ProfileWebMAudio, nil
	default:
		return kurento.ProfileWebMVideo, nil
	}
}

// subscribedRecorder are the events that the server wants of a recorder.
var subscribedRecorder = []kurento.EventType{
	kurento.EventMediaFlowInStateChanged, kurento.EventRecording, kurento.EventStopped, kurento.EventError,
}

// tellRecorder tells an event in the server's terms.
func tellRecorder(ev kurento.Event, tell func(server.RecorderEvent)) {
	body, err := ev.Decode()
	if err != nil {
		tell(server.RecorderEvent{Kind: server.RecorderFailed, Detail: err.Error()})
		return
	}
	switch b := body.(type) {
	case kurento.MediaFlowInStateChanged:
		tell(server.RecorderEvent{Kind: server.RecorderFlowIn, State: string(b.State), Medium: strings.ToLower(string(b.MediaType))})
	case kurento.Recording:
		tell(server.RecorderEvent{Kind: server.RecorderStarted})
	case kurento.Stopped:
		tell(server.RecorderEvent{Kind: server.RecorderStopped})
	case kurento.ErrorRaised:
		tell(server.RecorderEvent{Kind: server.RecorderFailed, Detail: fmt.Sprintf("%s (%d)", b.Name, b.ErrorCode)})
	}
}

// note keeps what Stop must know.
func (r *recorder) note(e server.RecorderEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case server.RecorderFailed:
		if r.failed == "" {
			r.failed = e.Detail
		}
	case server.RecorderLost:
		r.lost, r.failed = true, e.Detail
		r.finish()
	case server.RecorderStopped:
		r.finish()
	}
}

// finish is the end of waiting. The lock is held.
func (r *recorder) finish() {
	if !r.ended {
		r.ended = true
		close(r.done)
	}
}

func (r *recorder) outcome() (lost bool, failed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost, r.failed
}

// Record implements server.Recorder.
func (r *recorder) Record(ctx context.Context) error { return wrap(r.kurento.Record(ctx)) }

// Stop implements server.Recorder. It is Kurento's stop with its event Stopped,
// not stopAndWait: that answers when the file is complete too, but nothing else
// of the connection is answered meanwhile, and no other call could go on.
func (r *recorder) Stop(ctx context.Context) error {
	select {
	case <-r.done:
		return r.verdict()
	default:
	}
	state, err := r.kurento.State(ctx)
	if err != nil {
		return wrap(err)
	}
	if state == kurento.StateStop { // while it waits for media too
		_, failed := r.outcome()
		return fmt.Errorf("recorder %s: %w%s", r.ID(), server.ErrNothingRecorded, because(failed))
	}
	if err := r.kurento.Stop(ctx); err != nil {
		return wrap(err)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return fmt.Errorf("recorder %s: the file was not completed: %w", r.ID(), ctx.Err())
	}
	return r.verdict()
}

// verdict is what the events say of a file that is at its end.
func (r *recorder) verdict() error {
	lost, failed := r.outcome()
	switch {
	case lost:
		return fmt.Errorf("recorder %s: %w: %s", r.ID(), server.ErrMediaGone, failed)
	case failed != "":
		return fmt.Errorf("recorder %s: the file may not be complete: %s", r.ID(), failed)
	default:
		return nil
	}
}

func because(failed string) string {
	if failed == "" {
		return ""
	}
	return ": " + failed
}
