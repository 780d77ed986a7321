package kmsmock

import "slices"

// divide gives every m-line a stream: those of the bundle share the first, the
// others get one each, as in Kurento. The lock is held.
func (ep *rtcEndpoint) divide() {
	for i, m := range ep.local.media {
		bundled := ep.local.group && slices.Contains(ep.local.bundle, m.mid)
		if !bundled && !m.accepted {
			continue
		}
		t := ep.media
		if len(t.lines) > 0 && !bundled {
			t = ep.addStream(m)
		}
		if t.lines = append(t.lines, i); !bundled {
			t.name = connectionName(m)
		}
		if k := kindOfLine(m.kind); k != kindData {
			ep.carriers[k].Store(t)
		}
	}
}

// addStream makes a stream for a medium outside the bundle.
func (ep *rtcEndpoint) addStream(m *medium) *mediaTransport {
	s := ep.obj.srv
	m.stream, m.secret = len(ep.streams)+1, iceSecret{s.token(4), s.token(22)}
	t := newMediaTransport(ep, m.stream, connectionName(m), m.secret)
	ep.streams = append(ep.streams, t)
	return t
}

// connectionName is what Kurento calls the connection of a single m-line.
func connectionName(m *medium) string {
	switch {
	case m.kind == "application":
		return "sctp"
	case slices.Contains(m.lines, "rtcp-mux"):
		return "rtcpmux"
	}
	return "rtp"
}

func kindOfLine(kind string) mediaKind {
	switch kind {
	case "audio":
		return kindAudio
	case "video":
		return kindVideo
	}
	return kindData
}

// carrier is the stream of an m-line, nil for a rejected one.
func (ep *rtcEndpoint) carrier(line int) *mediaTransport {
	for _, t := range ep.streams {
		if slices.Contains(t.lines, line) {
			return t
		}
	}
	return nil
}

// A streamsPort is where media leaves through the stream that carries it.
type streamsPort struct{ ep *rtcEndpoint }

func (p streamsPort) deliver(packet *packet) bool {
	return p.ep.carriers[packet.kind].Load().deliver(packet)
}

func (p streamsPort) accepts(c *codec) bool {
	for k := range p.ep.carriers {
		if p.ep.carriers[k].Load().accepts(c) {
			return true
		}
	}
	return false
}

// takes tells whether a medium can go out now.
func (p streamsPort) takes(k mediaKind) bool {
	return k != kindData && p.ep.carriers[k].Load().takes(k)
}

// restart notes that a source was connected: its video waits for a key frame.
func (p streamsPort) restart(k mediaKind) {
	if k != kindData {
		p.ep.carriers[k].Load().restart(k)
	}
}

func (ep *rtcEndpoint) setReporting(on bool) {
	for _, t := range ep.streams {
		t.reporting.Store(on)
	}
}

// lastHeard is when anything came from the peer, ns since 1970.
func (ep *rtcEndpoint) lastHeard() int64 {
	var last int64
	for _, t := range ep.streams {
		last = max(last, t.lastHeard.Load())
	}
	return last
}

func (ep *rtcEndpoint) streamStats(wanted string) []object {
	var out []object
	for _, t := range ep.streams {
		out = append(out, t.streamStats(wanted)...)
	}
	return out
}
