package chromium

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/media"
)

// windowEvery is how often media.window is logged.
const windowEvery = time.Second

// codecs are what is proven: the server pins VP8.
var codecs = map[media.Kind]media.Codec{media.Audio: media.Opus, media.Video: media.VP8}

// proof proves the media that a client's tab receives and renders, in one call
// after the other.
type proof struct {
	c *Client

	mu    sync.Mutex
	calls map[string]*party // by the name of the call
	call  *proven
	sent  map[string]count // of the tab so far, by kind
}

// party is who else is in a call or room.
type party struct {
	mark  string // what media is marked with: the room
	peer  string // in a call
	heard []string
}

// proven is the call whose media is proven.
type proven struct {
	p     *proof
	name  string
	party *party
	sinks map[media.Kind]*sink
	sight *sight
	began map[string]count // what had been sent before the call, by kind
	sends map[string]bool  // the kinds that are sent
	stop  chan struct{}
	group sync.WaitGroup
}

type sink struct {
	*media.Sink
	logged media.SinkStats // when the last window was logged
}

// count is what was sent of one kind.
type count struct {
	Units int64 `json:"units"`
	Bytes int64 `json:"bytes"`
}

func newProof(c *Client) *proof {
	return &proof{c: c, calls: map[string]*party{}, sent: map[string]count{}}
}

// before takes an event that is about to be logged.
func (p *proof) before(kind string, attrs []slog.Attr) {
	name := value(attrs, "call")
	switch kind {
	case "call.outgoing", "call.incoming":
		peer := value(attrs, "to") + value(attrs, "from")
		p.know(name, &party{mark: value(attrs, "room"), peer: peer, heard: []string{peer}})
	case "room.entered":
		others := &party{mark: name}
		for member := range strings.FieldsSeq(value(attrs, "who")) {
			i := strings.LastIndex(member, "=")
			others.hear(member[:max(i, 0)], member[i+1:])
		}
		p.know(name, others)
	case "room.joined", "room.role":
		p.newcomer(name, value(attrs, "user"), value(attrs, "role"))
	case "call.connected":
		p.begin(name)
	case "call.ended", "room.ended":
		p.over(name)
	}
}

// after takes an event that was logged.
func (p *proof) after(kind string) {
	if kind == "session.ended" {
		p.over("")
	}
}

func (o *party) hear(user, role string) {
	if role == "publisher" && !slices.Contains(o.heard, user) {
		o.heard = append(o.heard, user)
	}
}

func (p *proof) know(call string, o *party) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[call] = o
}

// newcomer lets the media of a new publisher count as right.
func (p *proof) newcomer(call, user, role string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.calls[call]
	if o == nil {
		return
	}
	o.hear(user, role)
	if k := p.call; k != nil && k.party == o {
		for _, s := range k.sinks {
			s.SetExpect(o.expected())
		}
	}
}

func (o *party) expected() media.Expect {
	return media.Expect{Call: o.mark, Participants: slices.Clone(o.heard)}
}

// begin proves a call's media from now on, unless it does already.
func (p *proof) begin(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.calls[name]
	if o == nil || p.call != nil && p.call.name == name {
		return
	}
	k := &proven{p: p, name: name, party: o, sinks: map[media.Kind]*sink{}, sends: map[string]bool{}, began: map[string]count{}, stop: make(chan struct{})}
	for kind, n := range p.sent {
		k.began[kind] = n
	}
	k.sight = &sight{tell: k.event, name: o.name}
	for kind, codec := range codecs {
		s, err := media.NewSink(media.SinkConfig{Codec: codec, Expect: o.expected(), Pacer: p.c.cfg.Pacer, OnFlow: func(f media.FlowChange) {
			event, attrs := simclient.FlowEvent(f)
			k.event(event, attrs...)
		}})
		if err != nil {
			p.c.failure("prove "+string(kind), err)
			continue
		}
		k.sinks[kind] = &sink{Sink: s}
	}
	p.call = k
	k.group.Go(k.windows)
}

// name is the user whom a barcode names, "" if it is nobody of the call.
func (o *party) name(b media.Barcode) string {
	for _, u := range o.heard {
		if b.Participant == media.ParticipantHash(u) {
			return u
		}
	}
	return ""
}

// over ends a call's proof, or with "" that of any, and logs the totals.
func (p *proof) over(name string) {
	p.mu.Lock()
	k := p.call
	if k == nil || name != "" && k.name != name {
		delete(p.calls, name)
		p.mu.Unlock()
		return
	}
	p.call = nil
	delete(p.calls, k.name)
	sent := map[string]count{}
	for kind, n := range p.sent {
		sent[kind] = n
	}
	p.mu.Unlock()
	close(k.stop)
	k.group.Wait()
	k.totals(sent)
	for _, s := range k.sinks {
		s.Close()
	}
}

