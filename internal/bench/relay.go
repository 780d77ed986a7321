package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Goals of the relay, as ratios to the hub.
const (
	relayCPUGoal = 1.2
	relayP99Goal = 1.5
)

// receiptEvery is how often a client says what it has: after 32 pushes, or a
// second after the first, which at this rate comes before.
const receiptEvery = 25

// relay measures messages between users who are there: through the hub, through
// the server with its messages in memory, and with them in MySQL.
func relay(ctx context.Context, b *bench) error {
	stop, err := b.startMySQL()
	if err != nil {
		return err
	}
	defer stop()
	roles := []string{roleHub, roleServer, roleDurable}
	if b.mysql == "" {
		roles = roles[:2]
		b.table.note("relay: not measured with messages in MySQL, there is neither CALLBENCH_MYSQL_DSN nor mariadbd on the path")
	}
	var talks []*talk
	for _, role := range roles {
		p, err := b.start(ctx, role)
		if err != nil {
			return err
		}
		defer func() { _ = p.stop() }()
		t, err := newTalk(ctx, p, b.config, role != roleHub)
		if err != nil {
			return err
		}
		defer t.close()
		talks = append(talks, t)
	}
	found, err := b.relayRounds(ctx, talks)
	if err != nil {
		return err
	}
	b.relayRows("", found[0], found[1])
	if len(found) > 2 {
		b.relayRows(", durable in MySQL", found[0], found[2])
	}
	return nil
}

// relayRounds has all send in turns.
func (b *bench) relayRounds(ctx context.Context, talks []*talk) ([][]round, error) {
	found := make([][]round, len(talks))
	for n := range b.rounds {
		for i, t := range talks {
			if i > 0 && n == b.rounds-1 {
				go func() {
					_ = b.keep(ctx, t.p, fmt.Sprint("/profile?seconds=", max(1, int(b.long.Seconds()))), fmt.Sprintf("relay%d.cpu", i))
				}()
			}
			r, err := t.round(ctx)
			if err != nil {
				return nil, err
			}
			found[i] = append(found[i], r)
		}
	}
	return found, nil
}

func (b *bench) relayRows(how string, floor, ours []round) {
	column := func(rs []round, of func(round) float64) (all []float64) {
		for _, r := range rs {
			all = append(all, of(r))
		}
		return all
	}
	late := median(column(append(slices.Clone(floor), ours...), func(r round) float64 { return r.late }))
	compare := func(what string, goal float64, of func(round) float64, void bool) {
		f, o := column(floor, of), column(ours, of)
		b.table.add(row{what: what, floor: number(median(f)), ours: number(median(o)), value: median(o) / median(f), goal: goal, unit: "x", void: void})
	}
	compare(fmt.Sprintf("CPU µs per message at %d/s%s", b.rate, how), relayCPUGoal, func(r round) float64 { return r.cpu }, false)
	compare("  p99 µs from write to receipt", relayP99Goal, func(r round) float64 { return r.p99 }, late > tooLate)
	p50 := func(r round) float64 { return r.p50 }
	b.table.add(row{what: "  p50 µs", floor: number(median(column(floor, p50))), ours: number(median(column(ours, p50)))})
	if late > tooLate {
		b.table.note("relay%s: the machine is busy with other things, one in a hundred messages was sent %.1f ms late or more: latencies are not judged", how, late/1000)
	}
	for i, r := range ours {
		if r.lost > 0 {
			b.table.note("relay%s: %d messages of round %d did not arrive within a second", how, r.lost, i+1)
		}
	}
}

// tooLate is the p99 of how late messages are sent, in microseconds, from which
// on latencies are those of the machine's other work.
const tooLate = 2500

// round is what a round of messages found, in microseconds; late is the p99 of
// how late messages were sent.
type round struct {
	cpu, p50, p99, late float64
	lost                int
}

// talk is pairs of users of whom one writes to the other.
type talk struct {
	config
	p        *process
	from, to []*websocket.Conn
	frames   [][]byte // of the senders; the time goes in at stamp
	stamp    []int
	begin    time.Time
	readers  sync.WaitGroup

	mu    sync.Mutex
	took  []float64
	ended error
}

