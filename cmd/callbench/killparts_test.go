package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/kurento"
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
	health  string   // path of a page that is answered when it is ready; "" if it has none
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
	until(p.t, p.name+" is there", func() bool { return p.ready() == nil })
}

// ready is nil when the process listens, and answers if it has a page for that: the
// server listens before it is made.
func (p *part) ready() error {
	if p.health == "" {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	resp, err := http.Get("http://" + p.addr + p.health)
	if err != nil {
		return err
	}
	return resp.Body.Close()
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

// newMariaDBPart starts a MariaDB in a folder of its own, with an empty database.
func newMariaDBPart(t *testing.T) (p *part, dsn string) {
	t.Helper()
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	out, err := exec.Command(find(t, "mariadb-install-db"), "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal",
		"--skip-test-db", "--user=root").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	p = newPart(t, "mysql", addr, find(t, "mariadbd"), "--no-defaults", "--user=root", "--datadir="+data, "--bind-address=127.0.0.1",
		"--port="+port, "--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"), "--skip-name-resolve")
	db, err := sql.Open("mysql", "root@tcp("+addr+")/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE calls"); err != nil {
		t.Fatal(err)
	}
	return p, "root@tcp(" + addr + ")/calls"
}

// newCallbenchPart starts this test's own binary as the callbench command.
func newCallbenchPart(t *testing.T, name, addr, health string, args ...string) *part {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &part{t: t, name: name, addr: addr, program: self, args: append([]string{"callbench"}, args...),
		log: filepath.Join(t.ArtifactDir(), name+".log"), health: health}
	t.Cleanup(p.kill)
	p.start()
	return p
}

// newKurentoPart starts the command that CALLBENCH_KILL_KURENTO has, a Kurento that
// listens where CALLBENCH_KMS_URL says, or without it a mock as the media server.
func newKurentoPart(t *testing.T) *part {
	t.Helper()
	if command := strings.Fields(os.Getenv("CALLBENCH_KILL_KURENTO")); len(command) > 0 {
		at, err := url.Parse(os.Getenv("CALLBENCH_KMS_URL"))
		if err != nil || at.Host == "" {
			t.Fatalf("CALLBENCH_KILL_KURENTO needs CALLBENCH_KMS_URL=ws://host:port/kurento: %v", err)
		}
		return newPart(t, "real kurento", at.Host, find(t, command[0]), command[1:]...)
	}
	addr := freeAddr(t)
	return newCallbenchPart(t, "kurento", addr, "/_control", "mock", "-listen", addr, "-interfaces", "lo", "-timing", "fast", "-gc-period", "10m")
}

// mediaObjects are the pipelines of the media server and what is in them.
func mediaObjects(t *testing.T, media *part) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := kurento.Dial(ctx, kurento.Config{URL: "ws://" + media.addr + "/kurento"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	all, err := client.ServerManager().Pipelines(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range all {
		ids = append(ids, string(id))
		children, err := client.MediaPipeline(id).Children(ctx)
		if err != nil && !kurento.IsNotFound(err) { // it was released just now
			t.Fatal(err)
		}
		for _, child := range children {
			ids = append(ids, string(child))
		}
	}
	return ids
}

// seconds is a duration as the table has it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
