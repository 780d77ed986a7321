//go:build !linux

package kurento

import "net"

// quickAck returns nil: TCP_QUICKACK is an option of Linux.
func quickAck(net.Conn) func() { return nil }
