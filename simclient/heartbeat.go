package simclient

import "github.com/callbench/callbench/signaling"

// probe asks whether the socket is alive. While an answer is awaited it does
// nothing.
func (c *Client) probe() {
	sock := c.link.sock
	if c.link.state != linkUp || c.link.pong.pending() {
		return
	}
	c.link.beat.stop()
	sock.ping()
	c.link.pong = c.after(c.cfg.Heartbeat.Pong, func() { sock.kill(causePong) })
}

// ponged takes an answer to a probe. The first one after a resume also says
// that everything missed has been replayed, for the server wrote that before it
// read the ping.
func (c *Client) ponged(sock *socket) {
	if sock == c.link.sock && c.link.state == linkGreeting {
		c.link.level.alive()
	}
	if sock != c.link.sock || c.link.state != linkUp {
		return
	}
	c.link.pong.stop()
	c.link.beat.stop()
	c.link.beat = c.after(c.cfg.Heartbeat.Every, c.probe)
	c.resumed()
	if k := c.call; k != nil && k.renew {
		c.renew(k, signaling.ReasonICEFailed, "client")
	}
}

func (c *Client) stopHeartbeat() {
	c.link.beat.stop()
	c.link.pong.stop()
}
