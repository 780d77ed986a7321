package kurento

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
)

// TestQuickAck reads the option back from the kernel, and checks that wrapped
// and in-memory connections are told apart.
func TestQuickAck(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(change int) (value int) {
		err := raw.Control(func(fd uintptr) {
			if change >= 0 {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, change)
			}
			value, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK)
		})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, c := range map[string]net.Conn{"plain": conn, "TLS": tls.Client(conn, &tls.Config{})} {
		if option(0) != 0 {
			t.Fatal("the option cannot be cleared")
		}
		ack := quickAck(c)
		if ack == nil {
			t.Fatalf("%s: nothing to do", name)
		}
		if ack(); option(-1) != 1 {
			t.Errorf("%s: the option was not set", name)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if quickAck(a) != nil {
		t.Error("something to do for a connection in memory")
	}
}
