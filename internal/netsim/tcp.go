package netsim

import (
	"context"
	"time"
)

// The retransmission time-outs that streams imitate. A TCP that hears nothing
// sends again after one time-out, and doubles it each time (RFC 6298 section
// 5.5): after a cut, this is what decides when a stalled stream goes on.
const (
	minRTO   = 200 * time.Millisecond // Linux: TCP_RTO_MIN
	synRTO   = time.Second            // RFC 6298 section 2.1
	maxRTO   = 2 * time.Minute        // Linux: TCP_RTO_MAX
	synTries = 7                      // Linux: tcp_syn_retries = 6, and the first
)

// retransmission returns the first instant, not before the one given, at which
// something first sent at that time is sent again.
func retransmission(sent, notBefore time.Time, rto time.Duration) time.Time {
	for sent.Before(notBefore) {
		sent = sent.Add(rto)
		rto = min(2*rto, maxRTO)
	}
	return sent
}

// awaitPath returns when a handshake between the two hosts, whose first SYN was
// sent at the instant given, can go on: at once if both links are up, else when
// a SYN is sent again after Restore.
func awaitPath(ctx context.Context, links [2]*Link, started time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		down := links[0]
		if !down.isCut() {
			down = links[1]
		}
		if !down.isCut() {
			return nil
		}
		if err := down.awaitUp(ctx); err != nil {
			return err
		}
		now := time.Now()
		if err := sleep(ctx, retransmission(started, now, synRTO).Sub(now)); err != nil {
			return err
		}
	}
}

// sleep pauses for d, or until ctx ends with ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
