package netsim_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/internal/netsim"
)

// call is two PeerConnections on two hosts, with a record of their states.
type call struct {
	*netsim.Topology
	alice, bob *netsim.Host
	a, b       *webrtc.PeerConnection
	start      time.Time

	mu     sync.Mutex
	states []string
}

// newCall starts to connect alice and bob over links with the given loss.
func newCall(t *testing.T, seed uint64, loss float64) *call {
	t.Helper()
	c := &call{Topology: newTopology(t, netsim.TopologyConfig{Seed: seed, Delay: 20 * time.Millisecond}), start: time.Now()}
	c.alice, c.bob = mustHost(t, c.Topology, "alice"), mustHost(t, c.Topology, "bob")
	c.bob.Link.SetLoss(loss)
	c.a, c.b = c.peer(t, c.alice), c.peer(t, c.bob)
	if _, err := c.a.CreateDataChannel("d", nil); err != nil {
		t.Fatal(err)
	}
	c.negotiate(t)
	return c
}

// peer returns a PeerConnection that records its states.
func (c *call) peer(t *testing.T, h *netsim.Host) *webrtc.PeerConnection {
	t.Helper()
	s := webrtc.SettingEngine{}
	s.SetNet(h.Net)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) { c.note(h.Name, "ice", s.String()) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { c.note(h.Name, "peer", s.String()) })
	return pc
}

// note records a state and its instant.
func (c *call) note(what ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, fmt.Sprint(time.Since(c.start), " ", strings.Join(what, " ")))
}

// trace returns the record as a set: within an instant the order is random.
func (c *call) trace() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.states)
	return strings.Join(c.states, "\n")
}

// negotiate exchanges offer and answer, with all candidates in them.
func (c *call) negotiate(t *testing.T) {
	t.Helper()
	offer, err := c.a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(c.a)
	check(t, c.a.SetLocalDescription(offer))
	<-gathered
	check(t, c.b.SetRemoteDescription(*c.a.LocalDescription()))
	answer, err := c.b.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered = webrtc.GatheringCompletePromise(c.b)
	check(t, c.b.SetLocalDescription(answer))
	<-gathered
	check(t, c.a.SetRemoteDescription(*c.b.LocalDescription()))
}

// check fails the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// close ends the call and its network.
func (c *call) close(t *testing.T) {
	t.Helper()
	check(t, c.a.Close())
	check(t, c.b.Close())
	check(t, c.Topology.Close())
}

// connectOnce returns the trace of one call's first 40 s.
func connectOnce(t *testing.T, seed uint64, loss float64) (trace string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, seed, loss)
		defer c.close(t)
		time.Sleep(40 * time.Second)
		trace = c.trace()
	})
	return trace
}

// TestPionConnectsAtTheSameInstants: loss from the first packet on changes
// when things happen, but not from run to run.
func TestPionConnectsAtTheSameInstants(t *testing.T) {
	runs := 40
	if testing.Short() {
		runs = 5
	}
	for _, tc := range []struct {
		loss float64
		seed uint64
	}{{0, 0}, {10, 0}, {10, 1}, {20, 2}} {
		t.Run(fmt.Sprintf("loss=%v/seed=%d", tc.loss, tc.seed), func(t *testing.T) {
			want := connectOnce(t, tc.seed, tc.loss)
			if strings.Count(want, "peer connected") < 2 {
				t.Fatalf("no connection:\n%s", want)
			}
			t.Logf("every run:\n%s", want)
			for run := range runs - 1 {
				if got := connectOnce(t, tc.seed, tc.loss); got != want {
					t.Fatalf("run %d of %d differs:\n%s\n\nwant:\n%s", run+2, runs, got, want)
				}
			}
		})
	}
}

// cutOnce returns the trace of a call that is cut 10.5 s after its start, for
// the given time.
func cutOnce(t *testing.T, cut time.Duration) (trace string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, 1, 0)
		defer c.close(t)
		time.Sleep(10500 * time.Millisecond)
		c.mu.Lock()
		c.states, c.start = nil, time.Now()
		c.mu.Unlock()
		c.bob.Link.Cut()
		time.Sleep(cut)
		c.bob.Link.Restore()
		time.Sleep(10 * time.Second)
		trace = c.trace()
	})
	return trace
}

// TestPionCutAndRestore: Pion calls a path disconnected when 5 s have passed
// since the last packet, and failed 25 s later; before that it recovers.
func TestPionCutAndRestore(t *testing.T) {
	recovered := cutOnce(t, 10*time.Second)
	for _, host := range []string{"alice", "bob"} {
		at := instants(t, recovered, host)
		if lost := at["ice disconnected"]; lost < 3*time.Second || lost > 7*time.Second {
			t.Errorf("%s: disconnected %v after the cut, want about 5 s:\n%s", host, lost, recovered)
		}
		if back := at["ice connected"]; back < 10*time.Second || back > 14*time.Second {
			t.Errorf("%s: connected again %v after the cut, want within two keep-alives of 10 s:\n%s", host, back, recovered)
		}
	}
	if again := cutOnce(t, 10*time.Second); again != recovered {
		t.Errorf("another run differs:\n%s\n\nwant:\n%s", again, recovered)
	}
	failed := cutOnce(t, 60*time.Second)
	for _, host := range []string{"alice", "bob"} {
		if at := instants(t, failed, host)["ice failed"]; at < 28*time.Second || at > 32*time.Second {
			t.Errorf("%s: failed %v after the cut, want about 30 s:\n%s", host, at, failed)
		}
	}
}

// instants returns when a host entered which state.
func instants(t *testing.T, trace, host string) map[string]time.Duration {
	t.Helper()
	at := map[string]time.Duration{}
	for line := range strings.Lines(trace) {
		f := strings.Fields(line)
		d, err := time.ParseDuration(f[0])
		check(t, err)
		if f[1] == host {
			at[strings.Join(f[2:], " ")] = d
		}
	}
	return at
}
