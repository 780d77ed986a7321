package kmsmock

import (
	"net"
	"sync"
	"time"

	"github.com/pion/transport/v5/packetio"
)

// lastWrites is how long Close waits for what is queued.
const lastWrites = 200 * time.Millisecond

// A queuedConn is a TCP connection whose writes never block: tcpBacklog bytes
// wait for a peer that reads slowly, and what does not fit is lost whole.
type queuedConn struct {
	net.Conn
	queue   *packetio.Buffer
	written chan struct{} // closed when nothing writes any more
	once    sync.Once     // of the end
	err     error         // of closing
}

func newQueuedConn(conn net.Conn) *queuedConn {
	c := &queuedConn{Conn: conn, queue: packetio.NewBuffer(), written: make(chan struct{})}
	c.queue.SetLimitSize(tcpBacklog)
	go c.run()
	return c
}

func (c *queuedConn) Write(b []byte) (int, error) { return c.queue.Write(b, nil) }

// run writes until the queue is closed and empty. A write that fails may have
// gone out by half, so that it is the last.
func (c *queuedConn) run() {
	defer close(c.written)
	buf := make([]byte, 1<<16) // the longest that the queue takes
	for {
		n, _, err := c.queue.Read(buf, nil)
		if err != nil {
			return
		}
		if _, err := c.Conn.Write(buf[:n]); err != nil {
			_ = c.queue.Close()
			return
		}
	}
}

// Close gives what is queued, such as the end of an allocation, a moment to go
// out.
func (c *queuedConn) Close() error {
	c.once.Do(func() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(lastWrites))
		_ = c.queue.Close()
		<-c.written
		c.err = c.Conn.Close()
	})
	return c.err
}
