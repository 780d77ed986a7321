package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/callbench/callbench/simclient"
)

// composed is the system of deploy/docker-compose.yml from images of deploy/images,
// with the Kurento of CALLBENCH_IMAGE_KURENTO, or a mock in its place.
type composed struct {
	project string
	files   []string // flags that name what is composed
	tool    []string // docker compose, or docker-compose
	addr    string   // of HAProxy
	secret  string
	env     []string
}

// TestServiceCompose starts the whole system in containers, plays a call through
// HAProxy with media straight to the media server and one with media through Coturn,
// and kills the server in the midst of that one, which goes on.
func TestServiceCompose(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a system of containers; run without -short")
	}
	s := compose(t)
	until(t, "HAProxy has found the server", s.serves)
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	k := crowd(t, s.addr, s.secret, 1)[0]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v: %s", err, k.describe())
		}
	}
	must(k.talk(ctx))
	must(k.a.Hangup(ctx))
	must(wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }))
	before := s.relays(t) // everybody has one, in case it is needed
	k = crowd(t, s.addr, s.secret, 1, func(c *simclient.Config) { c.Relay, c.Device = true, "relayed" })[0]
	must(k.talk(ctx))
	if n := s.relays(t) - before; n < 2 {
		t.Errorf("Coturn made %d relays for a call in which media can go no other way, want 2 or more", n)
	}
	s.run(t, "kill", "-s", "KILL", "server")
	must(wait(ctx, "both know that the server is gone", func() bool { return k.a.State().Link != "up" && k.b.State().Link != "up" }))
	s.run(t, "start", "server")
	must(wait(ctx, "they talk in the same call", k.talks))
	must(k.b.Hangup(ctx))
	must(wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }))
	if reason, _ := k.over(); reason != "hangup/hangup" {
		t.Errorf("the call ended with %q", reason)
	}
}

func compose(t *testing.T) *composed {
	t.Helper()
	s := &composed{tool: composeTool(t), project: "cb" + strings.ToLower(rand.Text()), addr: freeAddr(t), secret: "a secret of 32 bytes, to compose"}
	images := map[string]string{"SERVER": "callbench", "COTURN": "coturn", "REDIS": "redis", "MYSQL": "mariadb", "HAPROXY": "haproxy"}
	for part, name := range images {
		if out, err := exec.Command("docker", "image", "inspect", "callbench/"+name).CombinedOutput(); err != nil {
			t.Skipf("no image callbench/%s, which deploy/images/build.sh makes: %.200s", name, out)
		}
		s.env = append(s.env, "CALLBENCH_IMAGE_"+part+"=callbench/"+name)
	}
	s.files = []string{"-f", "../../deploy/docker-compose.yml"}
	if os.Getenv("CALLBENCH_IMAGE_KURENTO") == "" {
		s.files = append(s.files, "-f", "../../deploy/docker-compose.mock.yml")
	}
	_, port, _ := net.SplitHostPort(s.addr)
	_, turn, _ := net.SplitHostPort(freeAddr(t))
	number := rand.Text()[0] % 26 // of the network, so that two tests do not meet
	private := fmt.Sprintf("10.77.%d", 100+int(number))
	// The machine's own address in that network is one that clients here and containers reach.
	s.env = append(os.Environ(), append(s.env, "CALLBENCH_NET="+private, "CALLBENCH_PUBLIC_IP="+private+".1", "CALLBENCH_PORT="+port,
		"CALLBENCH_TURN_PORT="+turn, "CALLBENCH_TURN_MIN_PORT=26100", "CALLBENCH_TURN_MAX_PORT=26107", "CALLBENCH_SECRET="+s.secret,
		"CALLBENCH_TURN_SECRET=a secret of TURN", "CALLBENCH_MYSQL_PASSWORD=a password", "CALLBENCH_USERS=a0,b0")...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the containers say:\n%s", s.run(t, "logs", "--no-color", "--tail=40"))
		}
		s.run(t, "down", "-v", "--timeout", "1")
		if out, err := exec.Command("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project="+s.project).Output(); err != nil || len(out) > 0 {
			t.Errorf("containers are left: %s, %v", out, err)
		}
	})
	s.run(t, "up", "-d")
	return s
}

// composeTool is what composes here, or the test is skipped.
func composeTool(t *testing.T) []string {
	t.Helper()
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("no container engine answers: %v: %.200s", err, out)
	}
	for _, tool := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.Command(tool[0], append(tool[1:], "version")...).Run() == nil {
			return tool
		}
	}
	t.Skip("neither docker compose nor docker-compose is here: install Debian's package docker-compose")
	return nil
}

// run has the tool do something with the system, and returns what it prints.
func (s *composed) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(s.tool[0], slices.Concat(s.tool[1:], []string{"-p", s.project}, s.files, args)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v\n%s", s.tool, args, err, out)
	}
	return string(out)
}

// serves reports whether the server answers through HAProxy.
func (s *composed) serves() bool {
	resp, err := http.Get("http://" + s.addr + "/healthz")
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// relays counts the relays that Coturn has made for clients.
func (s *composed) relays(t *testing.T) int {
	return strings.Count(s.run(t, "logs", "--no-color", "coturn"), "incoming packet ALLOCATE processed, success")
}
