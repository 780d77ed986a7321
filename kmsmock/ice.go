package kmsmock

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/ice/v4"
)

const (
	// idleTimeout is after how long without a check libnice gives up components
	// that have no pair.
	idleTimeout = 5 * time.Second
	// secondPatience is how long a check of component 2 waits for component 1
	// to be connected. Kurento has no such rest: its peers were recorded on the
	// same machine, where component 1 is connected within a millisecond, and
	// the delay of a link shall not change what happens.
	secondPatience = 103 * time.Millisecond
)

// iceState is what the control connection sees of the ICE of one stream.
type iceState struct {
	component  [2]string // states of components 1 and 2, "" before gathering
	gathering  bool
	hosted     bool // host candidates have been reported
	done       bool
	found      []localCandidate
	servers    int           // TURN servers so far
	remotes    []string      // candidates in Kurento's spelling
	pair       object        // the selected pair, nil without one
	local      ice.Candidate // of that pair
	remote     ice.Candidate
	failure    *time.Timer
	known      []ice.Candidate // the same
	second     *time.Timer
	retry      *time.Timer // of candidates that came late
	ufrag, pwd string      // the peer's
}

func (st *iceState) stop() {
	for _, timer := range []*time.Timer{st.failure, st.second, st.retry} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// known are the candidates for a description, none before gathering is done.
func (ep *rtcEndpoint) known() []localCandidate {
	var out []localCandidate
	for _, t := range ep.streams {
		if !t.ice.done {
			return nil
		}
		out = append(out, t.ice.found...)
	}
	return out
}

// gathered tells whether every stream has all its candidates.
func (ep *rtcEndpoint) gathered() bool {
	return !slices.ContainsFunc(ep.streams, func(t *mediaTransport) bool { return !t.ice.done })
}

// gatherCandidates has no effect before there is a description. A second time
// it only makes allocations at the TURN server that is set by then.
func gatherCandidates(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.local == nil || len(ep.media.lines) == 0 {
		return nil, nil
	}
	c.pace.respond = c.srv.pace.gather
	if ep.media.ice.gathering {
		ep.gatherAgain()
		return nil, nil
	}
	for i, t := range slices.Backward(ep.streams) {
		t.ice.gathering, t.place = true, len(ep.streams)-i
		t.componentState(1, "GATHERING", c.srv.pace.gather)
		t.componentState(2, "GATHERING", c.srv.pace.gather)
		c.srv.spawn(t.run)
	}
	return nil, nil
}

// gatherAgain asks the TURN server for more relay candidates.
func (ep *rtcEndpoint) gatherAgain() {
	server, ok := turnServerOf(ep.obj)
	if !ok {
		return
	}
	for _, t := range ep.streams {
		if !t.ice.hosted {
			continue // the first gathering has not come to the servers yet
		}
		ep.obj.srv.spawn(func() {
			if t.sleep(ep.obj.srv.pace.gather) {
				t.relayAgain(server)
				t.finish()
			}
		})
	}
}

// componentState changes the state of an ICE component and reports it.
func (t *mediaTransport) componentState(component int, state string, delay time.Duration) {
	t.ice.component[component-1] = state
	t.ep.obj.srv.emitIn(t.ep.obj, "IceComponentStateChanged",
		object{"componentId": component, "state": state, "streamId": t.id}, delay)
}

// foundCandidate reports a candidate, once for each m-line of the stream.
func (t *mediaTransport) foundCandidate(c localCandidate) {
	s, ep := t.ep.obj.srv, t.ep
	c.stream = t.id
	t.ice.found = append(t.ice.found, c)
	for _, line := range t.lines {
		ep.candidates++
		if slices.Contains(s.faults.DropCandidates, ep.candidates) {
			s.log.Info("kms.fault", "object", ep.obj.id, "type", "drop_candidate", "number", ep.candidates)
			continue
		}
		s.emit(ep.obj, "IceCandidateFound", object{"candidate": kurentoStruct("IceCandidate", object{
			"candidate": c.text, "sdpMid": ep.local.media[line].mid, "sdpMLineIndex": line,
		})})
	}
}

// finish ends gathering. The event comes when all streams have ended it.
func (t *mediaTransport) finish() {
	s, ep := t.ep.obj.srv, t.ep
	s.mu.Lock()
	defer s.mu.Unlock()
	if ep.closed || t.ctx.Err() != nil {
		return
	}
	t.ice.done = true
	if ep.gathered() {
		s.log.Info("kms.ice.gathered", "object", ep.obj.id, "candidates", ep.candidates)
		s.emit(ep.obj, "IceGatheringDone", object{})
	}
	t.connecting()
}

// connecting reports CONNECTING once there is something to connect to, and
// FAILED if nothing comes of it.
func (t *mediaTransport) connecting() {
	st := &t.ice
	if !st.hosted || len(st.remotes) == 0 {
		return
	}
	switch st.component[0] {
	case "GATHERING", "FAILED":
		t.tryComponent(1, t.ep.obj.srv.pace.iceFailure)
	}
}

// tryComponent reports CONNECTING, and FAILED after a while without a pair.
func (t *mediaTransport) tryComponent(component int, patience time.Duration) {
	s := t.ep.obj.srv
	t.componentState(component, "CONNECTING", s.pace.event)
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !t.ep.closed && t.ice.component[component-1] == "CONNECTING" {
			t.componentState(component, "FAILED", s.pace.event)
		}
	})
	if component == 1 {
		t.ice.failure = timer
	} else {
		t.ice.second = timer
	}
}

