package world

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server/turn"
)

// Lines of a real Coturn 4.6.1.
const (
	coturnBefore = "0: : session 000000000000000001: new, realm=<callbench>, username=<1795577310:old>, lifetime=600\n"
	coturnRun    = `0: : session 001000000000000002: realm <callbench> user <>: incoming packet message processed, error 401: Unauthorized
0: : IPv4. Local relay addr: 127.0.0.1:55630
0: : session 001000000000000002: new, realm=<callbench>, username=<1795577310:alice>, lifetime=600
0: : session 000000000000000003: new, realm=<callbench>, username=<1795577310:bob>, lifetime=600
0: : session 000000000000000004: new, realm=<callbench>, username=<1795577310:carol>, lifetime=600
0: : session 000000000000000003: refreshed, realm=<callbench>, username=<1795577310:bob>, lifetime=0
0: : session 001000000000000002: refreshed, realm=<callbench>, username=<1795577310:alice>, lifetime=600
1: : session 000000000000000004: delete: realm=<callbench>, username=<1795577310:carol>
`
)

func TestCoturnLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if _, err := openCoturnLog(path); err == nil {
		t.Error("a log that is not there was opened")
	}
	if err := os.WriteFile(path, []byte(coturnBefore), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openCoturnLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(coturnBefore+coturnRun), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := l.allocations()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]turn.Allocation{{User: "alice", Relay: "session 001000000000000002"}}, got); diff != "" {
		t.Error(diff)
	}
}

// A Coturn that was killed tells of no end: what it held is gone with it.
func TestCoturnLogOfTwoLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const again = "0: : Version Coturn-4.6.1 'Gorst'\n0: : session 000000000000000002: new, realm=<callbench>, username=<1795577310:dave>, lifetime=600\n"
	if err := os.WriteFile(path, []byte(coturnRun+again), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := (&coturnLog{path: path}).allocations()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]turn.Allocation{{User: "dave", Relay: "session 000000000000000002"}}, got); diff != "" {
		t.Error(diff)
	}
}

// What a world with a TURN server outside has not got.
func TestOutsideTURNLacks(t *testing.T) {
	for _, c := range []struct {
		log, capability string
		lacks           bool
	}{{"", "turn", false}, {"", "allocations", true}, {"log", "allocations", false}, {"log", "rotation", true}, {"", "media", false}} {
		outside := &TURN{URL: "turn:192.0.2.1", Secret: "s", Log: c.log}
		if why := LocalStageWithTURN("", outside, 1, Plant{}).Lacks(c.capability); (why != "") != c.lacks {
			t.Errorf("with log %q, %s: %q", c.log, c.capability, why)
		}
	}
}
