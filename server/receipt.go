package server

import "github.com/callbench/callbench/signaling"

// handleReceipt notes which pushes the client has: they need not be kept any
// more.
func handleReceipt(r request) error {
	var in signaling.Receipt
	if err := r.frame.Into(&in); err != nil {
		return err
	}
	acked, ok := r.received(in.Seq)
	if !ok {
		return signaling.Errorf(signaling.CodeBadData, "no push was numbered %d", in.Seq)
	}
	for _, f := range acked {
		f()
	}
	r.ack(nil)
	return nil
}

// received forgets the pushes up to and with this number and returns what their
// senders wanted to be done then. It is not done under the session's lock: it
// may push.
func (u *session) received(seq uint64) (acked []func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended { // too late for its pushes to count
		return nil, true
	}
	return u.sent.upTo(seq)
}
