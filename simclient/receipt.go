package simclient

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// When the server is told which pushes have arrived, at level 1.
const (
	receiptAfter = time.Second // after the first that it was not told of
	receiptEvery = 32          // pushes
)

// owe sees to it that the server is told of a push that has just arrived.
func (c *Client) owe() {
	switch {
	case c.link.state != linkUp:
	case c.session.lastSeq-c.session.told >= receiptEvery:
		c.sendReceipt()
	case !c.session.receipt.pending():
		c.session.receipt = c.after(receiptAfter, c.sendReceipt)
	}
}

// sendReceipt says what has arrived, if the server does not know that yet. It is
// no request: nothing answers it.
func (c *Client) sendReceipt() {
	c.session.receipt.stop()
	if c.session.told >= c.session.lastSeq {
		return
	}
	f, err := signaling.New(signaling.TypeAck, "", signaling.Receipt{Seq: c.session.lastSeq})
	if err != nil {
		c.failure(nil, "acknowledge pushes", err)
		return
	}
	c.session.told = c.session.lastSeq
	c.count.Receipts++
	c.write(c.link.sock, f, false)
}
