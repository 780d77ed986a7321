package kmsmock

import (
	"time"

	"github.com/pion/ice/v4"
)

// late takes a candidate that comes when ICE has a pair. One at the address of
// the chosen peer says what that peer is: the pair is reported anew if the peer
// was known by its checks only. Another is tried if its pair would be no worse,
// for as long as checks go unanswered. The lock is held.
func (t *mediaTransport) late(c ice.Candidate) {
	s, st := t.ep.obj.srv, &t.ice
	switch chosen := st.remote; {
	case chosen == nil || c.NetworkType().IsTCP():
	case c.Address() == chosen.Address() && c.Port() == chosen.Port():
		if chosen.Type() == ice.CandidateTypePeerReflexive {
			st.remote = c
			t.reportPair(st.local, c)
		}
	case c.Priority() < chosen.Priority():
	case st.component[0] == "READY":
		t.componentState(1, "CONNECTED", s.pace.event)
		st.retry = time.AfterFunc(s.pace.iceRetry, t.readyAgain)
	case st.retry != nil:
		st.retry.Reset(s.pace.iceRetry)
	}
}

// readyAgain gives up candidates that nobody answers at.
func (t *mediaTransport) readyAgain() {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.ep.closed && t.ice.component[0] == "CONNECTED" {
		t.componentState(1, "READY", s.pace.event)
	}
}

// told is the candidate that the client has told for the address at which a
// peer was found, or what was found.
func (t *mediaTransport) told(found ice.Candidate) ice.Candidate {
	for _, c := range t.ice.known {
		if !c.NetworkType().IsTCP() && !found.NetworkType().IsTCP() && c.Address() == found.Address() && c.Port() == found.Port() {
			return c
		}
	}
	return found
}
