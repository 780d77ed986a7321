package kmsmock

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pion/ice/v4"
)

// discardPort is the port of an active TCP candidate, which does not listen.
const discardPort = 9

// A localCandidate is a candidate as it is written in events and descriptions.
type localCandidate struct {
	component int
	address   string
	port      int
	text      string
}

// iceState is what the control connection sees of an endpoint's ICE.
type iceState struct {
	component  [2]string // states of components 1 and 2, "" before gathering
	gathering  bool
	done       bool
	found      []localCandidate
	events     int      // IceCandidateFound events so far
	remotes    []string // candidates in Kurento's spelling
	pair       object   // the selected pair, nil without one
	failure    *time.Timer
	ufrag, pwd string // the peer's
}

func (st *iceState) setRemote(remote *sdpText) {
	for _, m := range remote.media {
		if st.ufrag = m.attr(remote, "ice-ufrag"); st.ufrag != "" {
			st.pwd = m.attr(remote, "ice-pwd")
			return
		}
	}
}

func (st *iceState) known() []localCandidate {
	if !st.done {
		return nil
	}
	return st.found
}

func (st *iceState) stop() {
	if st.failure != nil {
		st.failure.Stop()
	}
}

// gatherCandidates has no effect before there is a description, nor a second time.
func gatherCandidates(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.local == nil || ep.ice.gathering {
		return nil, nil
	}
	c.pace.respond = c.srv.pace.gather
	ep.ice.gathering = true
	ep.componentState(1, "GATHERING", c.srv.pace.gather)
	ep.componentState(2, "GATHERING", c.srv.pace.gather)
	c.srv.spawn(ep.media.run)
	return nil, nil
}

// componentState changes the state of an ICE component and reports it.
func (ep *rtcEndpoint) componentState(component int, state string, delay time.Duration) {
	ep.ice.component[component-1] = state
	s := ep.obj.srv
	s.emitIn(ep.obj, "IceComponentStateChanged", object{"componentId": component, "state": state, "streamId": 1}, delay)
}

// ICE priorities of libnice 0.1.21 for host candidates of component 1; each
// further address has the next lower one, component 2 one less.
const (
	priorityUDP        = 2015364095
	priorityTCPActive  = 1015022591
	priorityTCPPassive = 1010828287
	priorityStep       = 256 // one step of the local preference
)

// foundHost reports a host address: UDP and both kinds of TCP, two components.
// Only UDP of component 1 is a real socket. Each is reported per m-line.
func (ep *rtcEndpoint) foundHost(address string, port int) {
	st := &ep.ice
	n := len(st.found) / 6
	kinds := []struct {
		priority, port int
		transport      string
		suffix         string
	}{
		{priorityUDP, port, "UDP", ""},
		{priorityTCPActive, discardPort, "TCP", " tcptype active"},
		{priorityTCPPassive, 0, "TCP", " tcptype passive"},
	}
	for component := 1; component <= 2; component++ {
		for i, k := range kinds {
			if k.port == 0 || (component == 2 && k.port != discardPort) {
				k.port = 1024 + ep.obj.srv.rand.IntN(64511)
			}
			ep.foundCandidate(localCandidate{component: component, address: address, port: k.port,
				text: fmt.Sprintf("candidate:%d %d %s %d %s %d typ host%s", 3*n+i+1, component, k.transport,
					k.priority-n*priorityStep-component+1, address, k.port, k.suffix)})
		}
	}
}

func (ep *rtcEndpoint) foundCandidate(c localCandidate) {
	s, st := ep.obj.srv, &ep.ice
	st.found = append(st.found, c)
	for i, m := range ep.local.media {
		if !slices.Contains(ep.local.bundle, m.mid) && !(m.accepted && !ep.local.group) {
			continue
		}
		st.events++
		if slices.Contains(s.faults.DropCandidates, st.events) {
			s.log.Info("kms.fault", "object", ep.obj.id, "type", "drop_candidate", "number", st.events)
			continue
		}
		s.emit(ep.obj, "IceCandidateFound", object{"candidate": kurentoStruct("IceCandidate", object{
			"candidate": c.text, "sdpMid": m.mid, "sdpMLineIndex": i,
		})})
	}
}

// gathered ends gathering and begins to wait for the peer.
func (ep *rtcEndpoint) gathered() {
	ep.ice.done = true
	ep.obj.srv.log.Info("kms.ice.gathered", "object", ep.obj.id, "candidates", ep.ice.events)
	ep.obj.srv.emit(ep.obj, "IceGatheringDone", object{})
	ep.connecting()
}

// connecting reports CONNECTING once there is something to connect to, and
// FAILED if nothing comes of it.
func (ep *rtcEndpoint) connecting() {
	st, s := &ep.ice, ep.obj.srv
	if !st.done || len(st.remotes) == 0 || st.component[0] != "GATHERING" {
		return
	}
	ep.componentState(1, "CONNECTING", s.pace.event)
	st.failure = time.AfterFunc(s.pace.iceFailure, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !ep.closed && st.component[0] == "CONNECTING" {
			ep.componentState(1, "FAILED", s.pace.event)
		}
	})
}

func addIceCandidate(c *call) (value, error) {
	ep, candidate := endpointOf(c.obj), c.args["candidate"].(object)
	if ep.remote == nil {
		ep.queued = append(ep.queued, candidate)
		return nil, nil
	}
	return nil, ep.addCandidate(candidate)
}

// addCandidate takes almost anything, as Kurento does: only an m-line that does
// not exist is an error, and that only once gathering has begun; until then
// candidates are put aside unread. The mid plays no part.
func (ep *rtcEndpoint) addCandidate(c object) error {
	index := c["sdpMLineIndex"].(int64)
	switch {
	case index >= 0 && int(index) < len(ep.local.media):
		ep.addRemote(c["candidate"].(string))
	case ep.ice.gathering:
		return failf(40401, "ICE_ADD_CANDIDATE_ERROR", "Error adding candidate")
	}
	return nil
}

