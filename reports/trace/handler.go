package trace

import (
	"context"
	"log/slog"
	"time"
)

// Handler turns the log records of a part under test into events of the trace:
// the record's message is the event's kind. So a server logs once, for its
// operator and for the harness alike.
func Handler(log *Log, actor string) slog.Handler {
	return &handler{log: log, actor: actor}
}

type handler struct {
	log   *Log
	actor string
	attrs []Attr
	group string
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	attrs := make([]Attr, len(h.attrs), len(h.attrs)+r.NumAttrs())
	copy(attrs, h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, fromSlog(h.group, a))
		return true
	})
	h.log.Add(h.actor, Kind(r.Message), attrs...)
	return nil
}

func (h *handler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append([]Attr(nil), h.attrs...)
	for _, a := range as {
		c.attrs = append(c.attrs, fromSlog(h.group, a))
	}
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.group = h.group + name + "."
	return &c
}

func fromSlog(group string, a slog.Attr) Attr {
	key := group + a.Key
	if key == "t" || key == "actor" || key == "kind" {
		key += "_" // the event's own members
	}
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindInt64:
		return Int(key, v.Int64())
	case slog.KindUint64:
		return Int(key, v.Uint64())
	case slog.KindFloat64:
		return Float(key, v.Float64())
	case slog.KindBool:
		return Bool(key, v.Bool())
	case slog.KindDuration:
		return Duration(key, v.Duration())
	case slog.KindTime:
		return String(key, v.Time().Format(time.RFC3339Nano))
	default:
		return String(key, v.String())
	}
}
