package world

import (
	"strings"
	"testing"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
)

// leftAllocation is a call whose caller is gone without a word, which releases
// nothing.
const leftAllocation = `need media turn allocations
clients alice=electron:relay bob=electron
alice call bob
expect bob incoming
bob accept
expect alice,bob media
net alice cut
alice close
bob hangup
expect clean within=`

// An allocation that a client left behind is found, until its lifetime ends it.
func TestLeftAllocationIsFound(t *testing.T) {
	for within, want := range map[string]reports.Verdict{"20s": reports.Fail, "70s": reports.Pass} {
		s, err := scenarios.Parse("left.call", leftAllocation+within+"\n")
		if err != nil {
			t.Fatal(err)
		}
		r, _ := sim(t, s, 1, Plant{})
		if r.Verdict != want || want == reports.Fail && !strings.Contains(explain(r), "where=turn id=10.0.0.3:49152 user=alice") {
			t.Errorf("within %s: %s\n%s", within, r.Verdict, explain(r))
		}
	}
}

// What a relayed call asserts fails where nothing is relayed.
func TestUnrelayedCallIsNoRelayedOne(t *testing.T) {
	relayed, err := scenarios.Load("relay-only")
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Parse("direct.call", strings.ReplaceAll(relayed.Text, ":relay", ""))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := sim(t, s, 1, Plant{})
	if r.Verdict != reports.Fail || !strings.Contains(r.Reason, "pair local=relay") || !strings.Contains(explain(r), "local_type=host") {
		t.Errorf("%s\n%s", r.Verdict, explain(r))
	}
}
