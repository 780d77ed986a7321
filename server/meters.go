package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// leastMeters is how many meters may be there before those that are full are
// looked for.
const leastMeters = 1024

// meters count what users do in a minute. A user who has done nothing for a
// minute costs nothing. The zero value is ready to use.
type meters struct {
	mu    sync.Mutex
	by    map[string]*rate.Limiter
	sweep int // how many there may be before the next look
}

// allow counts one more for a user, who may do so many in a minute, and as many
// at once.
func (m *meters) allow(user string, perMinute int) bool {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.by[user]
	if l == nil {
		l = m.add(user, perMinute, now)
	}
	return l.AllowN(now, 1)
}

// add begins to count for a user. m.mu is held.
func (m *meters) add(user string, perMinute int, now time.Time) *rate.Limiter {
	if m.by == nil {
		m.by, m.sweep = make(map[string]*rate.Limiter), leastMeters
	}
	if len(m.by) >= m.sweep {
		for u, l := range m.by {
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(m.by, u)
			}
		}
		m.sweep = max(leastMeters, 2*len(m.by))
	}
	l := rate.NewLimiter(rate.Limit(perMinute)/60, perMinute)
	m.by[user] = l
	return l
}
