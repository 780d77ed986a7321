package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// servedBy is the header with which the tests' balancers say which server they
// chose, and generation the one that tells whether a file was read anew.
const (
	servedBy   = "X-Served-By"
	generation = "X-Generation"
)

// balancer is a load balancer's process with the configuration of deploy/, in
// which only addresses are replaced and headers for the tests added.
type balancer struct {
	*part
	config  string // path
	header  string // a line of the configuration that adds the header generation
	behind  string // the line behind which it goes
	renewed syscall.Signal
}

// balancers are the kinds, by name.
var balancers = map[string]func(t *testing.T, servers ...string) *balancer{"haproxy": newHAProxy, "nginx": newNginx}

func newHAProxy(t *testing.T, servers ...string) *balancer {
	t.Helper()
	program, addr := balancerProgram(t, "haproxy"), freeAddr(t)
	var list []string
	for _, s := range servers {
		list = append(list, "  server "+strings.ReplaceAll(s, ":", "_")+" "+s)
	}
	b := &balancer{config: filepath.Join(t.TempDir(), "haproxy.cfg"), header: "  http-response add-header " + generation + " 2",
		behind: "  default_backend servers", renewed: syscall.SIGUSR2}
	b.write(t, "../../deploy/haproxy/haproxy.cfg", map[string]string{
		"  bind :8080": "  bind " + addr,
		"  server-template server 4 server:8080 resolvers names init-addr none": strings.Join(list, "\n") + "\n  http-response add-header " + servedBy + " %s",
	})
	b.run(t, "haproxy", addr, program, "-W", "-db", "-f", b.config)
	return b
}

func newNginx(t *testing.T, servers ...string) *balancer {
	t.Helper()
	program, addr := balancerProgram(t, "nginx"), freeAddr(t)
	var list []string
	for _, s := range servers {
		list = append(list, "    server "+s+" max_fails=1 fail_timeout=5s;")
	}
	dir := t.TempDir()
	b := &balancer{config: filepath.Join(dir, "nginx.conf"), header: "    add_header " + generation + " 2 always;",
		behind: "    add_header Set-Cookie $new_route always;", renewed: syscall.SIGHUP}
	b.write(t, "../../deploy/nginx/nginx.conf", map[string]string{
		"pid /run/nginx.pid;": "pid " + filepath.Join(dir, "pid") + ";",
		"    listen 8080;":    "    listen " + addr + ";\n    add_header " + servedBy + " $upstream_addr always;",
		"    server server:8080 max_fails=1 fail_timeout=5s;": strings.Join(list, "\n"),
	})
	b.run(t, "nginx", addr, program, "-c", b.config, "-g", "daemon off;")
	return b
}

func balancerProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s on the path: install Debian's package", name)
	}
	return path
}

// write makes the configuration of the one in deploy/, whose lines each are there
// once.
func (b *balancer) write(t *testing.T, from string, lines map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	config := string(raw)
	for was, is := range lines {
		config = replaceLine(t, config, was, is)
	}
	if err := os.WriteFile(b.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
}

func replaceLine(t *testing.T, config, was, is string) string {
	t.Helper()
	if strings.Count(config, "\n"+was+"\n") != 1 {
		t.Fatalf("the configuration has not one line %q", was)
	}
	return strings.Replace(config, "\n"+was+"\n", "\n"+is+"\n", 1)
}

func (b *balancer) run(t *testing.T, name, addr, program string, args ...string) {
	t.Helper()
	b.part = newPart(t, name, addr, program, args...)
	t.Cleanup(b.stop) // before the part is killed, which would leave its workers
}

// stop ends the balancer and every connection through it.
func (b *balancer) stop() {
	if b.cmd.ProcessState == nil && b.cmd.Process.Signal(syscall.SIGTERM) == nil {
		_ = b.cmd.Wait() // HAProxy's exit code is that of the signal
	}
}

// reload has the balancer read its file again, which has got a header more, and
// waits until it serves that.
func (b *balancer) reload(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config, []byte(replaceLine(t, string(raw), b.behind, b.header+"\n"+b.behind)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Process.Signal(b.renewed); err != nil {
		t.Fatal(err)
	}
	fresh := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	until(t, b.name+" serves the new file", func() bool {
		resp, err := fresh.Get("http://" + b.addr + "/healthz")
		return err == nil && resp.Body.Close() == nil && resp.Header.Get(generation) == "2"
	})
}

// comer is somebody who connects: from an address of loopback, with headers.
type comer struct {
	from   string
	header http.Header
}

// dial opens a WebSocket through the balancer, which the end of the test closes,
// and returns the answer to its handshake.
func (b *balancer) dial(t *testing.T, c comer) (*websocket.Conn, *http.Response) {
	t.Helper()
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
	dialer := websocket.Dialer{NetDialContext: from.DialContext, HandshakeTimeout: 10 * time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ws, resp, err := dialer.DialContext(ctx, "ws://"+b.addr+"/ws", c.header)
	if resp == nil {
		t.Fatalf("%s gives no answer: %v", b.name, err)
	}
	if err == nil {
		t.Cleanup(func() { _ = ws.Close() }) // it may be closed
	}
	return ws, resp
}

// server is the one that somebody who connects comes to.
func (b *balancer) server(t *testing.T, c comer) string {
	t.Helper()
	ws, resp := b.dial(t, c)
	if ws == nil {
		t.Fatalf("%s answers %s", b.name, resp.Status)
	}
	if err := ws.Close(); err != nil {
		t.Fatal(err)
	}
	by := resp.Header.Get(servedBy)
	if by == "" {
		t.Fatalf("%s does not say which server it is: %v", b.name, resp.Header)
	}
	return by
}
