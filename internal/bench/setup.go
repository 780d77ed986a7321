package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/signaling"
)

// Goals of setting up a call.
const (
	setupGoal    = 1.1 // as a ratio to Kurento alone
	setupCPUGoal = 3   // ms of the server's
)

// atOnce is how many pairs call side by side when the server's CPU is measured.
const atOnce = 8

// patience is how long a call may take to connect. About one leg in a hundred
// never finishes DTLS, in Kurento: such calls are counted, not timed.
const patience = 4 * time.Second

var errLate = errors.New("not connected in time")

// setup measures how long it takes to connect both sides of a call, through the
// server and by JSON-RPC alone.
func setup(ctx context.Context, b *bench) error {
	if b.kms == "" {
		b.table.note("setup of calls: not measured, no Kurento was given (CALLBENCH_KMS_URL=ws://host:8888/kurento)")
		return nil
	}
	floor, err := kurento.Dial(ctx, kurento.Config{URL: b.kms})
	if err != nil {
		return err
	}
	defer func() { _ = floor.Close() }()
	p, err := b.start(ctx, roleServer)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }()
	var pairs []*pair
	for i := range atOnce {
		pair, err := p.newPair(ctx, i)
		if err != nil {
			return err
		}
		defer pair.close()
		pairs = append(pairs, pair)
	}
	if err := b.setupRounds(ctx, p, func(a, b *peer) error { return alone(ctx, floor, a, b) }, pairs[0].call); err != nil {
		return err
	}
	return b.setupAtOnce(ctx, p, pairs)
}

// setupAtOnce has several pairs call side by side: what a call costs the server
// then. Of one call at a time the most is what it takes to wake a process that
// has nothing to do.
func (b *bench) setupAtOnce(ctx context.Context, p *process, pairs []*pair) error {
	api, err := peerAPI()
	if err != nil {
		return err
	}
	before, err := p.usage(ctx, false)
	if err != nil {
		return err
	}
	if err := callsAtOnce(api, pairs, b.calls); err != nil {
		return err
	}
	after, err := p.usage(ctx, false)
	if err != nil {
		return err
	}
	if err := b.keepCalls(ctx, p, func() error { return callsAtOnce(api, pairs, b.calls) }); err != nil {
		return err
	}
	cost := float64((after.CPU - before.CPU).Microseconds()) / 1000 / float64(len(pairs)*b.calls)
	b.table.add(row{what: fmt.Sprintf("  CPU ms of the server per call, %d at a time", len(pairs)), ours: number(cost), value: cost, goal: setupCPUGoal, unit: " ms"})
	return nil
}

