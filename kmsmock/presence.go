package kmsmock

import "time"

// presence is the media and connection state of an endpoint. Media counts as
// connected from the peer's first RTCP report until nothing has come from the
// peer for a while; the connection stays up once DTLS was.
type presence struct {
	media     bool
	connected bool
	timer     *time.Timer
}

func stateName(up bool) string {
	if up {
		return "CONNECTED"
	}
	return "DISCONNECTED"
}

func (p *presence) mediaState() string      { return stateName(p.media) }
func (p *presence) connectionState() string { return stateName(p.connected) }

func (p *presence) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (ep *rtcEndpoint) changed(eventType string, up bool) {
	ep.obj.srv.emit(ep.obj, eventType, object{"newState": stateName(up), "oldState": stateName(!up)})
}

// reported notes an RTCP report of the peer.
func (ep *rtcEndpoint) reported() {
	s := ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if ep.closed || ep.presence.media {
		return
	}
	ep.presence.media = true
	ep.setReporting(true)
	ep.changed("MediaStateChanged", true)
	ep.presence.timer = time.AfterFunc(s.pace.mediaTimeout, ep.checkPresence)
}

func (ep *rtcEndpoint) checkPresence() {
	s := ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if ep.closed || !ep.presence.media {
		return
	}
	idle := time.Duration(time.Now().UnixNano() - ep.lastHeard())
	if idle < s.pace.mediaTimeout {
		ep.presence.timer.Reset(s.pace.mediaTimeout - idle)
		return
	}
	ep.presence.media = false
	ep.setReporting(false)
	ep.changed("MediaStateChanged", false)
}