const stampLen = 19

func newTalk(ctx context.Context, p *process, c config, receipts bool) (*talk, error) {
	t := &talk{config: c, p: p, begin: time.Now()}
	var err error
	if t.from, err = p.enterAll(ctx, names("from", c.pairs)); err != nil {
		return nil, err
	}
	if t.to, err = p.enterAll(ctx, names("to", c.pairs)); err != nil {
		return nil, err
	}
	for i := range c.pairs {
		head := fmt.Sprintf(`{"type":"message","data":{"to":"to%d","content":"`, i)
		frame := head + fmt.Sprintf("%0*d %0180d", stampLen, 0, 7) + `"}}`
		t.frames, t.stamp = append(t.frames, []byte(frame)), append(t.stamp, len(head))
	}
	for _, ws := range t.to {
		t.readers.Go(func() { t.read(ws, receipts) })
	}
	return t, nil
}

func (t *talk) close() {
	closeAll(t.from)
	closeAll(t.to)
	t.readers.Wait()
}

// read takes what a user is sent, and says so if receipts are wanted.
func (t *talk) read(ws *websocket.Conn, receipts bool) {
	for n := 1; ; n++ {
		_, text, err := ws.ReadMessage()
		if err != nil {
			return
		}
		now := time.Since(t.begin)
		if i := bytes.Index(text, []byte(`"content":"`)); i >= 0 {
			t.got(text[i+len(`"content":"`):], now)
		}
		if receipts && n%receiptEvery == 0 {
			seq := text[bytes.Index(text, []byte(`"seq":`))+len(`"seq":`):]
			seq = seq[:bytes.IndexByte(seq, ',')]
			_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"ack","data":{"seq":%s}}`, seq))
		}
	}
}

func (t *talk) got(content []byte, now time.Duration) {
	sent, err := strconv.ParseInt(string(content[:stampLen]), 10, 64)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.ended = err
		return
	}
	t.took = append(t.took, float64(now-time.Duration(sent))/float64(time.Microsecond))
}

// round writes messages at the rate, each when it is due whatever became of
// those before, and returns what they cost.
func (t *talk) round(ctx context.Context) (r round, err error) {
	if _, err := t.write(t.rate / 2); err != nil { // warms both up
		return r, err
	}
	if _, err := t.drain(t.rate / 2); err != nil {
		return r, err
	}
	before, err := t.p.usage(ctx, false)
	if err != nil {
		return r, err
	}
	n := int(t.long.Seconds() * float64(t.rate))
	late, err := t.write(n)
	if err != nil {
		return r, err
	}
	took, err := t.drain(n)
	if err != nil {
		return r, err
	}
	after, err := t.p.usage(ctx, false)
	return round{cpu: float64((after.CPU - before.CPU).Nanoseconds()) / 1000 / float64(n),
		p50: quantile(took, 0.5), p99: quantile(took, 0.99), late: quantile(late, 0.99), lost: n - len(took)}, err
}

// write returns how late each message was, in microseconds.
func (t *talk) write(n int) (late []float64, err error) {
	begin, every := time.Now(), time.Second/time.Duration(t.rate)
	for i := range n {
		due := begin.Add(time.Duration(i) * every)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		late = append(late, float64(time.Since(due).Microseconds()))
		k := i % len(t.from)
		copy(t.frames[k][t.stamp[k]:], fmt.Sprintf("%0*d", stampLen, time.Since(t.begin)))
		if err := t.from[k].WriteMessage(websocket.TextMessage, t.frames[k]); err != nil {
			return nil, err
		}
	}
	return late, nil
}

// drain waits for so many messages, a second at most, and returns how long each
// was under way.
func (t *talk) drain(n int) ([]float64, error) {
	for range 1000 {
		t.mu.Lock()
		there := len(t.took)
		t.mu.Unlock()
		if there >= n {
			break
		}
		time.Sleep(time.Millisecond)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	return took, t.ended
}
