package kmsmock

import (
	"slices"
	"sync"
	"time"
)

const (
	// speechPause ends a speaker's turn.
	speechPause = 400 * time.Millisecond
	// speechOnset is how long somebody speaks before the floor is his, so that
	// single packets (of comfort noise) do not take it.
	speechOnset = 100 * time.Millisecond
	// videoPause is how long a port keeps the picture without sending any.
	videoPause = time.Second
)

// A floor is the router of hubs that would mix. Nothing is mixed: one port is
// heard and seen by all, himself included, as in the mix he is part of. The
// floor is his who began to speak last; the picture follows with a key frame.
type floor struct {
	mu      sync.Mutex
	turns   map[*hubPort]*speech
	speaker *hubPort
	shown   *hubPort
}

// A speech is what a floor knows of a port.
type speech struct {
	began, heard time.Time // of the present or last burst of speech
	seen         time.Time // last video packet
}

func newFloor() hubRouter { return &floor{turns: map[*hubPort]*speech{}} }

func (f *floor) route(from *hubPort, p *packet, all []*hubPort) []*hubPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.turns[from]
	if t == nil {
		t = &speech{}
		f.turns[from] = t
	}
	owner := &f.speaker
	if p.kind == kindVideo {
		t.seen = p.at
		f.show(from, p)
		owner = &f.shown
	} else {
		f.listen(from, t, p)
	}
	if *owner != from {
		return nil
	}
	return all
}

func (f *floor) forget(port *hubPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.turns, port)
	if f.speaker == port {
		f.speaker = nil
	}
	if f.shown == port {
		f.shown = nil
	}
}

// listen gives the floor to whoever it belongs to after an audio packet.
func (f *floor) listen(from *hubPort, t *speech, p *packet) {
	if isVoice(p.codec.name, p.payload) {
		if p.at.Sub(t.heard) > speechPause {
			t.began = p.at
		}
		t.heard = p.at
	}
	holder := f.turns[f.speaker]
	switch {
	case holder == nil:
		f.speaker = from
	case f.speaker == from || p.at.Sub(t.heard) > speechPause:
	case p.at.Sub(holder.heard) > speechPause,
		t.began.After(holder.began) && p.at.Sub(t.began) >= speechOnset:
		f.speaker = from
	}
}

// show decides whose picture is seen after a video packet: the speaker's, as
// soon as a key frame of his comes; until then whoever was seen before.
func (f *floor) show(from *hubPort, p *packet) {
	if f.shown == from {
		return
	}
	shown, speaker := f.turns[f.shown], f.turns[f.speaker]
	idle := shown == nil || p.at.Sub(shown.seen) > videoPause
	due := f.speaker == from || speaker == nil || p.at.Sub(speaker.seen) > videoPause
	switch {
	case idle && due, f.speaker == from && p.key:
		f.shown = from
	case f.speaker == from:
		p.from.wantKeyFrame()
	}
}

// isVoice tells speech from silence without decoding: an Opus packet of no
// more than three bytes is a frame that was left out or an encoded silence, a
// G.711 packet of zeros is none either.
func isVoice(codecName string, payload []byte) bool {
	switch codecName {
	case "PCMU":
		return slices.ContainsFunc(payload, func(b byte) bool { return b|0x80 != 0xff })
	case "PCMA":
		return slices.ContainsFunc(payload, func(b byte) bool { return b|0x80 != 0xd5 })
	}
	return len(payload) > 3
}
