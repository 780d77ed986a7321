package turn_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/world"
)

// coturn is a Coturn that a test has started.
type coturn struct {
	relay
	log string // path of its log
}

// said is what Coturn has logged.
func (c *coturn) said() string {
	log, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// newCoturn starts Debian's turnserver on loopback with the configuration for
// production, in which only addresses, ports and secrets are replaced, and one
// line is added that no production may have: peers on loopback are possible at
// all, because the tests have no other. denied-peer-ip still denies them.
func newCoturn(t *testing.T) *coturn {
	t.Helper()
	path := os.Getenv("CALLBENCH_TURNSERVER")
	if path == "" {
		found, err := exec.LookPath("turnserver")
		if err != nil {
			t.Skip("no Coturn: install the package coturn, or set CALLBENCH_TURNSERVER to its turnserver")
		}
		path = found
	}
	port := freePort(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "turnserver.conf")
	check(t, os.WriteFile(config, []byte(testConfig(t, port)), 0o600))
	c := &coturn{log: filepath.Join(dir, "turnserver.log"), relay: relay{network: "udp", addr: net.JoinHostPort("127.0.0.1", port)}}
	cmd := exec.Command(path, "-c", config, "--pidfile", filepath.Join(dir, "turnserver.pid"), "--db", filepath.Join(dir, "turndb"))
	log, err := os.Create(c.log)
	check(t, err)
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	check(t, cmd.Start())
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err == nil {
			kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
			defer kill.Stop()
		}
		cmd.Wait()
		if t.Failed() {
			t.Logf("coturn:\n%s", c.said())
		}
	})
	c.await(t)
	return c
}

// await waits until Coturn listens on UDP and TCP: it opens TCP last.
func (c *coturn) await(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("coturn does not listen: %v\n%s", err, c.said())
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(t, err)
	return port
}

func testConfig(t *testing.T, port string) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/coturn/turnserver.conf")
	check(t, err)
	config := string(raw)
	for was, is := range map[string]string{
		"listening-ip=192.0.2.1":           "listening-ip=127.0.0.1",
		"relay-ip=192.0.2.1":               "relay-ip=127.0.0.1",
		"listening-port=3478":              "listening-port=" + port,
		"allowed-peer-ip=192.0.2.10":       "allowed-peer-ip=127.0.0.1",
		"static-auth-secret=NEWEST-SECRET": "static-auth-secret=newest",
		"static-auth-secret=SECRET-BEFORE": "static-auth-secret=before",
	} {
		if strings.Count(config, "\n"+was+"\n") != 1 {
			t.Fatalf("the configuration has not one line %s", was)
		}
		config = strings.Replace(config, "\n"+was+"\n", "\n"+is+"\n", 1)
	}
	return config + "allow-loopback-peers\n"
}

// TestServiceCoturn holds Coturn, configured as in production, to what the
// embedded server does.
func TestServiceCoturn(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	c := newCoturn(t)
	t.Run("udp", func(t *testing.T) { behaviours(t, c.relay) })
	c = newCoturn(t)
	t.Run("tcp", func(t *testing.T) { behaviours(t, relay{network: "tcp", addr: c.addr}) })
	for _, warning := range regexp.MustCompile(`(?i).*(bad configuration|unknown|unrecognized|CONFIG ERROR).*`).FindAllString(c.said(), -1) {
		t.Errorf("coturn warns: %s", warning)
	}
}

var sessionMade = regexp.MustCompile(`session \d+: new, realm=<[^>]*>, username=<\d+:[^>]*>`)

// TestServiceCoturnRelaysCalls plays the relayed call of the suite through
// Coturn: both selected pairs and the allocations are asserted by the scenario,
// and that Coturn relayed media by its own books.
func TestServiceCoturnRelaysCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	for transport, secret := range map[string]string{"udp": "newest", "tcp": "before"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			c := newCoturn(t)
			s, err := scenarios.Load("relay-only")
			check(t, err)
			stage := world.LocalStageWithTURN("", &world.TURN{URL: "turn:" + c.addr + "?transport=" + transport, Secret: secret,
				Log: c.log}, 1, world.Plant{})
			if r := scenarios.Play(t.Context(), stage, s, 1, trace.New(nil)); r.Verdict != reports.Pass {
				t.Errorf("%s: %s\n%+v", r.Verdict, r.Reason, r.Failures)
			}
			if made := sessionMade.FindAllString(c.said(), -1); len(made) != 2 {
				t.Errorf("allocations: %q", made)
			}
			for _, user := range []string{"alice", "bob"} {
				peer := regexp.MustCompile(`peer usage: realm=<callbench>, username=<\d+:` + user + `>, rp=(\d+), rb=(\d+), sp=(\d+), sb=(\d+)`)
				for deadline := time.Now().Add(20 * time.Second); !relayedMuch(peer, c.said()); time.Sleep(50 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("Coturn did not relay %s's media", user)
					}
				}
			}
		})
	}
}

// A call whose credentials Coturn refuses does not pass for a relayed one.
func TestServiceCoturnRefusesCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	c := newCoturn(t)
	s, err := scenarios.Load("relay-only")
	check(t, err)
	stage := world.LocalStageWithTURN("", &world.TURN{URL: "turn:" + c.addr, Secret: "another", Log: c.log}, 1, world.Plant{})
	r := scenarios.Play(t.Context(), stage, s, 1, trace.New(nil))
	if r.Verdict != reports.Fail || !strings.Contains(r.Reason, "pair local=relay") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
}

// relayedMuch tells whether one line of usage has more than 1,000 packets and
// 100 kB each way.
func relayedMuch(usage *regexp.Regexp, log string) bool {
	for _, m := range usage.FindAllStringSubmatch(log, -1) {
		enough := true
		for i, least := range []int{1000, 100_000, 1000, 100_000} {
			n, err := strconv.Atoi(m[i+1])
			enough = enough && err == nil && n >= least
		}
		if enough {
			return true
		}
	}
	return false
}
