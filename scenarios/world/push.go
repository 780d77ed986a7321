package world

import (
	"context"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/server"
)

// pusher is the makers' services that wake devices. What a device then does the
// script says: it is told here that it was woken.
type pusher struct {
	log  *trace.Log
	life *life
}

// Notify implements server.Push.
func (p pusher) Notify(_ context.Context, n server.Notification) error {
	if p.life.over.Load() {
		return errDead
	}
	attrs := []trace.Attr{trace.String("user", n.To), trace.String("from", n.From), trace.String("call", n.CallID), trace.String("room", n.RoomID)}
	if n.Reason != "" {
		attrs = append(attrs, trace.String("reason", string(n.Reason)))
	}
	p.log.Add("push", trace.Kind("push."+string(n.Type)), attrs...)
	return nil
}
