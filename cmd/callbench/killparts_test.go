package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// part is a process that can be killed, and started again at its address and on
// its folder.
type part struct {
	t       *testing.T
	name    string
	addr    string
	program string
	args    []string // the first is the name that the program is called by
	log     string   // file
	cmd     *exec.Cmd
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// newPart starts a process that listens at the address when it is ready.
func newPart(t *testing.T, name, addr, program string, args ...string) *part {
	t.Helper()
	p := &part{t: t, name: name, addr: addr, program: program, args: append([]string{program}, args...),
		log: filepath.Join(t.ArtifactDir(), name+".log")}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *part) start() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = &exec.Cmd{Path: p.program, Args: p.args, Stdout: out, Stderr: out}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	until(p.t, p.name+" listens", func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// kill ends the process as if its machine had lost power.
func (p *part) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()
}

// find looks a program up, or skips the test.
func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not on the path, so there is none to be killed", program)
	}
	return path
}

// newRedisPart starts a Redis that keeps its keys on disk, as one in production
// should.
func newRedisPart(t *testing.T) *part {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	return newPart(t, "redis", addr, find(t, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(),
		"--appendonly", "yes", "--save", "")
}

// newCallbenchPart starts this test's own binary as the callbench command.
func newCallbenchPart(t *testing.T, name, addr string, args ...string) *part {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &part{t: t, name: name, addr: addr, program: self, args: append([]string{"callbench"}, args...),
		log: filepath.Join(t.ArtifactDir(), name+".log")}
	t.Cleanup(p.kill)
	p.start()
	return p
}

// newMockPart starts a mock as the media server.
func newMockPart(t *testing.T) *part {
	t.Helper()
	addr := freeAddr(t)
	return newCallbenchPart(t, "kurento", addr, "mock", "-listen", addr, "-interfaces", "lo", "-timing", "fast", "-gc-period", "10m")
}

// mockObjects are what the mock holds beside its manager.
func mockObjects(t *testing.T, mock *part) (objects []string) {
	t.Helper()
	resp, err := http.Get("http://" + mock.addr + "/_control")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var state struct{ Objects []struct{ ID string } }
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &state)
	}
	if err != nil {
		t.Fatalf("the mock's control endpoint: %v", err)
	}
	for _, o := range state.Objects {
		if !strings.HasPrefix(o.ID, "manager_") {
			objects = append(objects, o.ID)
		}
	}
	return objects
}

// seconds is a duration as the table has it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