func (k *proven) event(kind string, attrs ...slog.Attr) {
	k.p.c.log.LogAttrs(context.Background(), slog.LevelInfo, kind, append([]slog.Attr{slog.String("call", k.name)}, attrs...)...)
}

// windows logs a window each second, and the last one when the call is over.
func (k *proven) windows() {
	tick := time.NewTicker(windowEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case now := <-tick.C:
			k.window(now.Sub(last))
			last = now
		case <-k.stop:
			k.window(time.Since(last))
			return
		}
	}
}

func (k *proven) window(length time.Duration) {
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		s := k.sinks[kind]
		if s == nil {
			continue
		}
		now := s.Stats()
		diff := now.Sub(s.logged)
		k.event("media.window", append(simclient.Counts(kind, k.from(simclient.Heard(now, s.logged)), &diff, int64(now.Lost-s.logged.Lost), 0),
			slog.Duration("window_ms", length))...)
		s.logged = now
	}
}

// from says whose media was counted: the other party's, or in a room that of all
// who were heard.
func (k *proven) from(heard []string) string {
	if k.party.peer != "" {
		return k.party.peer
	}
	slices.Sort(heard)
	return strings.Join(slices.Compact(heard), ",")
}

func (k *proven) totals(sent map[string]count) {
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		n := sent[string(kind)]
		n.Units, n.Bytes = n.Units-k.began[string(kind)].Units, n.Bytes-k.began[string(kind)].Bytes
		k.event("media.sent", slog.String("media", string(kind)), slog.String("codec", codecs[kind].String()), slog.Int64("units", n.Units), slog.Int64("bytes", n.Bytes))
	}
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		if s := k.sinks[kind]; s != nil {
			now := s.Stats()
			k.event("media.total", append(simclient.Counts(kind, k.from(simclient.Heard(now, media.SinkStats{})), &now, int64(now.Lost), 0),
				slog.Uint64("key_frames", now.KeyFrames), slog.Uint64("gaps", now.Gaps), slog.Duration("gap_total_ms", now.GapTime),
				slog.Duration("gap_max_ms", now.LongestGap), slog.Uint64("restarts", now.Restarts))...)
		}
	}
}

// readUnits reads what the worker tells of coded units: what was received in
// binary, what was sent in text.
func (c *Client) readUnits(ws *websocket.Conn) {
	for {
		kind, b, err := ws.ReadMessage()
		switch {
		case err != nil:
			return
		case kind == websocket.BinaryMessage:
			c.proof.unit(b, time.Now())
		default:
			var report struct {
				Sent map[string]count `json:"sent"`
			}
			if err := json.Unmarshal(b, &report); err != nil {
				c.failure("read what was sent", err)
				continue
			}
			c.proof.sending(report.Sent)
		}
	}
}

// unitHead is what is in front of a unit: its kind, whether it is a key frame, and
// its size.
const unitHead = 6

func (p *proof) unit(b []byte, at time.Time) {
	if len(b) < unitHead {
		return
	}
	p.mu.Lock()
	k := p.call
	p.mu.Unlock()
	if k == nil {
		return
	}
	kind := media.Audio
	if b[0] == 1 {
		kind = media.Video
	}
	if s := k.sinks[kind]; s != nil {
		s.PushUnit(b[unitHead:], b[1] == 1, at)
	}
}

// sending notes what the tab has sent, and tells when a call's first unit left.
func (p *proof) sending(sent map[string]count) {
	p.mu.Lock()
	k := p.call
	var started []string
	for _, kind := range []string{string(media.Audio), string(media.Video)} {
		n := sent[kind]
		p.sent[kind] = n
		if k != nil && n.Units > k.began[kind].Units && !k.sends[kind] {
			k.sends[kind] = true
			started = append(started, kind)
		}
	}
	p.mu.Unlock()
	for _, kind := range started {
		k.event("media.source", slog.String("state", "started"), slog.String("media", kind))
	}
}

// picture takes what the tab renders: width, height, the number of frames that
// were shown, and the brightness of each pixel.
func (p *proof) picture(b []byte, at time.Time) {
	const head = 8
	if len(b) < head {
		return
	}
	width, height := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
	p.mu.Lock()
	k := p.call
	p.mu.Unlock()
	if k != nil && len(b) == head+width*height {
		k.sight.look(frame{width, height, binary.BigEndian.Uint32(b[4:]), b[head:]}, at)
	}
}
