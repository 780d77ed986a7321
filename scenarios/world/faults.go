package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/scenarios"
)

// KillKMS implements scenarios.MediaServerControl.
func (y *system) KillKMS() { y.mock.Kill() }

// RestartKMS implements scenarios.MediaServerControl.
func (y *system) RestartKMS(after time.Duration) { y.mock.Restart(after) }

// HangKMS implements scenarios.MediaServerControl.
func (y *system) HangKMS() error {
	_, err := y.mock.AddRule(kmsmock.Rule{Name: "hang", Do: kmsmock.HalfOpen})
	return err
}

// HealKMS implements scenarios.MediaServerControl.
func (y *system) HealKMS() {
	y.mock.RemoveRules()
	y.mock.SetFaults(kmsmock.Faults{})
}

// kmsMethods are the methods of Kurento's JSON-RPC that a rule can name; events
// begin with a capital, and all else are operations of invoke.
var kmsMethods = []string{"ping", "create", "subscribe", "unsubscribe", "release", "describe", "connect"}

// strokes are what a rule does for each fault.
var strokes = map[string]kmsmock.Stroke{"error": kmsmock.Refuse, "drop": kmsmock.Drop, "delay": kmsmock.Slow, "hold": kmsmock.Hold}

// BreakKMS implements scenarios.MediaServerControl.
func (y *system) BreakKMS(f scenarios.KMSFault) error {
	switch f.Do {
	case "recorder":
		return y.breakRecorders(f.Failure)
	case "dtls":
		faults := y.mock.Faults()
		faults.StallDTLS = max(f.Count, 1)
		y.mock.SetFaults(faults)
		return nil
	}
	r := kmsmock.Rule{Do: strokes[f.Do], Nth: f.Nth, Count: f.Count, Match: kmsmock.Match{Class: f.Class}}
	switch {
	case f.On[0] >= 'A' && f.On[0] <= 'Z':
		r.Match.Event = f.On
	case f.On != "connect" && slices.Contains(kmsMethods, f.On): // to connect elements is an operation, too
		r.Match.Method = f.On
	default:
		r.Match.Operation = f.On
	}
	if f.Do == "delay" {
		r.Delay = kmsmock.Delay{Mean: f.Delay}
	}
	if f.Do == "error" {
		r.Error = &kmsmock.Refusal{Code: f.Code, Message: "as the scenario says"}
	}
	_, err := y.mock.AddRule(r)
	return err
}

// breakRecorders makes all recorders that there are fail.
func (y *system) breakRecorders(failure string) error {
	var errs []error
	n := 0
	for _, o := range y.mock.Objects() {
		if o.Class == "RecorderEndpoint" {
			n++
			errs = append(errs, y.mock.Do(kmsmock.Command{Do: "recorder_failure", Object: o.ID, Failure: failure}))
		}
	}
	if n == 0 {
		return errors.New("the media server has no recorder that could fail")
	}
	return errors.Join(errs...)
}

// redisLine is the way from the server to Redis.
type redisLine struct {
	inner dialer
	link  *netsim.Link // nil if the scenario does not touch it

	mu   sync.Mutex
	back time.Time // until then Redis takes no connections
}

func (r *redisLine) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.mu.Lock()
	away := time.Until(r.back)
	r.mu.Unlock()
	if away > 0 {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	c, err := r.inner(ctx, network, addr)
	if err != nil || r.link == nil {
		return c, err
	}
	return netsim.Conn(c, r.link), nil
}

// RestartRedis implements scenarios.RedisControl.
func (y *system) RestartRedis(away time.Duration) {
	y.redisLine.mu.Lock()
	y.redisLine.back = time.Now().Add(away)
	y.redisLine.mu.Unlock()
	y.redisLine.link.Reset()
}

// FlushRedis implements scenarios.RedisControl.
func (y *system) FlushRedis() { y.redis.FlushAll() }

// SlowRedis implements scenarios.RedisControl.
func (y *system) SlowRedis(d time.Duration) { y.redisLine.link.SetDelay(d) }
