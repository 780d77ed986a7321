package kurento

import (
	"net"
	"syscall"
)

// quickAck returns a function that asks the kernel to acknowledge what was
// received at once, or nil if conn does not stand on a TCP socket.
//
// KMS writes without TCP_NODELAY, so of two small messages in a row it holds
// the second back until the first is acknowledged, for which the kernel takes
// some 40 ms by default. The option does not last: it is set again after each
// read. It halves the time that a call takes to connect.
func quickAck(conn net.Conn) func() {
	tcp := underlyingTCP(conn)
	if tcp == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	set := func(fd uintptr) {
		// A failure costs 40 ms here and there, nothing else.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	}
	return func() { _ = raw.Control(set) }
}

// underlyingTCP looks through wrappers that say what they wrap, as tls.Conn
// does.
func underlyingTCP(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
