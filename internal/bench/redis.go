package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// startRedis starts a Redis if none was given: a real one if there is one on the
// path, and otherwise one in this process, where it is not measured.
func (c *config) startRedis() (stop func(), err error) {
	if c.redis != "" {
		return func() {}, nil
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return c.startMini()
	}
	dir, err := os.MkdirTemp("", "callbench-bench")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", dir, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	c.redis = fmt.Sprintf("127.0.0.1:%d", port)
	for range 100 {
		conn, err := net.Dial("tcp", c.redis)
		if err == nil {
			return stop, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("redis-server does not listen at %s", c.redis)
}

func (c *config) startMini() (func(), error) {
	m, err := miniredis.Run()
	if err != nil {
		return nil, err
	}
	c.redis = m.Addr()
	return m.Close, nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
