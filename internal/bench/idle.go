package main

import (
	"context"
	"fmt"
	"time"
)

// Goals of what an idle connection costs, in KB.
const (
	idleGoal = 16
	idleAim  = 12
)

// settling is how long connections may take to become idle.
const settling = 2 * time.Second

// idle measures what a connection costs that has said hello and is silent.
func idle(ctx context.Context, b *bench) error {
	n := min(b.conns, openFiles()-200)
	if n < b.conns {
		b.table.note("idle: %d connections instead of %d, as many as the limit of open files allows (ulimit -n %d)", n, b.conns, b.conns+200)
	}
	floor, ours, err := b.idleBoth(ctx, n)
	if err != nil {
		return err
	}
	b.table.add(row{what: fmt.Sprintf("KB per idle connection of %d: RSS", n), floor: number(floor.rss), ours: number(ours.rss),
		value: ours.rss, goal: idleGoal, unit: " KB"})
	b.table.add(row{what: "  the same, held against the aim", value: ours.rss, goal: idleAim, unit: " KB"})
	b.table.add(row{what: "  after a garbage collection: RSS", floor: number(floor.rssGC), ours: number(ours.rssGC)})
	b.table.add(row{what: "  heap and stack in use", floor: number(floor.used), ours: number(ours.used)})
	b.table.add(row{what: "  goroutines", floor: number(floor.goroutines), ours: number(ours.goroutines)})
	b.table.add(row{what: "  CPU to connect, µs", floor: number(floor.connect), ours: number(ours.connect)})
	return nil
}

func (b *bench) idleBoth(ctx context.Context, n int) (floor, ours idleCost, err error) {
	if floor, err = b.idleOf(ctx, roleHub, n); err != nil {
		return floor, ours, err
	}
	ours, err = b.idleOf(ctx, roleServer, n)
	return floor, ours, err
}

// idleCost is what a connection costs, in KB and microseconds.
type idleCost struct{ rss, rssGC, used, goroutines, connect float64 }

func (b *bench) idleOf(ctx context.Context, role string, n int) (cost idleCost, err error) {
	p, err := b.start(ctx, role)
	if err != nil {
		return cost, err
	}
	defer func() { _ = p.stop() }()
	before, err := p.usage(ctx, true)
	if err != nil {
		return cost, err
	}
	conns, err := p.enterAll(ctx, names("idle", n))
	if err != nil {
		return cost, err
	}
	defer closeAll(conns)
	time.Sleep(settling)
	after, err := p.usage(ctx, false)
	if err != nil {
		return cost, err
	}
	collected, err := p.usage(ctx, true)
	if err != nil {
		return cost, err
	}
	kb := func(after, before uint64) float64 { return (float64(after) - float64(before)) / 1024 / float64(n) }
	return idleCost{kb(after.RSS, before.RSS), kb(collected.RSS, before.RSS), kb(collected.Heap+collected.Stack, before.Heap+before.Stack),
		float64(after.Goroutines-before.Goroutines) / float64(n), float64((after.CPU - before.CPU).Microseconds()) / float64(n)}, b.keep(ctx, p, "/heap", "idle-"+role+".heap")
}
