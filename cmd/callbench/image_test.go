package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestServiceImage builds the container image of the mock, runs it on the
// default bridge, and plays a call through it with the official client and
// peers on the host. DOCKER_HOST chooses the engine.
func TestServiceImage(t *testing.T) {
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("no container engine answers: %v: %.200s", err, out)
	}
	const image = "callbench/kmsmock:test"
	made := exec.Command("make", "image", "IMAGE="+image)
	made.Dir = filepath.Join("..", "..")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	id := docker(t, "run", "-d", "--rm", image)
	t.Cleanup(func() { docker(t, "rm", "-f", id) })
	address := docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
	url := "ws://" + address + ":8888/kurento"
	until(t, "the container answers", func() bool { return pings(url) })
	f := startFlow(t, installKurentoClient(t), url, "one2one")
	f.anywhere = true
	f.join("ann", "ben")
	f.join("ben", "ann")
	f.proves(100, 50)
	f.finish()
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).Output()
	if err != nil {
		t.Fatalf("docker %s: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// pings tells whether a media server answers at the URL.
func pings(url string) bool {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return false
	}
	defer ws.Close()
	if ws.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "ping"}) != nil {
		return false
	}
	var got struct{ Result json.RawMessage }
	return ws.ReadJSON(&got) == nil && strings.Contains(string(got.Result), "pong")
}
