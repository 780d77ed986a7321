package kms_test

import (
	"context"
	"errors"
	"testing"

	"github.com/callbench/callbench/server"
)

// TestReleaseOutOfTime releases when no time is left, as an endpoint does whose
// subscriptions took too long: nothing may stay.
func TestReleaseOutOfTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, a, _ := r.legs()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for what, release := range map[string]func(context.Context) error{"endpoint": a.Release, "pipeline": p.Release} {
			if err := release(ended); !errors.Is(err, server.ErrMediaGone) {
				t.Errorf("release %s: %v", what, err)
			}
		}
		r.empty()
	})
}
