package media

import (
	"slices"
	"time"
)

// FlowState is what changed about the media that a sink receives.
type FlowState string

// The changes that a sink reports.
const (
	// FlowStarted: the first good unit of an expected participant's track came.
	FlowStarted FlowState = "started"
	// FlowSilent: no good unit came for SinkConfig.SilentAfter.
	FlowSilent FlowState = "silent"
	// FlowResumed: the first good unit after silence came.
	FlowResumed FlowState = "resumed"
	// FlowWrongOrigin: a unit came that another participant or call sent; reported once
	// for each such track, and counted each time.
	FlowWrongOrigin FlowState = "wrong_origin"
	// FlowUnmarked: a whole unit without a marker came; reported once. Somebody else
	// sends, or a media server transcodes.
	FlowUnmarked FlowState = "unmarked"
)

// FlowChange says what changed, for whom and when.
type FlowChange struct {
	State FlowState
	Kind  Kind
	Codec Codec
	// From is the expected participant; empty for a wrong origin and for unmarked media.
	From string
	// Call, Participant and Track are those of the marker.
	Call        uint64
	Participant uint32
	Track       uint8
	// At is when the unit arrived that made the change, or when silence had lasted for
	// SilentAfter.
	At time.Time
	// Gap is the time between the last good unit before silence and the first one after
	// it; so far, in FlowSilent.
	Gap time.Duration
	// Missing units were sent during the gap and did not come. With none missing, the
	// sender had paused.
	Missing uint64
	// Delay is the one-way delay of the unit that made the change.
	Delay time.Duration
}

// Expect says whose media a sink should receive. What is left empty is not checked.
type Expect struct {
	Call         string
	Participants []string
}

// expectation is Expect in the terms of markers.
type expectation struct {
	call         uint64
	anyCall      bool
	participants []expected
}

type expected struct {
	hash uint32
	name string
}

func newExpectation(e Expect) expectation {
	x := expectation{call: CallHash(e.Call), anyCall: e.Call == ""}
	for _, name := range e.Participants {
		x.participants = append(x.participants, expected{ParticipantHash(name), name})
	}
	return x
}

// name returns the expected participant with that hash.
func (x *expectation) name(hash uint32) (string, bool) {
	i := slices.IndexFunc(x.participants, func(p expected) bool { return p.hash == hash })
	if i < 0 {
		return "", len(x.participants) == 0
	}
	return x.participants[i].name, true
}

func (x *expectation) fits(m Marker) bool {
	if !x.anyCall && m.Call != x.call {
		return false
	}
	_, ok := x.name(m.Participant)
	return ok
}