// addRemote gives a candidate to ICE if it can be used: an address (no name)
// over UDP for component 1, not seen before.
func (ep *rtcEndpoint) addRemote(text string) {
	text = strings.TrimPrefix(text, "a=")
	candidate, err := ice.UnmarshalCandidate(text)
	if err != nil || candidate.Component() != 1 || !candidate.NetworkType().IsUDP() || strings.HasSuffix(candidate.Address(), ".local") {
		return
	}
	spelled := spell(candidate)
	if slices.Contains(ep.ice.remotes, spelled) {
		return
	}
	ep.ice.remotes = append(ep.ice.remotes, spelled)
	ep.media.addRemote(candidate)
	ep.connecting()
}

// spell writes a remote candidate as Kurento repeats it: transport in capitals,
// no extensions.
func spell(c ice.Candidate) string {
	foundation := c.Foundation()
	if c.Type() == ice.CandidateTypePeerReflexive {
		foundation = "remote1"
	}
	out := fmt.Sprintf("candidate:%s %d %s %d %s %d typ %s", foundation, c.Component(),
		strings.ToUpper(c.NetworkType().NetworkShort()), c.Priority(), c.Address(), c.Port(), c.Type())
	if r := c.RelatedAddress(); r != nil && c.Type() != ice.CandidateTypePeerReflexive {
		out += fmt.Sprintf(" raddr %s rport %d", r.Address, r.Port)
	}
	return out
}

// connected reports the pair that ICE has chosen and begins DTLS, in the order
// that was recorded. It returns whether DTLS shall really begin.
func (ep *rtcEndpoint) connected(local, remote ice.Candidate) bool {
	s, st := ep.obj.srv, &ep.ice
	if st.component[0] != "CONNECTING" {
		ep.componentState(1, "CONNECTING", s.pace.event)
	}
	st.stop()
	ep.reportPair(local, remote)
	ep.componentState(1, "CONNECTED", s.pace.event)
	if ep.dtlsState[partEnc] == "" {
		ep.beginDTLS()
	}
	ep.dtls(partDec, "CONNECTING")
	ep.dtls(partEnc, "CONNECTING")
	ep.componentState(1, "READY", s.pace.event)
	if s.stall() {
		s.log.Info("kms.fault", "object", ep.obj.id, "type", "stall_dtls")
		return false
	}
	return true
}

func (ep *rtcEndpoint) reportPair(local, remote ice.Candidate) {
	localText := spell(local)
	for _, c := range ep.ice.found {
		if c.component == 1 && c.address == local.Address() && c.port == local.Port() {
			localText = c.text
		}
	}
	pair := func() object {
		return kurentoStruct("IceCandidatePair", object{
			"componentId": 1, "streamId": "1", "localCandidate": localText, "remoteCandidate": spell(remote),
		})
	}
	ep.ice.pair = pair()
	ep.obj.srv.emit(ep.obj, "NewCandidatePairSelected", object{"candidatePair": pair()})
}

func getCandidatePairs(o *mediaObject) (value, error) {
	if pair := endpointOf(o).ice.pair; pair != nil {
		return array{pair}, nil
	}
	return array{}, nil
}

func getIceConnectionState(o *mediaObject) (value, error) {
	out := array{}
	for i, state := range endpointOf(o).ice.component {
		if state != "" {
			out = append(out, kurentoStruct("IceConnection", object{"componentId": i + 1, "state": state, "streamId": "1"}))
		}
	}
	return out, nil
}

// The two halves of an endpoint's DTLS-SRTP, in the order in which Kurento
// lists them.
const (
	partDec = iota
	partEnc
)

var dtlsParts = [...]string{"[bundle/dtlssrtpdec]", "[bundle/dtlssrtpenc]"}

func (ep *rtcEndpoint) dtlsConnection(part int) object {
	return object{
		"componentId": dtlsParts[part], "streamId": "1", "state": ep.dtlsState[part],
		"connectionId": fmt.Sprintf("dtlssrtpenc%d-dtlssrtpdec%d-1-1", ep.dtlsIndex, ep.dtlsIndex),
	}
}

// beginDTLS numbers the DTLS connection: an offerer's once it has its answer,
// an answerer's once ICE is connected.
func (ep *rtcEndpoint) beginDTLS() {
	ep.dtlsIndex = ep.obj.srv.dtlsCount
	ep.obj.srv.dtlsCount++
	ep.dtls(partEnc, "NEW")
}

// dtls changes the state of one half and reports it.
func (ep *rtcEndpoint) dtls(part int, state string) {
	ep.dtlsState[part] = state
	ep.obj.srv.emit(ep.obj, "DtlsConnectionStateChange", ep.dtlsConnection(part))
}

func getDtlsConnectionState(o *mediaObject) (value, error) {
	ep, out := endpointOf(o), array{}
	for part, state := range ep.dtlsState {
		if state != "" {
			out = append(out, kurentoStruct("DtlsConnection", ep.dtlsConnection(part)))
		}
	}
	return out, nil
}

// dtlsFailed reports a handshake that broke, with the two errors of GStreamer
// that come with it.
func (ep *rtcEndpoint) dtlsFailed() {
	ep.dtls(partDec, "FAILED")
	ep.dtls(partEnc, "FAILED")
	ep.reportError(1, "STREAM_ERROR_FAILED", "Internal data stream error.", "nicesrc0")
	ep.reportError(9, "UNEXPECTED_ELEMENT_ERROR", "Could not read from resource.", "dtlsdec0")
}
