package simclient

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Reconnect is how a client comes back after its socket died. The delay before
// attempt n is drawn evenly from zero to First·2ⁿ, at most Max ("full jitter"),
// so that the clients of a server that restarts do not return in step.
type Reconnect struct {
	First time.Duration // zero means 0.5 s
	Max   time.Duration // zero means 8 s
	// Attempt bounds one attempt, from dialing to welcome. Zero means 5 s.
	Attempt time.Duration
	// GiveUp ends the session when it could not be resumed for so long. Zero means
	// 2 minutes, twice the time for which a server keeps a session.
	GiveUp time.Duration
	// Seed of the jitter; each user and device draws differently from the same
	// seed. Zero means no jitter: the delays are 0.5 s, 1 s, 2 s, 4 s and 8 s.
	Seed uint64
}

func (r Reconnect) withDefaults() Reconnect {
	setDefault(&r.First, 500*time.Millisecond)
	setDefault(&r.Max, 8*time.Second)
	setDefault(&r.Attempt, 5*time.Second)
	setDefault(&r.GiveUp, 2*time.Minute)
	return r
}

// backoff counts the attempts of one reconnection and says how long to wait
// before each.
type backoff struct {
	policy   Reconnect
	rand     *rand.Rand // nil: no jitter
	attempts int
}

func newBackoff(policy Reconnect, user, device string) *backoff {
	b := &backoff{policy: policy}
	if policy.Seed != 0 {
		name := fnv.New64a()
		name.Write([]byte(user + "\x00" + device))
		b.rand = rand.New(rand.NewPCG(policy.Seed, name.Sum64()))
	}
	return b
}

// next is the delay before the next attempt.
func (b *backoff) next() time.Duration {
	limit := b.policy.Max
	if n := b.attempts; n < 16 { // beyond, First·2ⁿ would overflow
		limit = min(limit, b.policy.First<<n)
	}
	b.attempts++
	if b.rand == nil {
		return limit
	}
	return time.Duration(b.rand.Int64N(int64(limit) + 1))
}

func (b *backoff) reset() { b.attempts = 0 }
