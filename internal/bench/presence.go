package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
)

// presence measures what it costs to tell all contacts of a user's change.
func presence(ctx context.Context, b *bench) error {
	p, err := b.start(ctx, roleServer)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }()
	fans, err := p.enterAll(ctx, names("fan", fanOf))
	if err != nil {
		return err
	}
	defer closeAll(fans)
	ws, err := p.enter(ctx, star)
	if err != nil {
		return err
	}
	defer func() { _ = ws.Close() }()
	time.Sleep(settling / 4)
	heard := make(chan error, fanOf)
	for i, f := range fans {
		go listen(f, i, heard)
	}
	if err := hear(heard); err != nil { // that the star came
		return err
	}
	return b.change(ctx, p, ws, heard)
}

// listen tells of each presence that a fan hears of, and says so to the server.
func listen(ws *websocket.Conn, _ int, heard chan<- error) {
	for n := 1; ; n++ {
		_, text, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if !bytes.HasPrefix(text, []byte(`{"type":"state"`)) {
			continue
		}
		if n%receiptEvery == 0 {
			_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"ack","data":{"seq":%d}}`, n))
		}
		heard <- nil
	}
}

// hear waits until all fans have heard.
func hear(heard <-chan error) error {
	late := time.After(10 * time.Second)
	for i := range fanOf {
		select {
		case err := <-heard:
			if err != nil {
				return err
			}
		case <-late:
			return fmt.Errorf("%d of %d contacts heard of a change", i, fanOf)
		}
	}
	return nil
}

func (b *bench) change(ctx context.Context, p *process, ws *websocket.Conn, heard <-chan error) error {
	before, err := p.usage(ctx, false)
	if err != nil {
		return err
	}
	var took []float64
	for i := range b.changes {
		status := "offline"
		if i%2 == 1 {
			status = "online"
		}
		begin := time.Now()
		if err := ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"state","data":{"status":"%s"}}`, status)); err != nil {
			return err
		}
		if err := hear(heard); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begin).Microseconds()))
	}
	after, err := p.usage(ctx, false)
	if err != nil {
		return err
	}
	trips := float64(after.Trips-before.Trips) / float64(b.changes)
	b.table.add(row{what: fmt.Sprintf("Redis round trips to tell %d contacts of a change", fanOf), ours: number(trips), value: trips, goal: 1})
	b.table.add(row{what: "  CPU µs of it", ours: number(float64((after.CPU - before.CPU).Microseconds()) / float64(b.changes))})
	b.table.add(row{what: "  p50 µs until the last has heard", ours: number(quantile(took, 0.5))})
	return nil
}
