package chromium

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// told is one event of the page's client, as the page writes it.
type told struct {
	Kind  string          `json:"kind"`
	Attrs json.RawMessage `json:"attrs"`
}

// readEvents reads what the page tells until it ends: events in text, and what it
// renders in binary messages.
func (c *Client) readEvents(ws *websocket.Conn) {
	defer c.hear.Do(func() { close(c.told) })
	for {
		kind, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		now := time.Now()
		if kind == websocket.BinaryMessage {
			c.proof.picture(b, now)
			continue
		}
		var e told
		if err := json.Unmarshal(b, &e); err != nil {
			c.failure("read an event", err)
			continue
		}
		attrs, err := readAttrs(e.Attrs)
		if err != nil {
			c.failure("read an event", err)
			continue
		}
		c.event(e.Kind, attrs)
	}
}

func (c *Client) failure(doing string, err error) {
	c.log.Info("client.failure", "doing", doing, "error", err.Error())
}

// event writes an event to the log; media is proven beside it.
func (c *Client) event(kind string, attrs []slog.Attr) {
	c.proof.before(kind, attrs)
	level := slog.LevelInfo
	if strings.HasPrefix(kind, "signal.") && kind != "signal.duplicate" || strings.HasPrefix(kind, "candidate.") || kind == "media.stats" {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, kind, attrs...)
	c.proof.after(kind)
}

// readAttrs reads the members of a JSON object in their order.
func readAttrs(object json.RawMessage) (attrs []slog.Attr, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := key.(string)
		attrs = append(attrs, attr(name, value))
	}
	return attrs, nil
}

// attr makes whole numbers integers, as other clients write them.
func attr(key string, value any) slog.Attr {
	n, ok := value.(float64)
	switch {
	case ok && n == math.Trunc(n) && math.Abs(n) < 1<<53:
		return slog.Int64(key, int64(n))
	case ok:
		return slog.Float64(key, math.Round(n*1e6)/1e6)
	}
	return slog.Any(key, value)
}

// value is an attribute's text, "" if there is none.
func value(attrs []slog.Attr, key string) string {
	if i := slices.IndexFunc(attrs, func(a slog.Attr) bool { return a.Key == key }); i >= 0 {
		return attrs[i].Value.String()
	}
	return ""
}