// callsAtOnce has every pair make n calls, side by side.
func callsAtOnce(api *webrtc.API, pairs []*pair, n int) error {
	errs := make([]error, len(pairs))
	var all sync.WaitGroup
	for i, pair := range pairs {
		all.Go(func() { _, _, errs[i] = calls(api, n, pair.call) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// keepCalls keeps profiles of calls that are not measured: the CPU, and what woke
// which goroutine when.
func (b *bench) keepCalls(ctx context.Context, p *process, again func() error) error {
	if b.profile == "" {
		return nil
	}
	for path, name := range map[string]string{"/profile?seconds=4": "calls.cpu", "/trace?seconds=1": "calls.trace"} {
		kept := make(chan error, 1)
		go func() { kept <- b.keep(ctx, p, path, name) }()
		if err := errors.Join(again(), <-kept); err != nil {
			return err
		}
	}
	return nil
}

// setupRounds calls in turns by both ways.
func (b *bench) setupRounds(ctx context.Context, p *process, alone, through func(a, b *peer) error) error {
	api, err := peerAPI()
	if err != nil {
		return err
	}
	var took [2][]float64
	var cpu []float64
	late := 0
	for n := range b.rounds + 1 {
		for i, call := range []func(a, b *peer) error{alone, through} {
			before, err := p.usage(ctx, false)
			if err != nil {
				return err
			}
			round, lost, err := calls(api, b.calls, call)
			if err != nil {
				return err
			}
			after, err := p.usage(ctx, false)
			if err != nil {
				return err
			}
			if n == 0 { // Kurento's first calls take longer
				continue
			}
			late += lost
			took[i] = append(took[i], round...)
			if i == 1 {
				cpu = append(cpu, float64((after.CPU-before.CPU).Microseconds())/1000/float64(b.calls))
			}
		}
	}
	b.table.add(row{what: "ms until both sides of a call are connected: p50", floor: number(quantile(took[0], 0.5)), ours: number(quantile(took[1], 0.5)),
		value: quantile(took[1], 0.5) / quantile(took[0], 0.5), goal: setupGoal, unit: "x"})
	b.table.add(row{what: "  p95", floor: number(quantile(took[0], 0.95)), ours: number(quantile(took[1], 0.95))})
	b.table.add(row{what: "  CPU ms of the server per call, one at a time", ours: number(median(cpu))})
	if late > 0 {
		b.table.note("setup: %d of %d calls were not connected after %v, and are not among those timed", late, 2*b.rounds*b.calls, patience)
	}
	return nil
}

// calls makes calls one after the other and returns how many milliseconds each
// took that connected.
func calls(api *webrtc.API, n int, call func(a, b *peer) error) (took []float64, late int, err error) {
	for range n {
		a, err := newPeer(api)
		if err != nil {
			return nil, 0, err
		}
		b, err := newPeer(api)
		if err != nil {
			return nil, 0, errors.Join(err, a.pc.Close())
		}
		begin := time.Now()
		err = call(a, b)
		if err == nil {
			took = append(took, float64(maxTime(a.upAt, b.upAt).Sub(begin).Microseconds())/1000)
		}
		if errors.Is(err, errLate) {
			err = nil
			late++
		}
		if err := errors.Join(err, a.pc.Close(), b.pc.Close()); err != nil {
			return nil, 0, err
		}
	}
	return took, late, nil
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// alone makes a call by JSON-RPC alone: both legs at once, each with the events
// that its peer needs and no more.
func alone(ctx context.Context, c *kurento.Client, a, b *peer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pipeline, err := c.CreateMediaPipeline(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = pipeline.Release(context.WithoutCancel(ctx)) }()
	var ends [2]kurento.WebRtcEndpoint
	if err := both(func(i int) (err error) {
		p := []*peer{a, b}[i]
		if ends[i], err = pipeline.CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{}); err != nil {
			return err
		}
		_, err = ends[i].Subscribe(ctx, func(ev kurento.Event) { found(p, ev) }, kurento.EventIceCandidateFound)
		return err
	}); err != nil {
		return err
	}
	return both(func(i int) error {
		p := []*peer{a, b}[i]
		if err := ends[i].Connect(ctx, ends[1-i].ID()); err != nil {
			return err
		}
		answer, err := ends[i].ProcessOffer(ctx, kurentoOffer(p.offer))
		if err != nil {
			return err
		}
		go p.answer(answer)
		if err := ends[i].GatherCandidates(ctx); err != nil {
			return err
		}
		return p.wait(ctx)
	})
}

// both does the same for both legs at once.
func both(do func(i int) error) error {
	var errs [2]error
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

func found(p *peer, ev kurento.Event) {
	body, err := ev.Decode()
	if c, ok := body.(kurento.IceCandidateFound); ok && err == nil {
		p.candidate(signaling.ICECandidate{Candidate: c.Candidate.Candidate, SDPMid: c.Candidate.SDPMid, SDPMLineIndex: &c.Candidate.SDPMLineIndex})
	}
}

// pair are two users of the server who call each other.
type pair struct {
	caller, callee *side
	called         string // the callee's name
}

// side is one of them.
type side struct {
	ws     *websocket.Conn
	frames chan signaling.Frame
	leaves int
}

func (p *process) newPair(ctx context.Context, n int) (*pair, error) {
	callee := fmt.Sprint("callee", n)
	conns, err := p.enterAll(ctx, []string{fmt.Sprint("caller", n), callee})
	if err != nil {
		return nil, err
	}
	var sides [2]*side
	for i, ws := range conns {
		s := &side{ws: ws, frames: make(chan signaling.Frame, 256)}
		sides[i] = s
		go func() {
			defer close(s.frames)
			for {
				_, text, err := s.ws.ReadMessage()
				if err != nil {
					return
				}
				if f, err := signaling.Decode(text); err == nil {
					s.frames <- f
				}
			}
		}()
	}
	return &pair{sides[0], sides[1], callee}, nil
}

func (p *pair) close() {
	_ = p.caller.ws.Close()
	_ = p.callee.ws.Close()
}

// call makes a call through the server, and ends it.
func (p *pair) call(a, b *peer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.caller.say(signaling.ActionCall, signaling.RTC{TargetUser: p.called}); err != nil {
		return err
	}
	peers, sides := []*peer{a, b}, []*side{p.caller, p.callee}
	err := both(func(i int) error { return sides[i].connect(ctx, peers[i]) })
	return errors.Join(err, p.end())
}

// connect does what a client does until its peer is connected.
func (s *side) connect(ctx context.Context, p *peer) error {
	for {
		select {
		case <-p.up:
			return nil
		case <-ctx.Done():
			return errLate
		case f, ok := <-s.frames:
			if !ok {
				return errors.New("the server closed the connection")
			}
			if err := s.take(p, f); err != nil {
				return err
			}
		}
	}
}

func (s *side) take(p *peer, f signaling.Frame) error {
	var in signaling.RTC
	switch {
	case f.Type == signaling.TypeInvite:
		return errors.Join(s.say(signaling.ActionAnswer, signaling.RTC{}), s.say(signaling.ActionOffer, signaling.RTC{SDP: p.offer}))
	case f.Type == signaling.TypeError:
		return errors.New("refused: " + string(f.Data))
	case f.Type != signaling.TypeRTC:
		return nil
	}
	if err := f.Into(&in); err != nil {
		return err
	}
	switch {
	case f.Action == signaling.ActionAnswer && in.SDP != "":
		go p.answer(in.SDP)
	case f.Action == signaling.ActionAnswer:
		return s.say(signaling.ActionOffer, signaling.RTC{SDP: p.offer})
	case f.Action == signaling.ActionCandidate:
		for _, c := range in.Batch() {
			p.candidate(c)
		}
	}
	return nil
}

// end hangs up. It returns when both have got everything that there is to be
// said about the call, so that nothing of it is left for the next.
func (p *pair) end() error {
	return errors.Join(p.caller.leave(), p.callee.leave())
}

// leave leaves the call, which may have ended, and waits for the answer.
func (s *side) leave() error {
	s.leaves++
	id := fmt.Sprint("leave", s.leaves)
	if err := s.write(signaling.ActionLeave, id, signaling.RTC{}); err != nil {
		return err
	}
	return s.hear(id)
}

// hear waits for the answer to a request.
func (s *side) hear(id string) error {
	late := time.After(patience)
	for {
		select {
		case f, ok := <-s.frames:
			if !ok {
				return errors.New("the server closed the connection")
			}
			if f.ID == id {
				return nil
			}
		case <-late:
			return errors.New("no answer to " + id)
		}
	}
}

func (s *side) say(a signaling.Action, data signaling.RTC) error { return s.write(a, "", data) }

func (s *side) write(a signaling.Action, id string, data signaling.RTC) error {
	f, err := signaling.New(signaling.TypeRTC, a, data)
	if err != nil {
		return err
	}
	f.ID = id
	text, err := signaling.Encode(f)
	if err != nil {
		return err
	}
	return s.ws.WriteMessage(websocket.TextMessage, text)
}
