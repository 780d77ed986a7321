package conform

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestBrief tells events that another run may lack from those that must come.
func TestBrief(t *testing.T) {
	flow := func(state string, at time.Duration) event {
		return event{object: "a", typ: "MediaFlowInStateChanged", data: map[string]any{"mediaType": "AUDIO", "state": state}, at: at}
	}
	pair := func(remote string, at time.Duration) event {
		return event{object: "a", typ: "NewCandidatePairSelected", data: map[string]any{"remoteCandidate": remote}, at: at}
	}
	media := func(state string, at time.Duration) event {
		return event{object: "a", typ: "MediaStateChanged", data: map[string]any{"newState": state}, at: at}
	}
	const s = time.Second
	for name, c := range map[string]struct {
		events []event
		want   []int
	}{
		"short silence":     {[]event{flow("FLOWING", s), flow("NOT_FLOWING", 4*s), flow("FLOWING", 5*s)}, []int{1, 2}},
		"long silence":      {[]event{flow("FLOWING", s), flow("NOT_FLOWING", 4*s), flow("FLOWING", 7*s)}, nil},
		"silence at end":    {[]event{flow("FLOWING", s), flow("NOT_FLOWING", 19*s)}, []int{1}},
		"silence before":    {[]event{flow("FLOWING", s), flow("NOT_FLOWING", 15*s)}, nil},
		"media gone at end": {[]event{media("CONNECTED", s), media("DISCONNECTED", 19*s)}, []int{1}},
		"media gone before": {[]event{media("CONNECTED", s), media("DISCONNECTED", 15*s)}, nil},
		"candidate at once": {[]event{pair("1 typ prflx", s), pair("1 typ host", s+10*time.Millisecond)}, []int{0}},
		"candidate late":    {[]event{pair("1 typ prflx", s), pair("1 typ host", 3*s)}, nil},
	} {
		var got []int
		all := brief(c.events, func(string) time.Duration { return 20 * s })
		for _, i := range slices.Sorted(maps.Keys(all)) {
			if all[i] {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v may be lacking, want %v", name, got, c.want)
		}
	}
}
