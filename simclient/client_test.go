package simclient

import (
	"testing"
	"time"
)

func TestWholeCall(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice := r.connected("alice")
		bob := r.connected("bob", func(c *Config) { c.Profile = ReactNative() })
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		bob.wait(t, 5*time.Second, eventConnected)
		time.Sleep(30 * time.Second)
		r.must(alice.Hangup(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=alice")
	})
}
