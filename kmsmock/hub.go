package kmsmock

import (
	"slices"
	"sync/atomic"
	"time"
)

const (
	// mixerStart is how long after its first port a mixing hub shows a picture.
	mixerStart = 75_109 * time.Microsecond
	// mixerNext is how long after that a further port gets one.
	mixerNext = 20_053 * time.Microsecond
	// mixerBeat keeps the flow of a mixing hub that hears nothing alive. The
	// figures are crooked for the reason told in transport.go.
	mixerBeat = 997_171 * time.Microsecond
)

// A hub is the behaviour of a Hub: it leads the media of its ports to its
// ports. The kinds differ in the way (its router) and in what they would mix.
type hub struct {
	obj    *mediaObject
	raw    [2]bool // what comes out is raw media that the hub has mixed
	hums   [2]bool // it comes out from the beginning, silence and background
	ports  []*hubPort
	router hubRouter
	ready  atomic.Bool // a mixing hub: shows a picture
	timer  *time.Timer
	closed bool
	made   int // ports that there have ever been

	// listed is ports as the media path reads it.
	listed atomic.Pointer[[]*hubPort]
}

// A hubRouter decides which ports of a hub give a packet out again.
type hubRouter interface {
	// route is called by the goroutine that received the packet, several of
	// them at once, without the server's lock. The result is only read.
	route(from *hubPort, p *packet, all []*hubPort) []*hubPort
	// forget is told of a port that is gone. The server's lock is held.
	forget(port *hubPort)
}

// A hubPort is the behaviour of a HubPort: its input leads into the hub, its
// output comes out of it.
type hubPort struct {
	*element
	hub    *hub
	number int // within the hub
}

func (h *hub) release() func() {
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	return func() {}
}

// buildHub makes the behaviour of a hub of one kind; raw and hums are for
// audio and video.
func buildHub(router func() hubRouter, raw, hums [2]bool) func(o *mediaObject, args object) error {
	return func(o *mediaObject, _ object) error {
		o.impl = &hub{obj: o, router: router(), raw: raw, hums: hums}
		return nil
	}
}

func buildHubPort(o *mediaObject, args object) error {
	h := args["hub"].(*mediaObject).impl.(*hub)
	p := &hubPort{element: newElement(o, "kmshubport"), hub: h, number: h.made}
	h.made++
	p.port = p
	o.impl = p
	h.ports = append(h.ports, p)
	h.list()
	h.mix(p)
	return nil
}

// list makes the ports known to the media path. The server's lock is held.
func (h *hub) list() {
	ports := slices.Clone(h.ports)
	h.listed.Store(&ports)
}

// mix starts what comes out of a new port of a mixing hub: silence at once, a
// picture when the mixer has one.
func (h *hub) mix(p *hubPort) {
	if h.hums == both {
		p.hum(kindAudio, time.Now(), 0)
	}
	switch {
	case h.hums == neither:
	case h.timer == nil && h.hums[kindVideo]:
		h.timer = time.AfterFunc(mixerStart, h.beat)
	case h.timer == nil:
		h.timer = time.AfterFunc(mixerNext, h.beat)
	case h.ready.Load():
		h.wake(mixerNext)
	}
}

// wake makes the next beat come early.
func (h *hub) wake(after time.Duration) {
	if h.timer != nil && !h.closed && h.ready.Load() {
		h.timer.Reset(after)
	}
}

// beat lets what the mixer makes by itself flow on.
func (h *hub) beat() {
	s := h.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.closed {
		return
	}
	h.ready.Store(true)
	now := time.Now()
	for _, p := range h.ports {
		for _, k := range allKinds[:2] {
			if h.hums[k] {
				p.hum(k, now, 0)
			}
		}
	}
	h.timer.Reset(mixerBeat)
}

// wakeHubs lets the mixing hubs of a pipeline notice a change among their sinks. The
// server's lock is held.
func (o *mediaObject) wakeHubs() {
	for _, o := range o.descendants() {
		if h, ok := o.impl.(*hub); ok {
			h.wake(mixerNext / 2)
		}
	}
}

func (p *hubPort) release() func() {
	h := p.hub
	h.ports = slices.DeleteFunc(h.ports, func(x *hubPort) bool { return x == p })
	h.list()
	h.router.forget(p)
	return p.element.release()
}

// deliver takes a packet into the hub, which takes everything.
func (p *hubPort) deliver(in *packet) bool {
	out := p.hub.router.route(p, in, *p.hub.listed.Load())
	if len(out) == 0 {
		return true
	}
	raw := in.raw
	in.raw = in.raw || p.hub.raw[in.kind]
	for _, port := range out {
		port.send(in)
	}
	in.raw = raw
	return true
}

// accepts tells whether a medium goes into the hub as it is: a mixer decodes
// what it mixes.
func (p *hubPort) accepts(c *codec) bool { return c == rawCodec || !p.hub.raw[c.kind] }

// takes is the answer of a sink that is always there.
func (p *hubPort) takes(mediaKind) bool { return true }
