package kms

import (
	"context"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server"
)

// element is what every MediaElement can.
type element struct {
	media   *Media
	kurento kurento.MediaElement
	watcher *watcher // nil where no event is told
}

// ID implements server.Element.
func (e element) ID() string { return string(e.kurento.ID()) }

// Connect implements server.Element.
func (e element) Connect(ctx context.Context, sink server.Element) error {
	return wrap(e.kurento.Connect(ctx, kurento.ObjectID(sink.ID())))
}

// Disconnect implements server.Element.
func (e element) Disconnect(ctx context.Context, sink server.Element) error {
	return wrap(e.kurento.Disconnect(ctx, kurento.ObjectID(sink.ID())))
}

// Release implements server.Element.
func (e element) Release(ctx context.Context) error {
	if e.watcher != nil {
		e.media.unwatch(func(w *watcher) bool { return w == e.watcher })
	}
	return e.media.release(ctx, e.kurento.ID())
}
