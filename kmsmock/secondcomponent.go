package kmsmock

import (
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

// A secondComponent is the component that would carry RTCP if anybody did
// without rtcp-mux. It has sockets and notes the checks of a peer. Unlike
// Kurento's it does not answer them: a peer that knows no components could
// choose it, and would hear nothing.
type secondComponent struct {
	t       *mediaTransport
	wg      sync.WaitGroup
	mu      sync.Mutex
	conns   []net.PacketConn
	closed  bool
	closers []func()
}

// serve reads checks from a socket until close. patience is how long they
// leave component 1 to be connected.
func (c *secondComponent) serve(conn net.PacketConn, patience time.Duration, closer func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		closer()
		return
	}
	c.conns, c.closers = append(c.conns, conn), append(c.closers, closer)
	c.wg.Go(func() { c.read(conn, patience) })
}

func (c *secondComponent) close() {
	c.mu.Lock()
	c.closed = true
	closers := c.closers
	c.mu.Unlock()
	for _, f := range closers {
		f()
	}
	c.wg.Wait()
}

func (c *secondComponent) read(conn net.PacketConn, patience time.Duration) {
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if stun.IsMessage(buf[:n]) && c.isCheck(buf[:n]) {
			c.t.checked(patience)
		}
	}
}

// isCheck tells whether a message is a check of the peer.
func (c *secondComponent) isCheck(b []byte) bool {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil || m.Type != stun.BindingRequest {
		return false
	}
	var name stun.Username
	return name.GetFrom(m) == nil && strings.HasPrefix(name.String(), c.t.local.ufrag+":") &&
		stun.NewShortTermIntegrity(c.t.local.pwd).Check(m) == nil
}

// checked notes a check of the peer on component 2. A peer nearby has chosen
// its pair before it gets there, and the component stays as it is; one that
// takes its time, as with relays, makes it try and fail.
func (t *mediaTransport) checked(patience time.Duration) {
	if t.secondSeen.Swap(true) {
		return
	}
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ep.closed {
		return
	}
	try := func() {
		if !t.ep.closed && t.ice.component[1] == "GATHERING" && (t.ice.pair == nil || patience == 0) {
			t.tryComponent(2, idleTimeout)
		}
	}
	if patience == 0 {
		try()
		return
	}
	t.ice.second = time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		try()
	})
}

// hungUp notes the end of a TCP connection: nothing to component 1, the end of
// its trying to component 2.
func (t *mediaTransport) hungUp(component int) {
	s := t.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if component == 2 && !t.ep.closed && t.ctx.Err() == nil && t.ice.component[1] == "CONNECTING" {
		t.componentState(2, "FAILED", s.pace.event)
	}
}
