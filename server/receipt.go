package server

import "github.com/callbench/callbench/signaling"

// receipt is what is done when the client has a push.
type receipt struct {
	seq   uint64
	acked func()
}

// handleReceipt is told which pushes the client has.
func handleReceipt(r request) error {
	var in signaling.Receipt
	if err := r.frame.Into(&in); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.Seq > r.sent.last {
		return signaling.Errorf(signaling.CodeBadData, "push %d was not sent yet", in.Seq)
	}
	r.receive(in.Seq)
	return nil
}

// receive notes that the client has the pushes up to this one. u.mu is held.
func (u *session) receive(seq uint64) {
	u.sent.after(seq)
	n := 0
	for ; n < len(u.receipts) && u.receipts[n].seq <= seq; n++ {
		u.receipts[n].acked()
	}
	u.receipts = append(u.receipts[:0], u.receipts[n:]...)
}
