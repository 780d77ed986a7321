package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// startService starts a process that listens at an address and keeps what it has
// in a folder, which goes with it.
func startService(dir, addr, program string, args ...string) (stop func(), err error) {
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return stop, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not listen at %s", program, addr)
}

func freeAddr() (host, port string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = ln.Close() }()
	return net.SplitHostPort(ln.Addr().String())
}
