package main

import (
	"net"
	"os"
	"os/exec"

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
	host, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c.redis = net.JoinHostPort(host, port)
	return startService(dir, c.redis, binary, "--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")
}

func (c *config) startMini() (func(), error) {
	m, err := miniredis.Run()
	if err != nil {
		return nil, err
	}
	c.redis = m.Addr()
	return m.Close, nil
}
