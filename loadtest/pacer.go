// Package loadtest plays a scenario many times at once, open loop: calls start
// when they are due, whether or not earlier ones have ended; how late each started is
// kept beside its times.
package loadtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a constant rate of calls.
type Rate struct {
	Calls int
	Per   time.Duration
}

// ParseRate reads "5/s", "30/m" or "1/200ms".
func ParseRate(s string) (Rate, error) {
	count, per, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n <= 0 {
		return Rate{}, fmt.Errorf("%q is not a rate such as 5/s", s)
	}
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	d, err := time.ParseDuration(per)
	if err != nil || d <= 0 {
		return Rate{}, fmt.Errorf("%q is not a rate such as 5/s", s)
	}
	return Rate{n, d}, nil
}

// Due is when call i, counted from 0, starts. It is computed from i, so that
// the rate does not drift.
func (r Rate) Due(i int) time.Duration {
	return time.Duration(float64(i) * float64(r.Per) / float64(r.Calls))
}