func addIceCandidate(c *call) (value, error) {
	ep, candidate := endpointOf(c.obj), c.args["candidate"].(object)
	if strings.Contains(candidate["candidate"].(string), ".local ") {
		// Kurento resolves the name while the request waits, and lets the
		// candidate go when nobody answers.
		c.srv.wait(c.srv.pace.resolve)
		return nil, nil
	}
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
		text := strings.TrimPrefix(c["candidate"].(string), "a=")
		ep.addRemote(int(index), text)
		if strings.HasPrefix(text, "candidate:") && int(index) < len(ep.remote.media) {
			m := ep.remote.media[index]
			m.attrs = append(m.attrs, text)
		}
	case ep.media.ice.gathering:
		return failf(40401, "ICE_ADD_CANDIDATE_ERROR", "Error adding candidate")
	}
	return nil
}

// addRemote gives a candidate to the ICE of an m-line if it can be used: an
// address (no name) not seen before.
func (ep *rtcEndpoint) addRemote(line int, text string) {
	t := ep.carrier(line)
	candidate, err := ice.UnmarshalCandidate(strings.TrimPrefix(text, "a="))
	if t == nil || err != nil || candidate.Component() > 2 || strings.HasSuffix(candidate.Address(), ".local") {
		return
	}
	if candidate.Component() == 2 {
		if t.ice.hosted && t.ice.component[1] == "GATHERING" && candidate.TCPType() != ice.TCPTypeActive {
			t.tryComponent(2, ep.obj.srv.pace.iceFailure)
		}
		return
	}
	t.addRemote(candidate)
}

// addRemote takes a candidate of the peer. The lock is held. TCP candidates
// are dialled by nobody here; one that dials in is told apart by its text.
func (t *mediaTransport) addRemote(c ice.Candidate) {
	spelled := spell(c)
	if slices.Contains(t.ice.remotes, spelled) || slices.Contains(t.dialling, spelled) {
		return
	}
	if c.TCPType() == ice.TCPTypeActive {
		t.dialling = append(t.dialling, spelled)
		return
	}
	t.ice.remotes = append(t.ice.remotes, spelled)
	t.ice.known = append(t.ice.known, c)
	switch {
	case c.NetworkType().IsTCP():
	case t.agent == nil:
		t.pending = append(t.pending, c)
	default:
		_ = t.agent.AddRemoteCandidate(c)
	}
	t.connecting()
	t.late(c)
}

// connected reports the pair that ICE has chosen and begins DTLS, in the order
// that was recorded. It returns whether DTLS shall really begin.
func (t *mediaTransport) connected(local, remote ice.Candidate) bool {
	s, st := t.ep.obj.srv, &t.ice
	if st.component[0] != "CONNECTING" {
		t.componentState(1, "CONNECTING", s.pace.event)
	}
	if st.failure != nil {
		st.failure.Stop()
	}
	remote = t.told(remote)
	st.local, st.remote = local, remote
	t.reportPair(local, remote)
	t.componentState(1, "CONNECTED", s.pace.event)
	if t.dtlsState[partEnc] == "" {
		t.beginDTLS()
	}
	t.dtls(partDec, "CONNECTING")
	t.dtls(partEnc, "CONNECTING")
	t.componentState(1, "READY", s.pace.event)
	return !t.doomed()
}

func (t *mediaTransport) reportPair(local, remote ice.Candidate) {
	localText := spell(local)
	for _, c := range t.ice.found {
		if c.component == 1 && c.address == local.Address() && c.port == local.Port() && c.tcp == local.NetworkType().IsTCP() {
			localText = cmp.Or(c.pair, c.text)
		}
	}
	pair := func() object {
		return kurentoStruct("IceCandidatePair", object{
			"componentId": 1, "streamId": strconv.Itoa(t.id), "localCandidate": localText, "remoteCandidate": t.remoteText(remote),
		})
	}
	t.ice.pair = pair()
	t.ep.obj.srv.emit(t.ep.obj, "NewCandidatePairSelected", object{"candidatePair": pair()})
}

// remoteText is the peer's own text for a candidate that dialled in over TCP.
func (t *mediaTransport) remoteText(c ice.Candidate) string {
	where := fmt.Sprintf(" %s %d typ ", c.Address(), c.Port())
	for _, text := range t.dialling {
		if c.NetworkType().IsTCP() && strings.Contains(text, where) {
			return text
		}
	}
	return spell(c)
}

func getCandidatePairs(o *mediaObject) (value, error) {
	out := array{}
	for _, t := range endpointOf(o).streams {
		if t.ice.pair != nil {
			out = append(out, t.ice.pair)
		}
	}
	return out, nil
}

func getIceConnectionState(o *mediaObject) (value, error) {
	out := array{}
	for _, t := range endpointOf(o).streams {
		for i, state := range t.ice.component {
			if state != "" {
				out = append(out, kurentoStruct("IceConnection",
					object{"componentId": i + 1, "state": state, "streamId": strconv.Itoa(t.id)}))
			}
		}
	}
	return out, nil
}
