package kmsmock

import (
	"slices"
	"sync"
)

// Media that a hub is about, by kind.
var (
	both      = [2]bool{true, true}
	audioOnly = [2]bool{kindAudio: true}
	neither   = [2]bool{}
)

// A matrix is the router of hubs whose ports are connected by name: a
// Dispatcher, a Mixer. A port shows one source, but is fed any number.
type matrix struct {
	mu    sync.RWMutex
	sinks [2]map[*hubPort][]*hubPort // by source
}

func newMatrix() hubRouter {
	return &matrix{sinks: [2]map[*hubPort][]*hubPort{{}, {}}}
}

func (m *matrix) route(from *hubPort, p *packet, _ []*hubPort) []*hubPort {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sinks[p.kind][from]
}

// link leads a medium of source to sink. The lists are replaced, not changed:
// packets on their way still read the old ones.
func (m *matrix) link(k mediaKind, source, sink *hubPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut(k, sink)
	m.sinks[k][source] = append(slices.Clone(m.sinks[k][source]), sink)
}

// cut takes a sink off its source. The matrix' lock is held.
func (m *matrix) cut(k mediaKind, sink *hubPort) {
	for source, sinks := range m.sinks[k] {
		if i := slices.Index(sinks, sink); i >= 0 {
			m.sinks[k][source] = slices.Concat(sinks[:i], sinks[i+1:])
		}
	}
}

func (m *matrix) forget(port *hubPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range allKinds[:2] {
		m.cut(k, port)
		delete(m.sinks[k], port)
	}
}

func portArg(c *call, name string) *hubPort {
	p, _ := c.args[name].(*mediaObject).impl.(*hubPort)
	return p
}

func connectPorts(c *call) (value, error) {
	h := c.obj.impl.(*hub)
	source, sink := h.own(portArg(c, "source")), h.own(portArg(c, "sink"))
	if source == nil || sink == nil {
		return nil, failf(40004, "CONNECT_ERROR", "Can not connect ports")
	}
	for _, k := range allKinds[:2] {
		h.router.(*matrix).link(k, source, sink)
	}
	return nil, nil
}

// own finds a port by its number in the hub, which is all that Kurento goes by:
// a port of another hub stands for the one of its number here.
func (h *hub) own(p *hubPort) *hubPort {
	if p == nil {
		return nil
	}
	if i := slices.IndexFunc(h.ports, func(x *hubPort) bool { return x.number == p.number }); i >= 0 {
		return h.ports[i]
	}
	return nil
}

// mixerMedium is the medium of a Mixer's connection.
func mixerMedium(c *call) (mediaKind, error) {
	k := kindNamed(c.str("media"))
	if k == kindData {
		return k, failf(40005, "UNSUPPORTED_MEDIA_TYPE", "Invalid media type")
	}
	return k, nil
}

// connectMixer imitates the end of Kurento's process: it has never been seen to
// connect two ports.
func connectMixer(c *call) (value, error) {
	if _, err := mixerMedium(c); err != nil {
		return nil, err
	}
	return crash(c)
}

func disconnectMixer(c *call) (value, error) {
	k, err := mixerMedium(c)
	switch {
	case err != nil:
		return nil, err
	case k == kindVideo:
		return nil, failf(40005, "UNSUPPORTED_MEDIA_TYPE", "Video disconnection is not implemented yet")
	}
	return crash(c)
}

// A stage is the router of a DispatcherOneToMany: the media of one port go to
// all, to itself too.
type stage struct {
	mu     sync.Mutex
	source *hubPort
}

func newStage() hubRouter { return &stage{} }

func (g *stage) route(from *hubPort, _ *packet, all []*hubPort) []*hubPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	if from != g.source {
		return nil
	}
	return all
}

func (g *stage) forget(port *hubPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.source == port {
		g.source = nil
	}
}

func (g *stage) set(port *hubPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.source = port
}

func setSource(c *call) (value, error) {
	h := c.obj.impl.(*hub)
	h.router.(*stage).set(h.own(portArg(c, "source")))
	return nil, nil
}

func removeSource(c *call) (value, error) {
	c.obj.impl.(*hub).router.(*stage).set(nil)
	return nil, nil
}
